"""Images in an uncompressed tar file, by number."""

import tarfile
from array import array
from os.path import basename, splitext
from typing import BinaryIO, NamedTuple

from fast_style.images.decode import PICTURE_SUFFIXES


class Members(NamedTuple):
    """The images of a tar file: their names, and the positions and sizes of their bytes."""

    names: list[str]
    offsets: "array[int]"
    sizes: "array[int]"


def pictures_in(path: str, file: BinaryIO | None = None) -> Members:
    """Read a tar file's headers; files without the suffix of an image are ignored.

    Args:
        path: the tar file, or only its name in messages if `file` is given.
        file: the open file, if it is not on this machine.

    Raises:
        ValueError: not an uncompressed tar file, or only a part of one.
    """
    members = Members([], array("q"), array("q"))
    try:
        with tarfile.open(path, "r:", fileobj=file) as tar:
            while (member := tar.next()) is not None:
                tar.members = []  # type: ignore[attr-defined] # Otherwise tarfile keeps all headers in memory.
                if member.isfile() and splitext(member.name)[1].lower() in PICTURE_SUFFIXES:
                    members.names.append(member.name)
                    members.offsets.append(member.offset_data)
                    members.sizes.append(member.size)
    except tarfile.TarError as error:
        raise ValueError(
            f"A complete, uncompressed tar file was wanted at {path}, found another file ({error}); copy it again."
        ) from error
    return members


def bytes_of(path: str, members: Members, number: int) -> bytes:
    """The encoded bytes of an image."""
    # Opened for every read, because forked processes would share one position in the file.
    with open(path, "rb", buffering=0) as file:
        file.seek(members.offsets[number])
        # In a loop, because read() may return fewer bytes.
        parts, missing = [], members.sizes[number]
        while missing and (part := file.read(missing)):
            parts.append(part)
            missing -= len(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def name_within(path: str, member: str) -> str:
    """The name of an image in a tar file, for messages: `shard-000003.tar/000000123.jpg`."""
    return f"{basename(path)}/{member}"
