"""The effective batch over all processes, and the learning rate that follows it."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from training_runs import train

from fast_style.networks.serialization import read_tensors
from fast_style.training.callbacks.throughput import Throughput
from fast_style.training.checkpoint_io import read_checkpoint
from fast_style.training.effective_batch import BatchSizeCheck, EffectiveBatch, shared_batch
from fast_style.training.run import TrainingResult


@pytest.mark.parametrize(
    ("photos", "processes", "accumulated", "rule", "size", "factor"),
    [
        (4, 1, 1, "constant", 4, 1.0),
        (4, 32, 1, "constant", 128, 1.0),
        (4, 1, 1, "sqrt", 4, 1.0),
        (4, 32, 1, "sqrt", 128, 32**0.5),
        (4, 32, 1, "linear", 128, 32.0),
        (2, 2, 4, "linear", 16, 4.0),
        (1, 1, 1, "linear", 1, 0.25),
    ],
)
def test_the_rules(photos: int, processes: int, accumulated: int, rule: str, size: int, factor: float) -> None:
    batch = EffectiveBatch(photos=photos, processes=processes, accumulated=accumulated, rule=rule)  # type: ignore[arg-type]
    assert batch.size == size
    assert batch.factor == pytest.approx(factor)


@pytest.mark.parametrize(
    ("batch", "sentence"),
    [
        (EffectiveBatch(photos=4), "Effective batch 4; learning rate 0.001 (lr_rule=constant)."),
        (
            EffectiveBatch(photos=4, processes=32, rule="sqrt"),
            "Effective batch 128 = 4 photos x 32 processes; learning rate 0.001 x 5.66 (lr_rule=sqrt, reference "
            "batch 4).",
        ),
        (
            EffectiveBatch(photos=2, accumulated=3, rule="linear", reference=2),
            "Effective batch 6 = 2 photos x 3 accumulated; learning rate 0.001 x 3 (lr_rule=linear, reference batch "
            "2).",
        ),
    ],
)
def test_the_sentence(batch: EffectiveBatch, sentence: str) -> None:
    assert batch.sentence(1e-3) == sentence


@pytest.mark.parametrize(("wrong", "named"), [({"rule": "cubic"}, "sqrt"), ({"reference": 0}, "lr_reference_batch")])
def test_an_unknown_rule_or_reference_is_refused(wrong: dict[str, object], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        EffectiveBatch(photos=4, **wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("size", "processes", "accumulated", "photos"), [(12, 1, 1, 12), (12, 3, 1, 4), (12, 3, 2, 2), (8, 2, 4, 1)]
)
def test_processes_and_accumulated_batches_share_a_batch(
    size: int, processes: int, accumulated: int, photos: int
) -> None:
    batch = shared_batch(size, processes=processes, accumulated=accumulated, rule="sqrt", reference=2)
    assert batch == EffectiveBatch(
        photos=photos, processes=processes, accumulated=accumulated, rule="sqrt", reference=2
    )
    assert batch.size == size


@pytest.mark.parametrize(
    ("size", "processes", "accumulated", "hint"),
    [
        (12, 5, 1, "one of 1, 2, 3, 4, 6, 12 processes"),
        (12, 4, 2, "by 4 processes and 2 .* one of 1, 2, 3, 6"),
        (4, 8, 1, "1, 2, 4"),
        (5, 1, 2, "evenly by 1 process and 2 accumulated batches: set trainer"),
    ],
)
def test_shares_that_are_not_even_are_refused(size: int, processes: int, accumulated: int, hint: str) -> None:
    with pytest.raises(ValueError, match=hint):
        shared_batch(size, processes=processes, accumulated=accumulated)


@pytest.mark.parametrize(("photos", "processes", "accumulated"), [(8, 1, 1), (2, 4, 1), (1, 2, 4)])
def test_other_processes_resume_with_an_equal_batch(photos: int, processes: int, accumulated: int) -> None:
    saved = BatchSizeCheck(EffectiveBatch(photos=4, processes=2)).state_dict()
    now = EffectiveBatch(photos=photos, processes=processes, accumulated=accumulated)
    BatchSizeCheck(now).load_state_dict(saved)
    with pytest.raises(ValueError, match=r"its own image pools.*4 photos x 2 processes.*trainer\.devices"):
        BatchSizeCheck(now, per_process_state="image pools").load_state_dict(saved)


def test_another_batch_does_not_resume() -> None:
    saved = BatchSizeCheck(EffectiveBatch(photos=4, processes=2)).state_dict()
    BatchSizeCheck(EffectiveBatch(photos=4, processes=2, rule="sqrt"), per_process_state="pools").load_state_dict(saved)
    with pytest.raises(ValueError, match=r"4 photos x 2 processes.*Leave out batch"):
        BatchSizeCheck(EffectiveBatch(photos=4, processes=4)).load_state_dict(saved)


def curves(outcome: TrainingResult) -> dict[str, list[tuple[int, float]]]:
    events = EventAccumulator(str(outcome.folder)).Reload()
    return {name: [(event.step, event.value) for event in events.Scalars(name)] for name in events.Tags()["scalars"]}


def weights(outcome: TrainingResult, step: int) -> dict[str, torch.Tensor]:
    state: dict[str, torch.Tensor] = read_checkpoint(outcome.folder / f"checkpoints/step-{step:06d}.ckpt")["state_dict"]
    return state


# Without noise and shifts, which differ between accumulated batches.
SAME = {"method.noise_std": 0, "method.loss_shift": 0}
ACCUMULATING = {
    "trainer.accumulate_grad_batches": 2,
    "trainer.log_every_n_steps": 2,
    "val_every": 2,
    **SAME,
}


@pytest.mark.slow
def test_a_step_that_accumulates_is_one_step(tmp_path: Path) -> None:
    outcome = train(tmp_path, **ACCUMULATING)
    drawn = curves(outcome)
    for name in ("train/total", "val/total", "images_per_second", "lr-Adam", "gradient_norm"):
        assert [step for step, _ in drawn[name] if step] in ([1, 3], [2, 4]), name
    saved = read_checkpoint(outcome.folder / "checkpoints/step-000004.ckpt")
    assert saved["ImageFolderDataModule"]["photos_seen"] == 16
    # The same photos in one batch. A wrong sum, mean or order would give a very different loss. Rounding differs, by an
    # amount that depends on the machine.
    whole = curves(
        train(tmp_path / "whole", **ACCUMULATING | {"trainer.accumulate_grad_batches": 1, "data.batch_size": 4})
    )
    for name in ("train/total", "val/total", "lr-Adam", "gradient_norm"):
        assert [value for _, value in drawn[name]] == pytest.approx([value for _, value in whole[name]], rel=5e-3), name


def test_images_of_every_batch_of_a_step_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    now, logged = iter(range(1, 100)), []
    monkeypatch.setattr("fast_style.training.callbacks.progress.time.monotonic", lambda: float(next(now)))
    method = SimpleNamespace(log=lambda name, value: logged.append((name, value)))
    throughput = Throughput(2)
    for step in (0, 1, 1, 2, 2, 3, 3, 4):  # After each of the two batches of a step.
        trainer, batch = SimpleNamespace(global_step=step, world_size=3), torch.zeros(5, 3, 1, 1)
        throughput.on_train_batch_start(trainer, method, batch, 0)  # type: ignore[arg-type]
        throughput.on_train_batch_end(trainer, method, None, batch, 0)  # type: ignore[arg-type]
    assert [value for name, value in logged if name == "images_per_second"] == [15.0] * 2


def test_an_accumulating_run_resumes_to_the_bit(tmp_path: Path) -> None:
    straight = train(tmp_path, **ACCUMULATING)
    expected = weights(straight, 4)
    resumed = train(tmp_path, **ACCUMULATING, resume=straight.folder / "checkpoints/step-000002.ckpt")
    found = weights(resumed, 4)
    assert all(torch.equal(found[name], expected[name]) for name in expected)


@pytest.mark.parametrize(("before", "after"), [(1, 2), (2, 1)])
def test_a_run_resumes_with_other_accumulated_batches(tmp_path: Path, before: int, after: int) -> None:
    common = {
        "trainer.log_every_n_steps": 1,
        "val_every": 2,
        "checkpoint_every": 1,
        "batch": 4,
        "data.batch_size": None,
        **SAME,
    }
    passes = "trainer.accumulate_grad_batches"
    straight = train(tmp_path / "straight", **common, **{passes: before})
    first = train(tmp_path, **common, **{passes: before})
    (first.folder / "checkpoints/step-000004.ckpt").unlink()
    resumed = train(tmp_path, **common, **{passes: after}, resume=first.folder)
    saved = read_checkpoint(resumed.folder / "checkpoints/step-000004.ckpt")
    assert saved["ImageFolderDataModule"]["photos_seen"] == 16
    one, other = curves(straight), curves(resumed)
    for name in ("train/total", "val/total", "gradient_norm"):
        assert [step for step, _ in other[name]] == [step for step, _ in one[name]]
        assert [value for _, value in other[name]] == pytest.approx([value for _, value in one[name]], rel=2e-2), name


def test_batch_and_batch_size_together_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"batch counts the photos of all processes"):
        train(tmp_path, batch=4)


def test_the_rule_scales_the_learning_rate_and_is_in_the_network_file(tmp_path: Path) -> None:
    constant = {"method.schedule": "null", "trainer.log_every_n_steps": 1, "steps": 2}
    outcome = train(tmp_path, **constant, lr_rule="linear", lr_reference_batch=1)
    assert [value for _, value in curves(outcome)["lr-Adam"]] == pytest.approx([2e-3, 2e-3])
    recipe = json.loads(read_tensors(outcome.network_file)[1]["recipe"])
    numbers = {"photos": 2, "processes": 1, "accumulated": 1, "size": 2, "reference": 1}
    assert recipe["effective_batch"] == numbers | {"rule": "linear", "lr_factor": 2.0}
    assert recipe["method"]["optimizer"]["lr"] == 1e-3
    resumed = train(tmp_path, **constant | {"steps": 3}, lr_rule="linear", lr_reference_batch=1, resume=outcome.folder)
    assert curves(resumed)["lr-Adam"][-1][1] == pytest.approx(2e-3)


def test_a_rule_without_a_learning_rate_is_refused(tmp_path: Path) -> None:
    without = {"method.optimizer.lr": "null", "method.schedule": "null"}
    with pytest.raises(ValueError, match=r"method\.optimizer\.lr"):
        train(tmp_path, **without, lr_rule="sqrt")
