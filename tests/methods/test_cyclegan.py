"""CycleGAN: gradients equal those of the authors' loop, steps are counted, and runs resume bit for bit."""

import contextlib
import copy
import itertools
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from omegaconf import OmegaConf
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import Tensor
from translation_runs import checkpoint, settings, translate

from fast_style import load_image, load_stylizer
from fast_style.methods.cyclegan import CycleGanMethod
from fast_style.methods.image_pool import ImagePool
from fast_style.networks.patch_discriminator import PatchDiscriminator
from fast_style.networks.serialization import load_network, read_tensors
from fast_style.networks.transform_net import TransformNet
from fast_style.training.checkpoint_io import read_checkpoint
from fast_style.training.config_checks import name_of_collections

ADAM = partial(torch.optim.Adam, lr=2e-4, betas=(0.5, 0.999))
LOGGED = {"trainer.log_every_n_steps": 1}


def method(generator: dict[str, Any] | None = None, **changes: Any) -> CycleGanMethod:
    generator = {
        "width": 3,
        "blocks": 1,
        "upsample": "fractional",
        "fractional_kernel": 3,
        "outer_kernel": 7,
        **(generator or {}),
    }
    parts = {
        "generators": [TransformNet(**generator) for _ in range(2)],
        "discriminators": [PatchDiscriminator(width=4) for _ in range(2)],
        "optimizer": ADAM,
    }
    return CycleGanMethod(**(parts | {"init_std": 0.1, "pool_size": 2} | changes))


class SameStart(pl.LightningDataModule):
    """Random image pairs, the same at every call."""

    def __init__(self, pairs: Tensor) -> None:
        super().__init__()
        self.pairs = pairs

    def train_dataloader(self) -> Any:
        return torch.utils.data.DataLoader(self.pairs, batch_size=2)


def authors_loop(learner: CycleGanMethod, batches: list[Tensor], *, identity: float) -> None:
    """The loop of the authors' `cycle_gan_model.py`: their order of steps, images in -1..1."""
    a2b, b2a, disc_a, disc_b = (
        copy.deepcopy(part) for part in (learner.a2b, learner.b2a, learner.disc_a, learner.disc_b)
    )
    learner.setup("fit")  # As the run does: seed the pools.
    pools = {side: ImagePool(pool.size, seed=0) for side, pool in learner.pools.items()}
    for side, pool in pools.items():
        pool.load_state_dict(learner.pools[side].state_dict())
    of_generators = ADAM([*a2b.parameters(), *b2a.parameters()])
    of_discriminators = ADAM([*disc_a.parameters(), *disc_b.parameters()])
    mse, l1 = torch.nn.MSELoss(), torch.nn.L1Loss()
    lambda_cycle = 10.0

    def signed(pictures: Tensor) -> Tensor:
        return 2 * pictures - 1

    for batch in batches:
        real_a, real_b = batch[:, 0], batch[:, 1]
        fake_b, fake_a = a2b(real_a), b2a(real_b)
        rec_a, rec_b = b2a(fake_b), a2b(fake_a)
        for disc in (disc_a, disc_b):
            disc.requires_grad_(False)
        of_generators.zero_grad()
        total = mse(disc_b(fake_b), torch.ones_like(disc_b(fake_b)))
        total = total + mse(disc_a(fake_a), torch.ones_like(disc_a(fake_a)))
        total = total + lambda_cycle * (l1(signed(rec_a), signed(real_a)) + l1(signed(rec_b), signed(real_b)))
        if identity:
            idt_b, idt_a = a2b(real_b), b2a(real_a)
            total = total + l1(signed(idt_b), signed(real_b)) * lambda_cycle * identity
            total = total + l1(signed(idt_a), signed(real_a)) * lambda_cycle * identity
        total.backward()
        of_generators.step()
        for disc in (disc_a, disc_b):
            disc.requires_grad_(True)
        of_discriminators.zero_grad()
        pooled_a, pooled_b = pools["A"].exchange(fake_a), pools["B"].exchange(fake_b)
        for disc, real, fake in ((disc_a, real_a, pooled_a), (disc_b, real_b, pooled_b)):
            said_of_real, said_of_fake = disc(real), disc(fake.detach())
            loss = mse(said_of_real, torch.ones_like(said_of_real)) + mse(said_of_fake, torch.zeros_like(said_of_fake))
            (loss * 0.5).backward()
        of_discriminators.step()
    learner.expected = [a2b, b2a, disc_a, disc_b]  # type: ignore[assignment]


@pytest.mark.filterwarnings("ignore")  # Warnings of Lightning itself.
@pytest.mark.parametrize("identity", [0.5, 0.0])
def test_four_steps_are_the_authors(identity: float) -> None:
    pairs = torch.rand(8, 2, 3, 28, 32, dtype=torch.float64)
    learner = method(identity_weight=identity).double()
    before = copy.deepcopy(learner.a2b)
    expected = copy.deepcopy(learner)
    authors_loop(expected, list(pairs.split(2)), identity=identity)
    trainer = pl.Trainer(
        max_steps=4, precision="64-true", accelerator="cpu", logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    trainer.fit(learner, SameStart(pairs))
    for ours, theirs in zip((learner.a2b, learner.b2a, learner.disc_a, learner.disc_b), expected.expected, strict=True):
        for one, other in zip(ours.parameters(), theirs.parameters(), strict=True):
            torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-9)
    moved = [(p - q).abs().max() for p, q in zip(learner.a2b.parameters(), before.parameters(), strict=True)]
    assert max(moved) > 1e-4
    assert trainer.global_step == 4


def test_no_identity_computes_nothing_of_it() -> None:
    pairs = torch.rand(1, 2, 3, 24, 24)
    for weight, calls in ((0.5, 3), (0.0, 2)):
        learner, counted = method(identity_weight=weight), []
        learner.a2b.register_forward_hook(lambda *_, counted=counted: counted.append(1))
        batch = learner._translate(pairs, learner.networks)
        terms, _ = learner._terms(batch, {"A": batch.fake_a, "B": batch.fake_b})
        assert len(counted) == calls
        assert any(name.startswith("identity") for name in terms) is (weight > 0)


def test_the_generators_losses_leave_no_gradient_in_the_discriminators() -> None:
    learner = method()
    batch = learner._translate(torch.rand(1, 2, 3, 24, 24), learner.networks)
    terms, _ = learner._terms(batch, {"A": batch.fake_a, "B": batch.fake_b})
    (terms["gan_AB"] + terms["gan_BA"]).backward()
    assert all(p.grad is None for disc in (learner.disc_a, learner.disc_b) for p in disc.parameters())
    assert all(p.requires_grad for p in learner.parameters())
    assert any(p.grad is not None and p.grad.abs().max() > 0 for p in learner.a2b.parameters())
    learner.zero_grad()
    batch = learner._translate(torch.rand(1, 2, 3, 24, 24), learner.networks)
    terms, _ = learner._terms(batch, {"A": batch.fake_a, "B": batch.fake_b})
    (terms["discriminator_A"] + terms["discriminator_B"]).backward()
    assert all(p.grad is None for generator in learner.networks.values() for p in generator.parameters())


def test_weights_are_the_papers_in_their_range() -> None:
    weighted = method()._weighted(
        {name: torch.tensor(1.0) for name in ("gan_AB", "cycle_A", "identity_B", "discriminator_A")}
    )
    # An error of 1 in our range 0..1 is an error of 2 in their range -1..1.
    assert {name: value.item() for name, value in weighted.items()} == {
        "gan_AB": 1.0,
        "cycle_A": 20.0,
        "identity_B": 10.0,
        "discriminator_A": 1.0,
    }


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.slow
@pytest.mark.parametrize("changes", [{}, {"method.average_decay": 0.9, "method.discriminator_shift": 2}])
def test_a_resumed_run_equals_the_straight_one_with_its_pools(tmp_path: Path, changes: dict[str, float]) -> None:
    straight = translate(tmp_path, network_file=tmp_path / "straight.safetensors", **changes)
    whole = read_checkpoint(checkpoint(tmp_path, 8))
    resumed = translate(tmp_path, network_file=tmp_path / "resumed.safetensors", resume=checkpoint(tmp_path, 4))
    again = read_checkpoint(checkpoint(tmp_path, 8))
    for one, other in zip(straight.network_files, resumed.network_files, strict=True):
        assert same(read_tensors(one)[0], read_tensors(other)[0])
    assert same(whole["state_dict"], again["state_dict"])
    for side in "AB":
        assert same(whole["image_pools"][side], again["image_pools"][side])
        assert whole["image_pools"][side]["pictures"].shape == (1, 3, 3, 24, 24)
    assert not same(whole["state_dict"], read_checkpoint(checkpoint(tmp_path, 4))["state_dict"])


@pytest.mark.slow
def test_another_pool_would_have_made_other_networks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Otherwise the test above would also pass with pools that are not restored.
    straight = translate(tmp_path, network_file=tmp_path / "straight.safetensors")
    monkeypatch.setattr(CycleGanMethod, "on_load_checkpoint", lambda self, checkpoint: None)
    resumed = translate(tmp_path, network_file=tmp_path / "resumed.safetensors", resume=checkpoint(tmp_path, 4))
    assert not same(*(read_tensors(outcome.network_file)[0] for outcome in (straight, resumed)))


class Steps(pl.Callback):
    """Record trainer.global_step after every batch."""

    def __init__(self) -> None:
        self.seen: list[int] = []

    def on_train_batch_end(self, trainer: pl.Trainer, *_: object) -> None:
        self.seen.append(trainer.global_step)


@pytest.mark.slow
def test_steps_are_training_steps_everywhere(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    steps = Steps()
    outcome = translate(tmp_path, callbacks=(steps,), steps=6, val_every=3, checkpoint_every=2, **LOGGED)
    assert steps.seen == [1, 2, 3, 4, 5, 6]
    names = sorted(path.stem for path in (outcome.folder / "checkpoints").iterdir())
    assert names == ["step-000004", "step-000006"]
    last = read_checkpoint(checkpoint(tmp_path, 6))
    assert last["global_step"] == 6
    assert last["UnpairedDataModule"]["photos_seen"] == 6
    assert [schedule["last_epoch"] for schedule in last["lr_schedulers"]] == [6, 6]
    for optimizer in last["optimizer_states"]:
        assert {float(state["step"]) for state in optimizer["state"].values()} == {6.0}
    assert "6/6" in capfd.readouterr().err
    events = EventAccumulator(str(outcome.folder)).Reload()
    assert [event.step for event in events.Scalars("train/gan_AB")] == [0, 1, 2, 3, 4, 5]
    assert [event.step for event in events.Scalars("val/cycle_A")] == [2, 5]
    assert [event.step for event in events.Images("A_to_B_and_back")] == [2, 5]


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_every_loss_is_logged_by_name_and_direction_and_adds_up(tmp_path: Path, precision: str) -> None:
    outcome = translate(tmp_path, steps=4, precision=precision, **LOGGED)
    events = EventAccumulator(str(outcome.folder)).Reload()
    last = {name: events.Scalars(name)[-1].value for name in events.Tags()["scalars"]}
    directions = {
        "gan_AB",
        "gan_BA",
        "cycle_A",
        "cycle_B",
        "identity_A",
        "identity_B",
        "discriminator_A",
        "discriminator_B",
    }
    for stage in ("train", "val"):
        assert {name.split("/")[1] for name in last if name.startswith(f"{stage}/")} == directions | {"total"}
        assert {name.split("/")[1] for name in last if name.startswith(f"{stage}_raw/")} == directions
        total = sum(last[f"{stage}/{name}"] for name in directions)
        assert last[f"{stage}/total"] == pytest.approx(total, rel=1e-4)
    rates = {"real_A", "fake_A", "real_B", "fake_B"}
    assert {f"{kind}/{name}" for kind in ("accuracy", "val_accuracy") for name in rates} <= last.keys()
    assert all(0 <= last[f"accuracy/{name}"] <= 1 for name in rates)
    assert {"gradient_norm", "images_per_second", "lr-Adam"} <= last.keys()
    assert set(events.Tags()["images"]) == {"A_to_B_and_back", "B_to_A_and_back"}
    image = events.Images("A_to_B_and_back")[-1]
    # Two rows of four images with borders: image, translation, reconstruction, identity mapping.
    assert (image.width, image.height) == (4 * 26 + 2, 2 * 26 + 2)


def test_both_directions_become_files_that_say_which_they_are(tmp_path: Path) -> None:
    outcome = translate(tmp_path, steps=2)
    assert [file.name for file in outcome.network_files] == ["network_A2B.safetensors", "network_B2A.safetensors"]
    picture = load_image(tmp_path / "warm2cold" / "testA" / "0.png")
    painted = []
    for file, direction in zip(outcome.network_files, ("A2B", "B2A"), strict=True):
        network, origin = load_network(file)
        assert (origin["direction"], origin["style"]) == (direction, f"warm2cold_{direction}")
        assert "0 to 1" in origin["input"]
        assert str(tmp_path) not in str(origin)
        painted.append(load_stylizer(file, runtime="torch", precision="fp32")(picture))
        torch.testing.assert_close(painted[-1], network(picture), rtol=0, atol=1e-5)
    assert not torch.equal(*painted)
    from_checkpoint = load_stylizer(checkpoint(tmp_path, 2), runtime="torch", precision="fp32")
    assert from_checkpoint.origin["direction"] == "A2B"
    assert torch.equal(from_checkpoint(picture), painted[0])


def test_a_checkpoint_holds_the_four_networks_and_what_goes_on(tmp_path: Path) -> None:
    translate(tmp_path, steps=2)
    content = read_checkpoint(checkpoint(tmp_path, 2))
    assert {name.split(".")[0] for name in content["state_dict"]} == {"a2b", "b2a", "disc_a", "disc_b"}
    assert len(content["optimizer_states"]) == len(content["lr_schedulers"]) == 2
    assert content["image_pools"].keys() == {"A", "B"}
    groups = [optimizer["param_groups"][0] for optimizer in content["optimizer_states"]]
    assert {(group["initial_lr"], *group["betas"]) for group in groups} == {(2e-4, 0.5, 0.999)}


class KeepGenerators(pl.Callback):
    """Record copies of both learning generators after every step, and the image grids' columns."""

    def __init__(self) -> None:
        self.after: list[list[torch.nn.Module]] = []
        self.columns: dict[str, list[Tensor]] = {}

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: object) -> None:
        assert isinstance(pl_module, CycleGanMethod)
        self.after.append([copy.deepcopy(network) for network in (pl_module.a2b, pl_module.b2a)])

    def on_validation_batch_end(self, trainer: pl.Trainer, pl_module: object, outputs: Any, *_: object) -> None:
        self.columns = outputs


def averaged(after: list[torch.nn.Module], decay: float) -> list[Tensor]:
    """The moving average of the weights, step by step; its share rises as 1/10, 2/11, ... up to the decay."""
    mean = [p.detach().clone() for p in after[0].parameters()]
    for number, network in enumerate(after[1:], 1):
        kept = min(decay, (1 + number) / (10 + number))
        mean = [kept * old + (1 - kept) * new.detach() for old, new in zip(mean, network.parameters(), strict=True)]
    return mean


def test_the_average_of_both_generators_is_validated_and_saved(tmp_path: Path) -> None:
    kept = KeepGenerators()
    changes = {"method.average_decay": 0.3, "method.optimizer.lr": 0.02, "steps": 5, "val_every": 5}
    outcome = translate(tmp_path, callbacks=(kept,), **changes)
    saved = [load_network(file)[0] for file in outcome.network_files]
    for network, after in zip(saved, zip(*kept.after, strict=True), strict=True):
        for ours, expected in zip(network.parameters(), averaged(list(after), 0.3), strict=True):
            torch.testing.assert_close(ours, expected, rtol=1e-4, atol=1e-6)
        last = after[-1].parameters()
        assert max((p - q).abs().max() for p, q in zip(network.parameters(), last, strict=True)) > 1e-3
    for side, network in zip("AB", saved, strict=True):
        with torch.no_grad():
            torch.testing.assert_close(kept.columns[side][1], network(kept.columns[side][0]), rtol=0, atol=1e-5)
    from_checkpoint = load_network(checkpoint(tmp_path, 5))[0]
    assert same(from_checkpoint.state_dict(), saved[0].state_dict())


@pytest.mark.parametrize("decay", [-0.1, 1.0])
def test_a_decay_outside_of_its_range_is_refused(decay: float) -> None:
    with pytest.raises(ValueError, match="average_decay must be at least 0 and below 1"):
        method(average_decay=decay)


def test_without_a_decay_no_copy_is_kept() -> None:
    plain, kept = method(), method(average_decay=0.9)
    assert plain.networks["A2B"] is plain.a2b
    assert plain.networks["B2A"] is plain.b2a
    own, average = len(list(plain.a2b.parameters())), len(list(kept.parameters())) - len(list(plain.parameters()))
    assert average == 2 * own
    assert not any(p.requires_grad for network in kept.networks.values() for p in network.parameters())
    # Before the first step the average is the initial network.
    assert same(kept.networks["B2A"].state_dict(), kept.b2a.state_dict())


def test_discriminators_get_shifted_images_in_training_only() -> None:
    learner, seen = method(discriminator_shift=5), []
    learner.disc_b.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    picture = torch.arange(24.0 * 24).view(1, 1, 24, 24).expand(1, 3, -1, -1) / 576
    batch = learner._translate(torch.stack([picture, picture], 1), learner.networks)
    pooled = {"A": batch.fake_a, "B": batch.fake_b}
    for _ in range(8):
        learner._terms(batch, pooled)
    reals = seen[1::3]
    middles = torch.stack([real[0, 0, 12, 12] for real in reals]) * 576
    down, right = (middles // 24 - 12).abs(), (middles % 24 - 12).abs()
    assert 0 < down.max() <= 5
    assert 0 < right.max() <= 5
    assert {real.shape for real in reals} == {picture.shape}
    seen.clear()
    learner.eval()._terms(batch, pooled)
    assert torch.equal(seen[1], picture)


@pytest.mark.parametrize("fused", [True, False])
def test_a_step_that_is_not_finite_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, fused: bool
) -> None:
    forward, calls = PatchDiscriminator.forward, []
    states: list[dict[str, Tensor]] = []

    def flawed(self: PatchDiscriminator, pictures: Tensor) -> Tensor:
        calls.append(1)
        return forward(self, pictures) + (torch.nan if 12 < len(calls) <= 18 and self.training else 0.0)

    class Keep(pl.Callback):
        def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: object) -> None:
            states.append({name: value.clone() for name, value in pl_module.state_dict().items()})

    monkeypatch.setattr(PatchDiscriminator, "forward", flawed)
    # A step calls discriminators six times; the third call of a step is broken.
    changes = {"steps": 5, "val_every": 5, "checkpoint_every": 1, "method.optimizer.fused": fused}
    changes |= {"method.average_decay": 0.5}
    outcome = translate(tmp_path, callbacks=(Keep(),), **changes)
    assert same(states[1], states[2])
    assert not same(states[2], states[3])
    assert all(value.isfinite().all() for value in states[-1].values())
    (warning,) = [record.getMessage() for record in caplog.records if "skipped" in record.getMessage()]
    assert warning.startswith("Step 3 is skipped")
    assert "trainA" in warning
    assert "trainB" in warning
    assert torch.tensor([outcome.metrics["val/total"]]).isfinite().all()


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"trainer.accumulate_grad_batches": 2}, "accumulates no gradients"),
        ({"trainer.gradient_clip_val": 1.0}, "clips no gradients"),
        ({"precision": "16-mixed"}, "precision=bf16-mixed or 32-true"),
        ({"data": "folder", "data.load_size": None, "data.held_out": 2}, "learns from two collections"),
        ({"precision": 16}, "precision=bf16-mixed or 32-true"),
        ({"method.discriminator_shift": -1}, r"method.discriminator_shift \(in pixels\) must be 0 or more; got -1"),
        ({"method.pool_size": -1}, r"method.pool_size \(images kept per side\) must be 0 or more; got -1"),
        ({"method.cycle_weight": -1}, "method.cycle_weight and method.identity_weight must be 0 or more; got -1"),
        ({"init_from": "wave.safetensors"}, "method=cyclegan trains two from random init: leave init_from at null"),
        ({"data.size": 16}, "With discriminator.layers=3, data.size is at least 24; got 16"),
        ({"data.size": 15, "discriminator.layers": 1}, "data.size is at least 16; got 15"),
    ],
)
def test_a_setting_that_does_not_do_is_refused(tmp_path: Path, changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence) as refused:
        translate(tmp_path, **changes)
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "runs").exists()


def test_two_folders_of_one_name_are_told_apart_by_their_parents() -> None:
    folders = {"a": "summers/train", "b": "winters/train", "root": None}
    assert name_of_collections(OmegaConf.create({"name": None, "data": folders})) == "summers2winters"
    assert name_of_collections(OmegaConf.create({"name": None, "data": {**folders, "b": "winters/all"}})) == "train2all"


def test_a_generator_with_a_gain_starts_as_one_without() -> None:
    plain, gained = method(seed=0), method(seed=0, generator={"output_gain": 0.1})
    weights = [m.a2b.to_rgb.weight.std().item() * m.a2b.output_gain for m in (plain, gained)]
    assert weights[1] == pytest.approx(weights[0], rel=0.2)


def test_pools_of_processes_and_sides_draw_for_themselves(monkeypatch: pytest.MonkeyPatch) -> None:
    states = []
    for rank in range(2):
        monkeypatch.setattr(CycleGanMethod, "global_rank", rank)
        one = method()
        one.setup("fit")
        states += [pool.state_dict()["random"] for pool in one.pools.values()]
    assert all(not torch.equal(a, b) for a, b in itertools.combinations(states, 2))


def test_pools_are_gathered_where_the_processes_meet(monkeypatch: pytest.MonkeyPatch) -> None:
    # After a run Lightning has moved the networks to the CPU, where NCCL cannot gather.
    one, seen = method(), []
    strategy = SimpleNamespace(root_device=torch.device("meta"))
    monkeypatch.setattr(CycleGanMethod, "trainer", SimpleNamespace(world_size=2, strategy=strategy))
    monkeypatch.setattr(torch.distributed, "all_gather", lambda all_, mine: seen.append(mine.device.type))
    with contextlib.suppress(NotImplementedError):  # A "meta" tensor has no values to copy to the CPU.
        one._of_all_processes(torch.zeros(1))
    assert seen == ["meta"]


def test_pools_of_another_number_of_processes_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    one = method()
    state = {"pictures": torch.rand(2, 1, 3, 4, 4), "random": torch.stack([torch.get_rng_state()] * 2)}
    monkeypatch.setattr(CycleGanMethod, "trainer", SimpleNamespace(world_size=4))
    one.on_load_checkpoint({"image_pools": {"A": state, "B": state}})
    assert [len(pool) for pool in one.pools.values()] == [0, 0]


def test_a_style_is_not_learnt_from_collections(tmp_path: Path) -> None:
    from training_runs import composed

    from fast_style.training.run import run

    overrides = [*settings(tmp_path, **{"method": "perceptual", "discriminator.width": None, "method.pool_size": None})]
    overrides += ["data=unpaired", "style=wave"]
    with pytest.raises(ValueError, match="data=unpaired is for method=cyclegan"):
        run(composed(overrides), overrides)


def test_a_generator_starts_flat_grey() -> None:
    # With weights of N(0, 0.02), the first output is mid-grey only if the output range is 0..1.
    made = method(init_std=0.02).a2b(torch.rand(1, 3, 24, 24))
    assert F.l1_loss(made, torch.full_like(made, 0.5)) < 0.1
