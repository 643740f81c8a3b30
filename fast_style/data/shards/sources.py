"""Sources of shards: a folder of images, or TFRecord files."""

import glob
import hashlib
import importlib.util
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from tqdm import tqdm

from fast_style.data.shards.tfrecord import field_of, records_in
from fast_style.images.listing import find_pictures

# Files are read into memory one at a time; no photo is larger than this.
_MAX_BYTES = 1 << 30


class Candidate(NamedTuple):
    """A possible image: its encoded bytes, or the reason why there are none."""

    name: str
    data: bytes
    problem: str = ""


class ShardSource(Protocol):
    """Encoded images in a fixed order.

    Attributes:
        made_from: identifies the source in the index; contains no local paths.
        count: number of images; None if only reading them would tell.
        bytes: total size.
    """

    made_from: dict[str, Any]
    count: int | None
    bytes: int

    def candidates(self, start: int) -> Iterator[Candidate]:
        """All candidates from number `start` on, one at a time."""


def source_at(given: str, *, field: str) -> ShardSource:
    """The folder of images or the TFRecord files at a path or pattern; ValueError if there is neither."""
    if os.path.isdir(given):
        return PictureFolder(given)
    files = [given] if os.path.exists(given) else sorted(glob.glob(given))
    if not files:
        raise ValueError(f"A folder of images or TFRecord files were wanted at {given}, found neither; check input.")
    return RecordFiles(files, field=field)


class PictureFolder:
    """The image files below a folder, sorted."""

    def __init__(self, root: str) -> None:
        self.root, self.files = root, find_pictures(root)
        self.count: int | None = len(self.files)
        self.bytes, listing = 0, hashlib.sha256()
        for file in tqdm(self.files, desc="Reading file sizes", unit="file", delay=1):
            size = os.stat(file).st_size if os.path.exists(file) else 0
            self.bytes += size
            listing.update(f"{os.path.relpath(file, root)}\0{size}\n".encode(errors="surrogateescape"))
        name = os.path.basename(os.path.abspath(root))
        self.made_from: dict[str, Any] = {"folder": name, "files": self.count, "listing_sha256": listing.hexdigest()}

    def candidates(self, start: int) -> Iterator[Candidate]:
        """Read the files."""
        for path in self.files[start:]:
            name = os.path.relpath(path, self.root)
            try:
                if os.stat(path).st_size > _MAX_BYTES:
                    yield Candidate(name, b"", "larger than 1 GiB")
                    continue
                data = Path(path).read_bytes()
            except OSError as error:
                yield Candidate(name, b"", error.strerror or str(error))
                continue
            yield Candidate(name, data)


class RecordFiles:
    """The records of TFRecord files, file after file.

    Args:
        files: their paths.
        field: the field of each record that holds the encoded image.
    """

    def __init__(self, files: Sequence[str], *, field: str) -> None:
        if not all(map(importlib.util.find_spec, ("google_crc32c", "google.protobuf"))):
            raise ValueError(
                "Reading TFRecord files needs two packages that are not installed: pip install 'fast_style[tfrecord]'."
            )
        self.files, self.field = files, field
        self.count: int | None = None
        sizes = [os.path.getsize(file) for file in files]
        self.bytes = sum(sizes)
        listed = [[os.path.basename(file), size] for file, size in zip(files, sizes, strict=True)]
        self.made_from: dict[str, Any] = {"tfrecords": listed, "field": field}

    def candidates(self, start: int) -> Iterator[Candidate]:
        """Read the records; ValueError if the first record lacks the field, or a file is too damaged to continue."""
        for place, record in enumerate(records_in(self.files, start=start), start):
            name = f"{os.path.basename(record.file)}#{record.number}"
            if record.data is None:
                yield Candidate(name, b"", "its checksum differs")
                continue
            try:
                yield Candidate(name, field_of(record.data, self.field))
            except ValueError as error:
                if place == 0:
                    raise ValueError(
                        f"The first record of {record.file} can't be used: {error}; set field=..."
                    ) from error
                yield Candidate(name, b"", str(error))
