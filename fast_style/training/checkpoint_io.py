"""Checkpoint files: written whole, sealed with their own digest, and read as data that can run no code."""

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
#: What the system says of a disk that takes no more.
FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO}


def write_checkpoint(content: dict[str, Any], path: str | os.PathLike[str]) -> None:
    """Write a checkpoint: under its name there is always a whole file or none.

    The seal is the comment that a zip file may end with, so torch.load reads the file as ever. The zip's own checksums
    cover the tensors, but not the places where they are said to lie; and torch.load looks at none.

    Raises:
        OSError: it can't be written; what there was before is as it was.
    """
    # To memory first: a disk that is full within torch.save becomes an assertion of its zip writer.
    buffer = io.BytesIO()
    torch.save(content, buffer)
    body = buffer.getbuffer()[:-2]  # The last two bytes are the length of the comment: none.
    seal = CHECKSUM_PREFIX + hashlib.sha256(body).hexdigest().encode()
    with atomic_write(path) as file:
        file.write(body)
        file.write(struct.pack("<H", len(seal)) + seal)


def read_checkpoint(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read a checkpoint to the CPU; a pickle that wants more than tensors and plain values is refused.

    Raises:
        ValueError: no checkpoint, or a damaged one.
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
    return f"{path} is no whole checkpoint; resume from another one in its folder."


def is_valid(path: Path) -> bool:
    """Whether a checkpoint is, to the bit, what was written; of one without a seal, whether its tensors are."""
    try:
        content = memoryview(path.read_bytes())
        seal = bytes(content[-_CHECKSUM_LENGTH:])
        if seal.startswith(CHECKSUM_PREFIX):
            body = content[: -_CHECKSUM_LENGTH - 2]
            return seal[len(CHECKSUM_PREFIX) :] == hashlib.sha256(body).hexdigest().encode()
        with zipfile.ZipFile(path) as archive:
            # A zip that should end with a comment and does not has lost its seal.
            return bytes(content[-2:]) == b"\0\0" and archive.testzip() is None
    except (OSError, ValueError, NotImplementedError, RuntimeError, zipfile.BadZipFile):
        return False


def newest_first(checkpoints: Iterable[Path]) -> list[Path]:
    """Checkpoints by age, not by step: a run may have gone back."""
    found = []
    for path in checkpoints:
        with suppress(FileNotFoundError):  # Removed meanwhile, by the run that it belongs to.
            found.append((path.stat().st_mtime_ns, path))
    return [path for _, path in sorted(found, reverse=True)]


def latest_valid(checkpoints: Iterable[Path]) -> Path | None:
    """The newest checkpoint that is whole, of those given; what is passed over for it is said."""
    for path in newest_first(checkpoints):
        if is_valid(path):
            return path
        log.warning("%s is damaged; the one before it counts.", path)
    return None


@contextmanager
def disk_error_hint(run: Path) -> Iterator[None]:
    """Let a run that fails because its folder can't be written to say how to go on."""
    try:
        yield
    except OSError as error:
        if error.errno not in FULL:
            raise
        what = (error.strerror or str(error)).rstrip(".")
        if str(run) not in what:  # TensorBoard's errors name no file.
            what = f"{run} can't be written to: {what}"
        checkpoint = latest_valid(run.glob("checkpoints/*.ckpt"))
        way = f"go on from its last whole checkpoint, resume={checkpoint}" if checkpoint else "start it again"
        raise OSError(error.errno, f"{what}; once that is mended, {way}.") from error
