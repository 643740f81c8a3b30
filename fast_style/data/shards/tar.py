"""Pictures within a plain tar file, by number."""

import tarfile
from array import array
from os.path import basename, splitext
from typing import NamedTuple

from fast_style.images.decode import PICTURE_SUFFIXES


class Members(NamedTuple):
    """The pictures of a tar file: their names, and where in the file their bytes lie."""

    names: list[str]
    offsets: "array[int]"
    sizes: "array[int]"


def pictures_in(path: str) -> Members:
    """Read a tar file's headers; what isn't named as a picture is passed over.

    Raises:
        ValueError: no plain tar file, or a part of one.
    """
    members = Members([], array("q"), array("q"))
    try:
        with tarfile.open(path, "r:") as tar:
            while (member := tar.next()) is not None:
                tar.members = []  # type: ignore[attr-defined] # Otherwise it remembers them all.
                if member.isfile() and splitext(member.name)[1].lower() in PICTURE_SUFFIXES:
                    members.names.append(member.name)
                    members.offsets.append(member.offset_data)
                    members.sizes.append(member.size)
    except tarfile.TarError as error:
        raise ValueError(
            f"A whole, uncompressed tar file was wanted at {path}, which is none ({error}); fetch or make it again."
        ) from error
    return members


def bytes_of(path: str, members: Members, number: int) -> bytes:
    """The encoded picture."""
    # Opened each time: processes that were forked would otherwise move each other's place in the file.
    with open(path, "rb", buffering=0) as file:
        file.seek(members.offsets[number])
        # Not read() alone, which may return less.
        parts, missing = [], members.sizes[number]
        while missing and (part := file.read(missing)):
            parts.append(part)
            missing -= len(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def name_within(path: str, member: str) -> str:
    """How a person names a picture in a tar file: `shard-000003.tar/000000123.jpg`."""
    return f"{basename(path)}/{member}"
