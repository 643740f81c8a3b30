"""Checkpoint files: written atomically, with a SHA-256 checksum, and read without running code.

Lightning writes to the temporary folder and moves the file. Across file systems this is a copy, which a kill cuts off.
It syncs nothing to the disk and has no checksum.
"""

import errno
import hashlib
import io
import logging
import os
import pickle
import struct
import zipfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch

from fast_style.atomic_files import atomic_write

log = logging.getLogger(__name__)

CHECKSUM_PREFIX = b"sha256:"
_CHECKSUM_LENGTH = len(CHECKSUM_PREFIX) + 64
#: Error numbers of the operating system for a disk that accepts no more data.
FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO}


def write_checkpoint(content: dict[str, Any], path: str | os.PathLike[str]) -> None:
    """Write a checkpoint atomically, with a checksum.

    The checksum is stored as the comment at the end of the zip file, so torch.load still reads the file. The zip's own
    checksums cover the tensors but not their offsets, and torch.load checks none of them.

    Raises:
        OSError: the file cannot be written. An existing file stays as it was.
    """
    # Serialise to memory first: on a full disk torch.save fails with an assertion of its zip writer.
    buffer = io.BytesIO()
    torch.save(content, buffer)
    body = buffer.getbuffer()[:-2]  # The last two bytes are the length of the (empty) comment.
    seal = CHECKSUM_PREFIX + hashlib.sha256(body).hexdigest().encode()
    with atomic_write(path) as file:
        file.write(body)
        file.write(struct.pack("<H", len(seal)) + seal)


def read_checkpoint(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read a checkpoint to the CPU. Only tensors and plain values are unpickled.

    Raises:
        ValueError: not a checkpoint, or a damaged one.
    """
    content: Any = None
    if is_valid(Path(path)):
        try:
            content = torch.load(path, map_location="cpu", weights_only=True)
        except (OSError, RuntimeError, EOFError, ValueError, KeyError, pickle.UnpicklingError) as error:
            raise ValueError(_damaged(path)) from error
    if not isinstance(content, dict) or "global_step" not in content:
        raise ValueError(_damaged(path))
    return content


def _damaged(path: str | os.PathLike[str]) -> str:
    return f"{path} is damaged or not a checkpoint; resume from another checkpoint in its folder."


def is_valid(path: Path) -> bool:
    """Whether a checkpoint is undamaged, by its checksum, or by the zip's checksums if it has none."""
    try:
        content = memoryview(path.read_bytes())
        seal = bytes(content[-_CHECKSUM_LENGTH:])
        if seal.startswith(CHECKSUM_PREFIX):
            body = content[: -_CHECKSUM_LENGTH - 2]
            return seal[len(CHECKSUM_PREFIX) :] == hashlib.sha256(body).hexdigest().encode()
        with zipfile.ZipFile(path) as archive:
            # A comment length other than 0 means that the checksum was cut off.
            return bytes(content[-2:]) == b"\0\0" and archive.testzip() is None
    except (OSError, ValueError, NotImplementedError, RuntimeError, zipfile.BadZipFile):
        return False


def newest_first(checkpoints: Iterable[Path]) -> list[Path]:
    """Sort checkpoints by file time, newest first. Steps do not tell, because a run may resume from an earlier one."""
    found = []
    for path in checkpoints:
        with suppress(FileNotFoundError):  # A running training may remove it meanwhile.
            found.append((path.stat().st_mtime_ns, path))
    return [path for _, path in sorted(found, reverse=True)]


def latest_valid(checkpoints: Iterable[Path]) -> Path | None:
    """Return the newest undamaged checkpoint, or None; warn about each damaged one."""
    for path in newest_first(checkpoints):
        if is_valid(path):
            return path
        log.warning("%s is damaged; the checkpoint before it is used.", path)
    return None


@contextmanager
def disk_error_hint(run: Path) -> Iterator[None]:
    """Add advice on resuming to errors of a full or failing disk."""
    try:
        yield
    except OSError as error:
        if error.errno not in FULL:
            raise
        what = (error.strerror or str(error)).rstrip(".")
        if str(run) not in what:  # TensorBoard's errors name no file.
            what = f"{run} cannot be written to: {what}"
        checkpoint = latest_valid(run.glob("checkpoints/*.ckpt"))
        way = f"resume from the last checkpoint with resume={checkpoint}" if checkpoint else "start the run again"
        raise OSError(error.errno, f"{what}. Once the disk can be written again, {way}.") from error
