"""Which checkpoint a run resumes from if the newest one is damaged."""

import logging
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from training_runs import composed, train

from fast_style.training.checkpoint_io import is_valid
from fast_style.training.resume import find_resumable

DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "truncated": lambda content: content[: len(content) // 2],
    "emptied": lambda content: b"",
    "zeroed": lambda content: bytes(len(content)),
    "flipped": lambda content: content[:9000] + bytes([content[9000] ^ 1]) + content[9001:],
}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("finished")
    train(folder, **{"method.schedule": "null"})
    return folder


@pytest.fixture
def folder(finished: Path, tmp_path: Path) -> Path:
    shutil.copytree(finished / "runs", tmp_path / "runs")
    return tmp_path


def checkpoints(folder: Path) -> list[Path]:
    return sorted(folder.glob("runs/*/*/checkpoints/*.ckpt"))


def damage(path: Path, way: str = "truncated") -> Path:
    path.write_bytes(DAMAGES[way](path.read_bytes()))
    return path


def resumable(folder: Path, resume: object) -> Path | None:
    given = [f"runs={folder / 'runs'}", f"resume={resume}"]
    found = find_resumable(composed(given), given)
    return found[0] if found else None


@pytest.mark.slow
@pytest.mark.parametrize("way", DAMAGES)
@pytest.mark.parametrize("said", ["auto", "folder"])
def test_a_damaged_newest_checkpoint_is_named_and_the_one_before_is_used(
    folder: Path, caplog: pytest.LogCaptureFixture, way: str, said: str
) -> None:
    older, newest = checkpoints(folder)
    resume = "auto" if said == "auto" else newest.parents[1]
    assert resumable(folder, resume) == newest
    assert not caplog.records
    damage(newest, way)
    assert resumable(folder, resume) == older
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert str(newest) in record.getMessage()


@pytest.mark.parametrize("way", DAMAGES)
def test_a_damaged_checkpoint_given_by_path_is_refused(folder: Path, way: str) -> None:
    newest = damage(checkpoints(folder)[-1], way)
    with pytest.raises(ValueError, match=r"step-000004\.ckpt is not possible: the checkpoint is damaged"):
        resumable(folder, newest)


def test_a_run_with_damaged_checkpoints_only_is_refused(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    for path in checkpoints(folder):
        damage(path)
    with pytest.raises(ValueError, match=r"all its checkpoints are damaged\. Leave resume out to start a new run"):
        resumable(folder, "auto")
    assert len(caplog.records) == 2
    with pytest.raises(ValueError, match=r"is not possible: all its checkpoints are damaged\. Leave resume out"):
        resumable(folder, checkpoints(folder)[0].parents[1])


def test_a_run_resumes_from_the_checkpoint_before_and_replaces_the_damaged_one(tmp_path: Path, finished: Path) -> None:
    first = train(tmp_path, steps=4)
    newest = damage(first.folder / "checkpoints" / "step-000004.ckpt", "zeroed")
    second = train(tmp_path, steps=4, resume="auto")
    assert second.folder == first.folder
    assert is_valid(newest)


def test_settings_newer_than_the_run_have_their_defaults(folder: Path) -> None:
    config = checkpoints(folder)[0].parents[1] / "config.yaml"
    lines = config.read_text().splitlines()
    assert any(line.startswith("max_skips") for line in lines)
    config.write_text("\n".join(line for line in lines if not line.startswith("max_skips")))
    given = [f"runs={folder / 'runs'}", "resume=auto", "max_skips=3"]
    found = find_resumable(composed(given), given)
    assert found is not None
    assert found[1].max_skips == 3
    assert (found[1].steps, found[1].checkpoint_every) == (4, 2)  # The run's own values.
