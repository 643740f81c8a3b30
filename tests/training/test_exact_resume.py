"""Runs killed at any moment and resumed: same bits, few repeated steps, no damaged or leftover files."""

import json
import logging
import subprocess
import sys
import zlib
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from checkout import CHECKOUT
from killed_runs import EVERY, KILLS, STEPS
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from fast_style.networks.serialization import read_tensors
from fast_style.training.checkpoint_io import is_valid, read_checkpoint

pytestmark = pytest.mark.slow

NAMES = [f"{number:02d}" for number in range(len(KILLS))]
#: Checkpoint entries that later steps depend on. Lightning's counters of epochs and validations are not among them.
STATES = ["state_dict", "optimizer_states", "lr_schedulers", "global_step", "callbacks", "ImageFolderDataModule"]
Points = list[tuple[int, float]]


@dataclass(frozen=True)
class Played:
    folder: Path
    trials: dict[str, dict[str, Any]]
    alive: list[str]

    def attempts(self, name: str) -> list[dict[str, Any]]:
        return self.trials[name]["attempts"]

    def killed(self) -> list[dict[str, Any]]:
        return [end for name in NAMES for end in self.attempts(name) if end["code"] is None]


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Played:
    folder = tmp_path_factory.mktemp("killed")
    subprocess.run([sys.executable, CHECKOUT / "tests" / "killed_runs.py", folder], check=True)
    report = json.loads((folder / "report.json").read_text())
    return Played(folder, {trial["trial"]: trial for trial in report["trials"]}, report["alive"])


def finished_run(trial: Path) -> Path:
    """The finished run of a trial. A run killed before its first checkpoint leaves another folder."""
    (found,) = {path.parents[1] for path in trial.glob(f"runs/*/*/checkpoints/step-{STEPS:06d}.ckpt")}
    return found


def differences(one: Any, other: Any, where: str = "") -> list[str]:
    """List the places where two nested values differ; tensors are compared by their bits."""
    if isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor):
        return [] if one.dtype == other.dtype and torch.equal(one, other) else [where]
    if isinstance(one, dict) and isinstance(other, dict):
        missing = [f"{where}/{key}" for key in one.keys() ^ other.keys()]
        both = one.keys() & other.keys()
        return missing + [d for key in both for d in differences(one[key], other[key], f"{where}/{key}")]
    if isinstance(one, list | tuple) and isinstance(other, list | tuple) and len(one) == len(other):
        return [d for i, pair in enumerate(zip(one, other, strict=True)) for d in differences(*pair, f"{where}/{i}")]
    return [] if one == other else [where]


def test_differences_are_found() -> None:
    one = {"a": [torch.zeros(2), (1, "x")], "b": torch.ones(1)}
    assert differences(one, {"a": [torch.zeros(2), (1, "x")], "b": torch.ones(1)}) == []
    assert differences(one, {"a": [torch.zeros(2), (2, "x")], "c": 1}) != []
    assert differences(one, {"a": [torch.tensor([0.0, 1e-38]), (1, "x")], "b": torch.ones(1)}) == ["/a/0"]


@cache
def final_state(trial: Path) -> tuple[Any, Any]:
    checkpoint = read_checkpoint(finished_run(trial) / "checkpoints" / f"step-{STEPS:06d}.ckpt")
    return read_tensors(trial / "network.safetensors")[0], {name: checkpoint[name] for name in STATES}


@pytest.mark.parametrize("name", ["full", *NAMES])
def test_weights_and_states_equal_the_uninterrupted_run_to_the_bit(played: Played, name: str) -> None:
    assert played.attempts(name)[-1]["code"] == 0
    assert differences(final_state(played.folder / "straight"), final_state(played.folder / name)) == []


@pytest.mark.parametrize("name", NAMES)
def test_at_most_one_interval_is_repeated(played: Played, name: str) -> None:
    begun = [end["begun"] for end in played.attempts(name) if end["begun"]]
    for before, after in pairwise(begun):
        assert after == list(range(after[0], after[-1] + 1))
        assert before[-1] + 1 - after[0] <= EVERY


def test_kills_happened_at_all_moments(played: Played) -> None:
    killed = played.killed()
    assert {end["kind"] for end in killed} == {"step", "start", "half", "unplaced", "placed"}
    assert len(killed) == sum(map(len, KILLS))
    assert len({end["begun"][-1] for end in killed if end["begun"]}) >= STEPS / 2
    assert any(played.trials[name]["workers"] for name in NAMES)


def test_no_process_outlives_its_trainer(played: Played) -> None:
    assert played.alive == []


def test_temporary_files_of_a_kill_are_removed_at_the_next_start(played: Played) -> None:
    assert any(file.endswith(".tmp") for end in played.killed() for file in end["checkpoints"])
    for name in NAMES:
        files = sorted(path.name for path in (finished_run(played.folder / name) / "checkpoints").iterdir())
        # A third file stays if the kill came just after the rename.
        assert files[-2:] == [f"step-{STEPS - EVERY:06d}.ckpt", f"step-{STEPS:06d}.ckpt"]
        assert len(files) <= 3


def test_a_full_disk_ends_the_run_in_one_sentence_and_keeps_the_checkpoint_before(played: Played) -> None:
    failed, resumed = played.attempts("full")
    assert failed["code"] == 1
    assert failed["checkpoints"] == [f"step-{EVERY:06d}.ckpt", f"step-{2 * EVERY:06d}.ckpt"]
    assert resumed["begun"][0] == 2 * EVERY
    sentence = (played.folder / "full" / "sentence").read_text()
    assert f"step-{3 * EVERY:06d}.ckpt can't be written: File too large" in sentence
    assert sentence.endswith(f"step-{2 * EVERY:06d}.ckpt.")
    assert is_valid(Path(sentence.split("resume=")[1].removesuffix(".")).with_name(f"step-{STEPS:06d}.ckpt"))


def curves(run: Path) -> dict[str, Points]:
    """Return steps and values by name, as TensorBoard shows a run."""
    logging.getLogger("tensorboard").setLevel(logging.ERROR)
    events = EventAccumulator(str(run)).Reload()
    # Lightning logs the epoch twice, with the training losses and with the validation losses.
    tags = set(events.Tags()["scalars"]) - {"images_per_second", "memory_gib", "epoch"}
    drawn: dict[str, Points] = {tag: [(event.step, event.value) for event in events.Scalars(tag)] for tag in tags}
    for tag in events.Tags()["images"]:
        drawn[tag] = [(event.step, zlib.crc32(event.encoded_image_string)) for event in events.Images(tag)]
    return drawn


@pytest.mark.parametrize("name", NAMES)
def test_the_curves_show_every_step_once(played: Played, name: str) -> None:
    wanted, drawn = curves(finished_run(played.folder / "straight")), curves(finished_run(played.folder / name))
    # Losses of a checkpoint's step are logged after the checkpoint. A kill in between loses them.
    excused = {end["begun"][-1] for end in played.attempts(name) if end["code"] is None and end["begun"]}
    for tag, points in wanted.items():
        found = drawn.get(tag, [])
        assert found == sorted(set(found)), tag
        assert set(found) <= set(points), tag
        assert {step for step, _ in set(points) - set(found)} <= excused, tag
