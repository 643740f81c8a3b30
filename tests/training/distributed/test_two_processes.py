"""Two real processes on a CPU: they learn what one process learns, and they end together."""

import signal
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
import torch
from starting import Ended, like_srun, once_there, plainly, run, with_torchrun
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from training_runs import settings, train

from fast_style.networks.serialization import read_tensors
from fast_style.training.checkpoint_io import read_checkpoint

pytestmark = pytest.mark.slow

STEPS = 40
#: A small learning rate, because ReLU and max pooling amplify float32 rounding differences.
RECIPE = {
    # With other upsampling a norm cancels some biases. Adam then follows the sign of rounding errors, which differs.
    "generator": "johnson",
    "generator.upsample": "fractional",
    "steps": STEPS,
    "val_every": STEPS // 2,
    "checkpoint_every": 5,
    "method.optimizer.lr": 1e-5,
    "method.schedule": "null",
    "trainer.log_every_n_steps": 5,
    # Noise and shift differ between processes.
    "method.noise_std": 0,
    "method.loss_shift": 0,
}
TWO = RECIPE | {"trainer": "ddp", "trainer.devices": 2, "data.batch_size": 2}
COMPARED = ("train", "train_raw", "val", "val_raw", "gradient_norm", "lr-Adam")
ONE = RECIPE | {"data.batch_size": 4}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("two")


@pytest.fixture(scope="module")
def undisturbed(home: Path) -> tuple[Path, Ended]:
    ended = run(plainly(settings(home, **TWO, runs=home / "undisturbed")))
    return home / "undisturbed", ended


def final(runs: Path) -> dict[str, torch.Tensor]:
    (checkpoint,) = runs.glob(f"dots/*/checkpoints/step-{STEPS:06d}.ckpt")
    state: dict[str, torch.Tensor] = read_checkpoint(checkpoint)["state_dict"]
    return state


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def flat(state: dict[str, torch.Tensor]) -> torch.Tensor:
    return torch.cat([tensor.double().flatten() for name, tensor in state.items() if name.startswith("generator")])


def curves(runs: Path) -> dict[str, list[tuple[int, float]]]:
    events = EventAccumulator(str(next(runs.glob("dots/*")))).Reload()
    return {name: [(event.step, event.value) for event in events.Scalars(name)] for name in events.Tags()["scalars"]}


def test_two_processes_learn_what_one_learns(home: Path, undisturbed: tuple[Path, Ended]) -> None:
    runs, ended = undisturbed
    assert ended.code == 0, ended.err
    alone = train(home, **ONE, runs=home / "alone")
    start = train(home, **ONE | {"steps": 1, "method.optimizer.lr": 0.0}, runs=home / "start")
    (unmoved,) = start.folder.glob("checkpoints/*.ckpt")
    before, by_one, by_two = (
        flat(read_checkpoint(unmoved)["state_dict"]),
        flat(final(home / "alone")),
        flat(final(runs)),
    )
    # With the photos of one process only, or without averaged gradients, the ratio is above 0.3.
    assert (by_one - by_two).norm() < 2e-3 * (by_one - before).norm()
    one, two = curves(home / "alone"), curves(runs)
    assert one.keys() == two.keys()
    for name in (name for name in one if name.split("/")[0] in COMPARED):
        assert [step for step, _ in one[name]] == [step for step, _ in two[name]]
        assert [value for _, value in two[name]] == pytest.approx([value for _, value in one[name]], rel=1e-3)
    assert alone.metrics["val/total"] == pytest.approx(two["val/total"][-1][1], rel=1e-3)


def test_only_rank_0_writes_and_reports(undisturbed: tuple[Path, Ended]) -> None:
    runs, ended = undisturbed
    (folder,) = runs.glob("*/*")
    names = sorted(path.name.split(".")[0] for path in folder.iterdir())
    assert names == ["checkpoints", "config", "events", "overrides"]
    assert ended.out.count("Model:") == 1
    assert ended.err.count("Effective batch 4 = 2 photos x 2 processes; learning rate 1e-05") == 1
    assert "Warning" not in ended.err
    assert ended.left == []


def kill(rank: int, number: int, runs: Path) -> Callable[[list[psutil.Process]], None]:
    def disturb(family: list[psutil.Process]) -> None:
        (first,) = family
        once_there("dots/*/checkpoints/step-000005.ckpt", runs, first)
        family += first.children(recursive=True)
        family[rank].send_signal(number)

    return disturb


def test_a_killed_process_ends_the_run_which_resumes_under_slurm(home: Path, undisturbed: tuple[Path, Ended]) -> None:
    runs = home / "killed"
    ended = run(plainly(settings(home, **TWO, runs=runs)), kill(1, signal.SIGKILL, runs))
    assert ended.code == 1
    assert ended.left == []
    assert ended.seconds < 60  # About one, on an idle machine.
    (folder,) = runs.glob("*/*")
    assert ended.err.count("Error") == 1
    assert ended.err.rstrip().endswith(
        "Error: Another process of this run was lost (killed, out of memory, or ended by an error printed above). To "
        f"continue from the last checkpoint, repeat the command with resume={folder}"
    )
    again = run(like_srun(settings(home, **TWO, runs=runs, resume=folder)))
    assert again.code == 0, again.err
    assert same(final(runs), final(undisturbed[0]))


def test_torchrun_restarts_a_run_with_a_killed_process_to_the_bit(home: Path, undisturbed: tuple[Path, Ended]) -> None:
    runs = home / "restarted"
    ended = run(
        with_torchrun(settings(home, **TWO, runs=runs, resume="auto"), restarts=1), kill(1, signal.SIGKILL, runs)
    )
    assert ended.code == 0, ended.err
    assert len(list(runs.glob("dots/*"))) == 1
    assert same(final(runs), final(undisturbed[0]))


def test_the_first_process_killed_ends_the_others(home: Path) -> None:
    runs = home / "first"
    ended = run(plainly(settings(home, **TWO, runs=runs)), kill(0, signal.SIGKILL, runs))
    assert ended.left == []
    assert "Error in process 1: Another process of this run was lost" in ended.err


def test_a_signal_to_one_process_stops_all_and_the_run_resumes_under_torchrun(
    home: Path, undisturbed: tuple[Path, Ended]
) -> None:
    runs = home / "stopped"
    ended = run(plainly(settings(home, **TWO, runs=runs)), kill(1, signal.SIGTERM, runs))
    assert ended.code == 128 + signal.SIGTERM
    assert ended.left == []
    assert ended.err.count("Stopped at step") == 1
    (newest, *_) = sorted(runs.glob("dots/*/checkpoints/*.ckpt"), reverse=True)
    assert ended.err.rstrip().endswith(f"Resume with resume={newest}")
    again = run(with_torchrun(settings(home, **TWO, runs=runs, resume=newest)))
    assert again.code == 0, again.err
    assert again.out.count("Model:") == 1
    assert same(final(runs), final(undisturbed[0]))
    recipe = read_tensors(home / "network.safetensors")[1]["recipe"]
    assert '"effective_batch": {"photos": 2, "processes": 2' in recipe
