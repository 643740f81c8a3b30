"""A path always holds the complete old file or the complete new file."""

import os
import stat
from pathlib import Path

import pytest

from fast_style.atomic_files import atomic_write, remove_leftovers


def test_a_new_file_takes_the_place_of_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "file"
    for content in (b"old", b"new"):
        with atomic_write(path) as file:
            file.write(content)
    assert path.read_bytes() == b"new"
    assert os.listdir(path.parent) == ["file"]


@pytest.mark.parametrize("failure", [OSError, KeyboardInterrupt])
def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path: Path, failure: type[BaseException]) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    with pytest.raises(failure), atomic_write(path) as file:  # noqa: PT012 - the failure comes after a partial write.
        file.write(b"half of the n")
        raise failure
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["file"]


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("file")
    with atomic_write(tmp_path / "link") as file:
        file.write(b"new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "file").read_bytes() == b"new"


def test_file_permissions_follow_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        with atomic_write(tmp_path / "file"):
            pass
    finally:
        os.umask(before)
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o644


def test_leftovers_of_killed_writers_are_removed_and_nothing_else(tmp_path: Path) -> None:
    with atomic_write(tmp_path / "kept"):
        left = next(tmp_path.iterdir()).name
    others = [".hidden.tmp", "notes.tmp", left.upper(), left.removeprefix("."), "step-000003.ckpt", f"{left}x"]
    for name in [left, *others]:
        (tmp_path / name).write_bytes(b"half")
    (tmp_path / "below").mkdir()
    (tmp_path / "below" / left).write_bytes(b"half")
    remove_leftovers(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {*others, "kept", "below"}
    assert (tmp_path / "below" / left).exists()
    remove_leftovers(tmp_path / "nowhere")


def test_file_and_rename_are_synced_to_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []
    sync, replace = os.fsync, os.replace

    def note_sync(descriptor: int) -> None:
        done.append("folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file")
        sync(descriptor)

    def note_replace(source: Path, target: Path) -> None:
        done.append("name")
        replace(source, target)

    monkeypatch.setattr(os, "fsync", note_sync)
    monkeypatch.setattr(os, "replace", note_replace)
    with atomic_write(tmp_path / "file") as file:
        file.write(b"new")
    assert done == ["file", "name", "folder"]
