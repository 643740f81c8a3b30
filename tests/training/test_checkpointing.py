"""Checkpoints: damaged files are refused, the two newest are kept, a good one is never lost."""

import errno
import os
import random
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch

from fast_style import atomic_files
from fast_style.training.callbacks.checkpointing import PeriodicCheckpoint
from fast_style.training.checkpoint_io import disk_error_hint, is_valid, latest_valid, read_checkpoint, write_checkpoint

CONTENT = {"global_step": 7, "weights": torch.arange(1000.0), "nested": {"list": [1, (2.5, None)], "name": "x"}}


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    write_checkpoint(CONTENT, tmp_path / "step-000007.ckpt")
    return tmp_path / "step-000007.ckpt"


def flipped(content: bytes, place: int) -> bytes:
    return content[:place] + bytes([content[place] ^ 0x10]) + content[place + 1 :]


def test_what_is_written_is_read(checkpoint: Path) -> None:
    read = read_checkpoint(checkpoint)
    assert torch.equal(read.pop("weights"), CONTENT["weights"])
    assert read == {name: value for name, value in CONTENT.items() if name != "weights"}


def test_any_torch_reads_a_sealed_checkpoint(checkpoint: Path) -> None:
    assert torch.equal(torch.load(checkpoint, weights_only=True)["weights"], CONTENT["weights"])


def test_torch_alone_would_not_see_a_flipped_byte(checkpoint: Path) -> None:
    # If this fails one day, torch checks its files and the checksum is no longer needed.
    content = checkpoint.read_bytes()
    place = content.index(torch.arange(500.0, 510.0).numpy().tobytes())
    checkpoint.write_bytes(flipped(content, place))
    assert not torch.equal(torch.load(checkpoint, weights_only=True)["weights"], CONTENT["weights"])
    assert not is_valid(checkpoint)


@pytest.mark.parametrize("sealed", [True, False])
def test_flipped_bytes_are_detected(checkpoint: Path, sealed: bool) -> None:
    if not sealed:
        torch.save(CONTENT, checkpoint)
    content = checkpoint.read_bytes()
    places = random.Random(0).sample(range(len(content)), 200)
    unnoticed = []
    for place in places:
        checkpoint.write_bytes(flipped(content, place))
        if is_valid(checkpoint):
            unnoticed.append(place)
    if sealed:  # Only the length field of the checksum is not covered by it.
        assert set(unnoticed) <= {len(content) - 72, len(content) - 73}
    else:
        assert len(unnoticed) < len(places) / 2


@pytest.mark.parametrize("length", [0, 1, 100, 2000, -1, -2, -70, -71, -72, -73, -74, -300])
def test_a_truncated_checkpoint_is_refused(checkpoint: Path, length: int) -> None:
    checkpoint.write_bytes(checkpoint.read_bytes()[:length])
    assert not is_valid(checkpoint)
    with pytest.raises(ValueError, match=r"step-000007\.ckpt is damaged or not a checkpoint; resume from another"):
        read_checkpoint(checkpoint)


@pytest.mark.parametrize("content", [{"weights": torch.ones(1)}, torch.ones(1), {"global_step": random.Random(0)}])
def test_undamaged_files_that_are_not_checkpoints_are_refused(tmp_path: Path, content: Any) -> None:
    write_checkpoint(content, tmp_path / "other.ckpt")
    with pytest.raises(ValueError, match=r"other\.ckpt is damaged or not a checkpoint"):
        read_checkpoint(tmp_path / "other.ckpt")


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "nowhere.ckpt"):
        assert not is_valid(path)
        with pytest.raises(ValueError, match="damaged or not a checkpoint"):
            read_checkpoint(path)


class FullDisk:
    """A file that accepts `room` bytes and then fails like a full disk."""

    def __init__(self, file: Any, room: int) -> None:
        self.file, self.room = file, room

    def __enter__(self) -> "FullDisk":
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.file, name)

    def write(self, content: bytes) -> int:
        self.room -= len(content)
        if self.room < 0:
            self.file.write(bytes(content)[: len(content) // 2])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return int(self.file.write(content))


def fill_disk(monkeypatch: pytest.MonkeyPatch, room: int) -> None:
    def opened(*arguments: Any) -> FullDisk:
        return FullDisk(open(*arguments), room)

    monkeypatch.setattr(atomic_files, "open", opened, raising=False)


@pytest.mark.parametrize("room", [0, 100, 4500])
def test_a_full_disk_keeps_the_previous_checkpoint_and_says_how_to_resume(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, room: int
) -> None:
    folder = tmp_path / "checkpoints"
    write_checkpoint(CONTENT, folder / "step-000003.ckpt")
    fill_disk(monkeypatch, room)
    sentence = r"step-000006\.ckpt can't be written: No space left on device\."
    with pytest.raises(OSError, match=sentence) as full, disk_error_hint(tmp_path):
        write_checkpoint(CONTENT, folder / "step-000006.ckpt")
    assert (full.value.strerror or "").endswith(f"resume={folder / 'step-000003.ckpt'}.")
    assert os.listdir(folder) == ["step-000003.ckpt"]
    assert is_valid(folder / "step-000003.ckpt")


def test_a_full_disk_that_names_no_file_and_a_run_without_checkpoints(tmp_path: Path) -> None:
    with (
        pytest.raises(OSError, match="Once the disk can be written again, start the run again") as full,
        disk_error_hint(tmp_path),
    ):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert str(tmp_path) in str(full.value)


def test_other_errors_pass_unchanged(tmp_path: Path) -> None:
    error = FileNotFoundError(errno.ENOENT, "No such file", "photo.jpg")
    with pytest.raises(FileNotFoundError) as passed, disk_error_hint(tmp_path):
        raise error
    assert passed.value is error


class Recorder(pl.Trainer):
    """A trainer that only writes checkpoints."""

    def save_checkpoint(self, path: Any, *_: Any, **__: Any) -> None:
        write_checkpoint(CONTENT, path)


def steps(keeper: PeriodicCheckpoint, monkeypatch: pytest.MonkeyPatch, numbers: range) -> None:
    trainer = Recorder(accelerator="cpu", logger=False, enable_checkpointing=False)
    module = pl.LightningModule()
    monkeypatch.setattr(pl.Trainer, "global_step", numbers[0] - 1)
    keeper.setup(trainer, module, "fit")
    keeper.on_train_start(trainer, module)
    for number in numbers:
        monkeypatch.setattr(pl.Trainer, "global_step", number)
        keeper.on_train_batch_start(trainer)
        keeper.on_train_batch_end(trainer, module)


def kept(folder: Path) -> list[int]:
    return sorted(int(path.stem.removeprefix("step-")) for path in folder.glob("step-*.ckpt"))


def test_the_newest_and_the_one_before_it_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    steps(PeriodicCheckpoint(tmp_path, every=3), monkeypatch, range(1, 14))
    assert kept(tmp_path) == [9, 12]


def test_batches_that_complete_no_step_save_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keeper = PeriodicCheckpoint(tmp_path, every=3)
    steps(keeper, monkeypatch, range(4, 5))
    trainer = Recorder(accelerator="cpu", logger=False, enable_checkpointing=False)
    monkeypatch.setattr(pl.Trainer, "global_step", 3)
    resumed = PeriodicCheckpoint(tmp_path, every=3)
    resumed.on_train_start(trainer, pl.LightningModule())
    resumed.on_train_batch_end(trainer, pl.LightningModule())
    assert kept(tmp_path) == []


def test_a_resumed_run_keeps_an_undamaged_checkpoint_before_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for age, step in enumerate((3, 6, 8)):
        path = tmp_path / f"step-{step:06d}.ckpt"
        write_checkpoint(CONTENT, path)
        os.utime(path, (age, age))
    (tmp_path / "step-000008.ckpt").write_bytes(b"PK damaged")
    (tmp_path / "mine.ckpt").write_text("a person's")
    os.utime(tmp_path / "step-000008.ckpt", (5, 5))
    steps(PeriodicCheckpoint(tmp_path, every=3), monkeypatch, range(7, 10))
    assert kept(tmp_path) == [6, 9]
    assert (tmp_path / "mine.ckpt").exists()


def test_a_run_that_went_back_keeps_what_it_wrote_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for age, step in enumerate((3, 30, 33)):
        write_checkpoint(CONTENT, tmp_path / f"step-{step:06d}.ckpt")
        os.utime(tmp_path / f"step-{step:06d}.ckpt", (age, age))
    steps(PeriodicCheckpoint(tmp_path, every=3), monkeypatch, range(4, 10))
    assert kept(tmp_path) == [6, 9]


def test_a_failed_save_removes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    steps(PeriodicCheckpoint(tmp_path, every=3), monkeypatch, range(1, 8))
    fill_disk(monkeypatch, 10)
    with pytest.raises(OSError, match=r"step-000009\.ckpt"):
        steps(PeriodicCheckpoint(tmp_path, every=3), monkeypatch, range(8, 10))
    assert kept(tmp_path) == [3, 6]


def test_the_newest_undamaged_checkpoint_is_found_and_damaged_ones_are_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for age, name in enumerate(("old", "whole", "truncated", "empty")):
        path = tmp_path / f"{name}.ckpt"
        write_checkpoint(CONTENT, path)
        if name in ("truncated", "empty"):
            path.write_bytes(path.read_bytes()[: 500 if name == "truncated" else 0])
        os.utime(path, (age, age))
    assert latest_valid(tmp_path.glob("*.ckpt")) == tmp_path / "whole.ckpt"
    assert [Path(record.args[0]).stem for record in caplog.records if record.args] == ["empty", "truncated"]
    assert latest_valid([]) is None
