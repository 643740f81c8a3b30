"""The end of a run: no broken network overwrites a good one, two checkpoints stay, and global state is restored."""

import logging
import os
import signal
import warnings
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from training_runs import composed, settings, train
from translation_runs import translate

from fast_style.interrupts import Interrupted
from fast_style.losses.perceptual import PerceptualLoss
from fast_style.networks.serialization import read_tensors
from fast_style.training.callbacks import progress
from fast_style.training.callbacks.progress import RunLogger
from fast_style.training.callbacks.skip_nonfinite import has_finite_weights, require_finite
from fast_style.training.checkpoint_io import read_checkpoint
from fast_style.training.config_checks import check_writable
from fast_style.training.run import run

pytestmark = pytest.mark.slow


def steps_kept(folder: Path) -> list[str]:
    return sorted(path.stem for path in folder.glob("runs/*/*/checkpoints/*"))


@pytest.mark.parametrize("steps", [4, 5])
def test_two_checkpoints_stay_whatever_the_number_of_steps(tmp_path: Path, steps: int) -> None:
    outcome = train(tmp_path, steps=steps, val_every=steps)
    assert steps_kept(tmp_path) == [f"step-{step:06d}" for step in ((2, 4) if steps == 4 else (4, 5))]
    checkpoint = read_checkpoint(outcome.folder / "checkpoints" / f"step-{steps:06d}.ckpt")
    assert checkpoint["global_step"] == steps


def test_a_stopped_run_keeps_two(tmp_path: Path) -> None:
    class Stop(pl.Callback):
        def on_train_batch_start(self, trainer: pl.Trainer, *_: object) -> None:
            if trainer.global_step == 4:
                os.kill(os.getpid(), signal.SIGTERM)

    overrides = settings(tmp_path, steps=8, val_every=8)
    with pytest.raises(Interrupted):
        run(composed(overrides), overrides, callbacks=[Stop()])
    assert steps_kept(tmp_path) == ["step-000004", "step-000005"]


DIVERGED: list[dict[str, Any]] = [
    {"steps": 1, "val_every": 1},
    {"steps": 1, "val_every": 1, "checkpoint_every": 1},
    {"steps": 4},
    {"steps": 4, "checkpoint_every": 1},
    {"steps": 4, "val_every": 3},
    {"steps": 4, "optimizer@method.optimizer": "muon", "method.optimizer.lr": "nan"},
]


@pytest.mark.parametrize("changes", DIVERGED, ids=str)
def test_weights_that_are_nan_never_replace_a_good_network(tmp_path: Path, changes: dict[str, Any]) -> None:
    good = train(tmp_path, steps=1, val_every=1).network_file
    before = good.read_bytes()
    rate = {"method.optimizer.lr": "inf", "method.schedule": "null"}  # torch's Adam refuses NaN.
    with pytest.raises(ValueError, match=r"so no network is written: start again with a lower method\.optimizer\.lr"):
        train(tmp_path, **(rate | changes))
    assert good.read_bytes() == before
    assert all(tensor.isfinite().all() for tensor in read_tensors(good)[0].values())
    assert steps_kept(tmp_path) == ["step-000001"]  # Only that of the good run.


def test_a_translation_that_diverged_replaces_nothing(tmp_path: Path) -> None:
    good = translate(tmp_path, steps=1, val_every=1).network_files
    before = [file.read_bytes() for file in good]
    with pytest.raises(ValueError, match="so no network is written"):
        translate(tmp_path, steps=2, val_every=2, **{"method.optimizer.lr": "inf", "method.schedule": "null"})
    assert [file.read_bytes() for file in good] == before


class Broken:
    """Makes the training loss NaN in the given steps, counted from 1."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, steps: range) -> None:
        weigh, self.step = PerceptualLoss.weigh, 0

        def flawed(loss: PerceptualLoss, terms: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
            weighted = weigh(loss, terms)
            if torch.is_grad_enabled():
                self.step += 1
                if self.step in steps:
                    weighted["tv"] = weighted["tv"] * torch.nan
            return weighted

        monkeypatch.setattr(PerceptualLoss, "weigh", flawed)


def test_a_run_whose_last_steps_were_skipped_names_the_last_good_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = train(tmp_path, steps=1, val_every=1, runs=tmp_path / "other").network_file
    before = good.read_bytes()
    Broken(monkeypatch, range(5, 9))
    with pytest.raises(ValueError, match=r"not finite in the last steps \(4 in a row, up to step 8\)") as ended:
        train(tmp_path, steps=8, val_every=8)
    (run_folder,) = tmp_path.glob("runs/*/*")
    assert str(ended.value).endswith(f"with resume={run_folder / 'checkpoints' / 'step-000004.ckpt'}.")
    assert steps_kept(tmp_path) == ["step-000002", "step-000004"]
    assert good.read_bytes() == before


def test_one_bad_batch_at_the_end_does_not_fail_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Broken(monkeypatch, range(4, 5))
    outcome = train(tmp_path, steps=4)
    assert all(tensor.isfinite().all() for tensor in read_tensors(outcome.network_file)[0].values())


def test_a_finished_run_of_broken_weights_writes_nothing_when_resumed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = train(tmp_path, steps=1, val_every=1)
    before = first.network_file.read_bytes()
    load = pl.LightningModule.on_load_checkpoint

    def breaking(self: pl.LightningModule, checkpoint: dict[str, Any]) -> None:
        load(self, checkpoint)
        for tensor in checkpoint["state_dict"].values():
            if tensor.is_floating_point():
                tensor.fill_(torch.nan)

    monkeypatch.setattr(pl.LightningModule, "on_load_checkpoint", breaking)
    with pytest.raises(ValueError, match="Some weights are not finite after step 1, so no network is written"):
        train(tmp_path, steps=1, val_every=1, resume=first.folder)
    assert first.network_file.read_bytes() == before


def test_only_validation_losses_must_be_finite(tmp_path: Path) -> None:
    method = torch.nn.Linear(2, 2)
    require_finite(method, {"train/total": torch.nan, "val/total": 1.0}, checkpoints=tmp_path, step=3)
    with pytest.raises(ValueError, match=r"validation is not finite \(val/total\) after step 3"):
        require_finite(method, {"val/total": torch.inf}, checkpoints=tmp_path, step=3)
    assert has_finite_weights(method)
    assert has_finite_weights(torch.nn.Identity())
    method.bias.data[1] = -torch.inf
    assert not has_finite_weights(method)


class Fails(pl.Callback):
    """Raises in one of Lightning's hooks."""

    def __init__(self, hook: str) -> None:
        setattr(self, hook, self.fail)

    def fail(self, *_: object, **__: object) -> None:
        raise RuntimeError("something else broke")


@pytest.mark.parametrize("hook", ["on_train_start", "on_train_batch_end", "on_train_end", "finalize"])
def test_the_bar_is_closed_and_log_handlers_are_restored_after_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hook: str
) -> None:
    opened: list[Any] = []

    class Bar(progress.tqdm):  # type: ignore[type-arg]
        closed = False

        def close(self) -> None:
            self.closed = True
            super().close()

        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options)
            opened.append(self)

    monkeypatch.setattr(progress, "tqdm", Bar)
    handlers = list(logging.root.handlers)
    callback = Fails("on_train_batch_end" if hook == "finalize" else hook)
    if hook == "finalize":
        monkeypatch.setattr(progress.StepProgress, "on_exception", callback.fail)
        monkeypatch.setattr(RunLogger, "finalize", callback.fail)
    overrides = settings(tmp_path)
    with pytest.raises(RuntimeError, match="something else broke"):
        run(composed(overrides), overrides, callbacks=[callback])
    assert [bar.closed for bar in opened] == [True]
    assert logging.root.handlers == handlers


LOGGERS = ("pytorch_lightning.utilities.rank_zero", "lightning_fabric.utilities.distributed", "fast_style")


@pytest.mark.parametrize("changes", [{}, {"data.root": "nowhere"}])
def test_warning_filters_and_log_levels_are_restored(tmp_path: Path, changes: dict[str, Any]) -> None:
    filters, levels = list(warnings.filters), [logging.getLogger(name).level for name in LOGGERS]
    try:
        train(tmp_path, steps=1, val_every=1, **changes)
    except ValueError:
        assert changes
    assert warnings.filters == filters
    assert [logging.getLogger(name).level for name in LOGGERS] == levels
    with pytest.warns(UserWarning, match="GPU available but not used"):
        warnings.warn("GPU available but not used", stacklevel=1)


def test_a_refused_setting_leaves_no_folder(tmp_path: Path) -> None:
    file = tmp_path / "new" / "deep" / "network.safetensors"
    check_writable(file)
    assert not (tmp_path / "new").exists()
    with pytest.raises(ValueError, match="nowhere"):
        train(tmp_path, network_file=file, **{"data.root": "nowhere"})
    assert not (tmp_path / "new").exists()
    assert train(tmp_path, steps=1, val_every=1, network_file=file).network_file.is_file()


def test_an_unwritable_network_file_is_refused_before_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match=r"file is not a folder\. Set network_file"):
        train(tmp_path, network_file=tmp_path / "file" / "deep" / "network.safetensors")
    (tmp_path / "network.safetensors").mkdir()
    with pytest.raises(ValueError, match="is a folder; set network_file to a file"):
        train(tmp_path)
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != tmp_path)
    with pytest.raises(ValueError, match=f"{tmp_path} cannot be written to. Set network_file"):
        train(tmp_path, network_file=tmp_path / "new" / "network.safetensors")
    assert not (tmp_path / "new").exists()
    assert not (tmp_path / "runs").exists()
