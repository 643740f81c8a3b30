"""Non-finite steps: they change nothing, their photos are named, too many in a row end the run."""

import copy
import logging
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from training_runs import train

from fast_style.losses.perceptual import PerceptualLoss
from fast_style.methods import perceptual
from fast_style.methods.nonfinite import propagate_nonfinite, skip_unless_finite
from fast_style.methods.perceptual import PerceptualMethod
from fast_style.training.callbacks import image_grids
from fast_style.training.callbacks.skip_nonfinite import SkipNonFinite
from fast_style.training.checkpoint_io import read_checkpoint

SGD = {"method.optimizer": "{_target_: torch.optim.SGD, _partial_: true, lr: 1e-3}", "method.schedule": "null"}
PLAIN = {"method.optimizer.fused": "false"}


@pytest.mark.parametrize("value", [0.0, 1.5, -2.0, 1e-30, 1e38])
def test_a_finite_loss_is_left_alone_to_the_bit(value: float) -> None:
    x = torch.tensor(value, requires_grad=True)
    loss = propagate_nonfinite(x * 3 - 1e-3)
    loss.backward()
    assert torch.equal(loss, x.detach() * 3 - 1e-3)
    assert x.grad is not None
    assert torch.equal(x.grad, torch.tensor(3.0))


@pytest.mark.parametrize("flaw", [torch.nan, torch.inf, -torch.inf])
def test_a_loss_that_is_not_finite_reaches_every_gradient(flaw: float) -> None:
    x = torch.ones(3, requires_grad=True)
    (x.sum() + flaw).backward()
    assert x.grad is not None
    assert x.grad.isfinite().all()  # Shows why propagate_nonfinite is needed.
    x.grad = None
    propagate_nonfinite(x.sum() + flaw).backward()
    assert x.grad.isnan().all()


OPTIMIZERS: dict[str, Callable[[list[nn.Parameter]], torch.optim.Optimizer]] = {
    "fused Adam": lambda p: torch.optim.Adam(p, lr=0.1, fused=True),
    "Adam": lambda p: torch.optim.Adam(p, lr=0.1),
    "AdamW": lambda p: torch.optim.AdamW(p, lr=0.1, weight_decay=0.1),
    "fused AdamW": lambda p: torch.optim.AdamW(p, lr=0.1, weight_decay=0.1, fused=True),
    "SGD": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, weight_decay=0.1),
    "fused SGD": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, weight_decay=0.1, fused=True),
    "RMSprop": lambda p: torch.optim.RMSprop(p, lr=0.1),
}


@pytest.mark.parametrize("clip", [False, True])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_an_optimizer_skips_that_step_and_takes_the_others(name: str, clip: bool) -> None:
    parameters = [nn.Parameter(torch.randn(3, 2)), nn.Parameter(torch.randn(4))]
    twins = [nn.Parameter(p.detach().clone()) for p in parameters]
    guarded, free = OPTIMIZERS[name](parameters), OPTIMIZERS[name](twins)
    for step in range(5):
        gradients = [torch.randn_like(p) for p in parameters]
        if step == 2:
            before = copy.deepcopy((parameters, guarded.state_dict()))
            gradients[0][0, 0] = torch.nan
        for parameter, twin, gradient in zip(parameters, twins, gradients, strict=True):
            parameter.grad, twin.grad = gradient.clone(), gradient.clone()
        norm = nn.utils.get_total_norm(gradients)
        assert bool(skip_unless_finite(guarded, norm)) is (step != 2)
        if clip:
            nn.utils.clip_grad_norm_(parameters, 1.0)
            nn.utils.clip_grad_norm_(twins, 1.0)
        guarded.step()
        if step != 2:
            free.step()
        else:
            assert all(torch.equal(a, b) for a, b in zip(parameters, before[0], strict=True))
            assert str(guarded.state_dict()) == str(before[1])
        # The result equals an unguarded run without the bad step, bit for bit.
        assert all(torch.equal(a, b) for a, b in zip(parameters, twins, strict=True))


class Flaw:
    """Break chosen steps of a training, numbered from 1, in one of several ways."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, way: str, steps: range) -> None:
        self.way, self.steps, self.states = way, steps, dict[int, Any]()
        weigh, look = PerceptualLoss.weigh, perceptual.skip_unless_finite
        start = PerceptualMethod.training_step
        self.method: PerceptualMethod | None = None

        def training_step(method: PerceptualMethod, photos: Tensor, batch_idx: int) -> Tensor:
            self.method = method
            self.states[method.trainer.global_step] = state(method)
            if way == "photos" and self.now:
                photos = photos.clone()
                photos[0, 0, 5, 5] = torch.nan
            return start(method, photos, batch_idx)

        def flawed_weigh(loss: PerceptualLoss, terms: dict[str, Tensor]) -> dict[str, Tensor]:
            weighted = weigh(loss, terms)
            if way in ("nan", "inf") and self.now and torch.is_grad_enabled():
                weighted["tv"] = weighted["tv"] + float(way)  # Its gradient stays finite.
            return weighted

        def flawed_look(optimizer: torch.optim.Optimizer, norm: Tensor) -> Tensor:
            if way == "gradient" and self.now:
                gradients = [p.grad for p in optimizer.param_groups[0]["params"]]
                gradients[3][(0,) * gradients[3].dim()] = torch.inf
                norm = nn.utils.get_total_norm(gradients)
            return look(optimizer, norm)

        monkeypatch.setattr(PerceptualMethod, "training_step", training_step)
        monkeypatch.setattr(PerceptualLoss, "weigh", flawed_weigh)
        monkeypatch.setattr(perceptual, "skip_unless_finite", flawed_look)

    @property
    def now(self) -> bool:
        return self.method is not None and self.method.trainer.global_step + 1 in self.steps


def state(method: PerceptualMethod) -> Any:
    """Return everything that a skipped step must not change."""
    optimizer = copy.deepcopy(method.trainer.optimizers[0].state_dict()["state"])
    return {name: value.clone() for name, value in method.state_dict().items()}, optimizer


def same(one: Any, other: Any) -> bool:
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, tuple):
        return len(one) == len(other) and all(same(a, b) for a, b in zip(one, other, strict=True))
    return torch.equal(one, other)


WAYS = [
    ("nan", {}),
    ("inf", {}),
    ("photos", {}),
    ("gradient", {}),
    ("nan", PLAIN),
    ("photos", SGD | PLAIN),
    ("nan", {"trainer.gradient_clip_val": 0.5}),
    ("gradient", {"trainer.gradient_clip_val": 0.5} | PLAIN),
    ("photos", {"precision": "bf16-mixed", "trainer.gradient_clip_val": 0.5}),
    ("nan", {"trainer.accumulate_grad_batches": 2}),
]


@pytest.mark.parametrize(("way", "changes"), WAYS)
def test_a_flawed_step_changes_nothing_and_is_named(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    way: str,
    changes: dict[str, Any],
) -> None:
    flaw = Flaw(monkeypatch, way, range(3, 4))
    shown: list[dict[str, str]] = []
    monkeypatch.setattr(
        image_grids.ImageGridCallback, "on_train_batch_end", lambda self, t, m, *_: shown.append(dict(m.newest))
    )
    outcome = train(tmp_path, steps=6, val_every=6, checkpoint_every=3, **changes)
    assert same(flaw.states[2], flaw.states[3])
    for step in (0, 1, 3, 4):
        assert not same(flaw.states[step][0], flaw.states[step + 1][0])
    (warning,) = [r.getMessage() for r in caplog.records if "skipped" in r.getMessage()]
    assert warning.startswith("Step 3 is skipped")
    named = re.findall(r"[^ ]*photos/\d\.png", warning)
    assert len(named) == 2 * changes.get("trainer.accumulate_grad_batches", 1)
    assert all(Path(file).is_file() for file in named)
    # The next step and the validation log real numbers again.
    assert all(value.isfinite() for value in shown[-1].values())
    assert torch.tensor(list(outcome.metrics.values())).isfinite().all()
    # The checkpoint was saved only after a good step.
    assert not (outcome.folder / "checkpoints" / "step-000003.ckpt").exists()
    checkpoint = read_checkpoint(outcome.folder / "checkpoints" / "step-000004.ckpt")
    assert checkpoint["callbacks"]["SkipNonFinite"] == {"skipped": 1, "in_a_row": 0}
    checkpoint = read_checkpoint(outcome.folder / "checkpoints" / "step-000006.ckpt")
    assert checkpoint["callbacks"]["SkipNonFinite"] == {"skipped": 1, "in_a_row": 0}


def test_the_named_photos_are_those_of_that_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    seen: dict[int, tuple[str, ...]] = {}

    def note(self: Any, trainer: Any, *_: object) -> None:
        seen[trainer.global_step] = trainer.datamodule.files_of()

    monkeypatch.setattr(image_grids.ImageGridCallback, "on_train_batch_start", note)
    Flaw(monkeypatch, "photos", range(2, 4))
    train(tmp_path, steps=5, val_every=5, **{"data.workers": 2})
    warnings = [r.getMessage() for r in caplog.records if "skipped" in r.getMessage()]
    assert [re.findall(r"\d\.png", w) for w in warnings] == [[Path(f).name for f in seen[step]] for step in (1, 2)]


@pytest.mark.slow
@pytest.mark.parametrize(("max_skips", "last"), [(0, 4), (2, 6)])
def test_too_many_in_a_row_end_the_run_whose_checkpoint_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, max_skips: int, last: int
) -> None:
    with monkeypatch.context() as flawed:
        Flaw(flawed, "photos", range(4, 100))
        with pytest.raises(ValueError, match=rf"{max_skips + 1} steps in a row, up to step {last}, and") as ended:
            train(tmp_path, steps=12, val_every=12, checkpoint_every=3, max_skips=max_skips)
    assert "method.optimizer.lr" in str(ended.value)
    checkpoint = re.findall(r"resume=(.*)\.$", str(ended.value))[0]
    assert checkpoint.endswith("step-000003.ckpt")
    straight = train(tmp_path / "straight", steps=12, val_every=12, checkpoint_every=3)
    resumed = train(tmp_path, steps=12, val_every=12, checkpoint_every=3, resume=checkpoint, max_skips=5)
    final = [read_checkpoint(o.folder / "checkpoints" / "step-000012.ckpt")["state_dict"] for o in (straight, resumed)]
    assert same(*final)


def test_broken_weights_never_take_the_place_of_good_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Flaw(monkeypatch, "nan", range(4, 100))
    with pytest.raises(ValueError, match="6 steps in a row"):
        train(tmp_path, steps=12, val_every=12, checkpoint_every=1, max_skips=5)
    assert [path.stem for path in sorted(tmp_path.glob("runs/*/*/checkpoints/*"))] == ["step-000002", "step-000003"]


@pytest.mark.slow
def test_scattered_ones_never_end_it_and_are_counted_over_a_resumption(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flaw = Flaw(monkeypatch, "nan", range(1, 12, 2))
    train(tmp_path, steps=6, checkpoint_every=2, max_skips=1)
    assert same(flaw.states[2], flaw.states[3])
    (fourth,) = tmp_path.glob("runs/*/*/checkpoints/step-000004.ckpt")
    resumed = train(tmp_path, steps=6, checkpoint_every=2, max_skips=1, resume=fourth)
    counts = read_checkpoint(resumed.folder / "checkpoints" / "step-000006.ckpt")["callbacks"]["SkipNonFinite"]
    assert counts == {"skipped": 3, "in_a_row": 0}


@pytest.mark.slow
@pytest.mark.parametrize("changes", [{}, PLAIN, {"trainer.gradient_clip_val": 0.5}, {"precision": "bf16-mixed"}])
def test_a_run_without_flaws_is_the_same_without_the_guard(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any]
) -> None:
    guarded = train(tmp_path, steps=5, val_every=5, checkpoint_every=5, **changes)
    with monkeypatch.context() as free:
        free.setattr(perceptual, "propagate_nonfinite", lambda loss: loss)
        free.setattr(perceptual, "skip_unless_finite", lambda optimizer, norm: torch.tensor(True))
        unguarded = train(tmp_path, steps=5, val_every=5, checkpoint_every=5, **changes)
    one, other = (
        read_checkpoint(outcome.folder / "checkpoints" / "step-000005.ckpt") for outcome in (guarded, unguarded)
    )
    assert guarded.folder != unguarded.folder
    assert same(one["state_dict"], other["state_dict"])
    assert same(one["optimizer_states"][0]["state"], other["optimizer_states"][0]["state"])


class Asked(torch.Tensor):
    """Stand-in for a boolean on a GPU that records every read."""

    reads = 0
    device = property(lambda self: torch.device("cuda"))  # type: ignore[assignment]

    @classmethod
    def __torch_function__(cls, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if function in (Tensor.__bool__, Tensor.item, Tensor.tolist):
            cls.reads += 1
        return super().__torch_function__(function, types, args, kwargs or {})


def test_a_gpu_is_asked_only_now_and_then(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    files = {0: ["newest.jpg"], 1: ["before.jpg"], 2: ["old.jpg"], 3: ["older.jpg"]}
    guard = SkipNonFinite(Path("nowhere"), files_of=files.__getitem__, max_skips=1, every=4)
    trainer, method = pl.Trainer(accelerator="cpu", logger=False, enable_checkpointing=False), pl.LightningModule()
    monkeypatch.setattr(Asked, "reads", 0)
    flaws = [True, False, True, True, True, False, False, True]
    for step, fine in enumerate(flaws, start=1):
        monkeypatch.setattr(pl.Trainer, "global_step", step)
        method.finite = torch.tensor(fine).as_subclass(Asked)  # type: ignore[assignment]
        outputs = {"loss": torch.tensor(1.0 if fine else torch.nan)}
        if step < 8:
            guard.on_train_batch_end(trainer, method, outputs, None, 0)
            assert Asked.reads == (1 if step >= 4 else 0)
            assert (guard.skipped, guard.in_a_row) == ((1, 0) if step >= 4 else (0, 0))
    assert [r.getMessage() for r in caplog.records if r.name.startswith("fast_style")] == [
        "Step 2 is skipped: its loss or gradient is not finite. Its photos: old.jpg."
    ]
    caplog.set_level(logging.WARNING)
    guard.on_train_batch_end(trainer, method, outputs, None, 0)
    assert guard.skipped == 3


@pytest.mark.parametrize(
    ("scale", "loss", "norm", "finite"),
    [(2.0**16, 1.0, torch.inf, True), (2.0**16, torch.nan, torch.nan, False), (0.5, 1.0, torch.inf, False)],
)
def test_what_overflows_while_16_mixed_looks_for_its_scale_does_not_count(
    monkeypatch: pytest.MonkeyPatch, scale: float, loss: float, norm: float, finite: bool
) -> None:
    guard = SkipNonFinite(Path("nowhere"), files_of=lambda back: (), max_skips=5, every=1)
    trainer, method = pl.Trainer(accelerator="cpu", logger=False, enable_checkpointing=False), pl.LightningModule()
    scaler = torch.amp.GradScaler("cpu", init_scale=scale)
    scaler.scale(torch.ones(1))
    monkeypatch.setattr(trainer.precision_plugin, "scaler", scaler, raising=False)
    monkeypatch.setattr(pl.Trainer, "global_step", 1)
    method.finite = torch.tensor(norm).isfinite()  # type: ignore[assignment]
    guard.on_train_batch_end(trainer, method, {"loss": torch.tensor(loss)}, None, 0)
    assert guard.skipped == (not finite)


def test_a_number_of_skips_below_zero_is_refused() -> None:
    with pytest.raises(ValueError, match="max_skips"):
        SkipNonFinite(Path("nowhere"), files_of=lambda back: (), max_skips=-1, every=1)
