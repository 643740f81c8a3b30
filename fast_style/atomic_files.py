"""Atomic file writing and safe file names.

The package atomicwrites is no longer maintained. fsspec's transactions copy across file systems, and sync nothing.
"""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO
from uuid import uuid4


@contextmanager
def atomic_write(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Yield a temporary file that replaces `path` after it is complete and synced to disk.

    If the block fails, the temporary file is removed and `path` stays as it was.

    Raises:
        OSError: `path` cannot be written; the message names `path`, not the temporary file.
    """
    target = Path(os.path.realpath(path))  # Replace the target of a symbolic link, not the link.
    temporary = target.with_name(f".{uuid4().hex}.tmp")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        # open() respects the umask; tempfile creates files that only the owner can read.
        with open(temporary, "xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)
        _sync_folder(target.parent)
    except OSError as error:
        # Name the requested file, not the temporary one.
        raise OSError(error.errno, f"{os.fspath(path)} can't be written: {error.strerror or error}.") from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def safe_file_name(text: str) -> str:
    """Turn any text into a part of a file name: letters, digits, `_`, `.` and `-`, at most 100 bytes of UTF-8.

    Other characters, such as separators, control and bidirectional characters, become `_`. If no character remains,
    the result is `style`.
    """
    plain = re.sub(r"[^\w.-]+", "_", text).strip("_.")
    return plain.encode()[:100].decode(errors="ignore") or "style"


def remove_leftovers(folder: str | os.PathLike[str]) -> None:
    """Remove the temporary files that killed `atomic_write` calls left in a folder.

    No other process may be writing to the folder.
    """
    for path in Path(folder).glob(".*.tmp"):
        if re.fullmatch(r"\.[0-9a-f]{32}\.tmp", path.name):
            path.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    """Make the rename survive a power failure, because callers remove older files afterwards."""
    with suppress(OSError):  # Some systems cannot sync a folder; the file is in place anyway.
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
