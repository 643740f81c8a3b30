"""Work units of a data set (a tar shard, or a number of images of a folder), and the markers of finished ones.

Ray Data has checkpoints too (`CheckpointConfig`), but only for pipelines that end in one of Ray's own writers, and they
know neither the settings nor the content of the input: changed ones would be taken as finished.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from hashlib import sha256
from typing import Any

from fast_style.atomic_files import atomic_write
from fast_style.images.decode import MAX_PIXELS, check_size
from fast_style.images.encode import WRITABLE_SUFFIXES, check_quality
from fast_style.stylize.dataset import storage

FINISHED = ".finished"


@dataclass(frozen=True)
class PaintSettings:
    """All settings that determine the content and the names of the results; one output folder has one such recipe.

    Attributes:
        network: digest of the network file.
        size: shorter side of the results in pixels; None keeps the photo's size.
        quality: of JPEG, WebP and AVIF, 1 to 100.
        suffix: of the results; None keeps the photo's suffix if that format can be written, else .png.
        max_pixels: larger images are skipped.
        unit: images of a folder per unit.

    Raises:
        ValueError: a number out of range, or a suffix that cannot be written.
    """

    network: str
    size: int | None = None
    quality: int = 95
    suffix: str | None = None
    max_pixels: int = MAX_PIXELS
    unit: int = 500

    def __post_init__(self) -> None:
        check_size(self.size)
        check_quality(self.quality)
        if min(self.max_pixels, self.unit) < 1:
            raise ValueError(f"max_pixels and unit are at least 1; got max_pixels={self.max_pixels}, unit={self.unit}.")
        if self.suffix is not None and self.suffix.lower() not in WRITABLE_SUFFIXES:
            raise ValueError(f"suffix is one of {', '.join(sorted(WRITABLE_SUFFIXES))}; got {self.suffix!r}.")


@dataclass(frozen=True)
class FolderPart:
    """Some images of a folder tree; their results go to the same relative paths in another folder.

    Attributes:
        name: the unit's number in the sorted tree, such as `00012`.
        root, output: input and output folder, each a path or a URL.
        pictures: pairs of photo and result, as paths relative to these folders.
    """

    name: str
    root: str
    output: str
    pictures: tuple[tuple[str, str], ...]

    @property
    def count(self) -> int:
        """Number of images."""
        return len(self.pictures)

    @property
    def checksum(self) -> str:
        """Checksum of the list of names."""
        return digest(name for pair in self.pictures for name in pair)


@dataclass(frozen=True)
class TarShard:
    """The images of a tar file; the results go to a tar file of the same name in another folder.

    Attributes:
        name: file name.
        folder, output: input and output folder, each a path or a URL.
        count: number of images.
        checksum: identifies the content: of name, number of images, size in bytes, and SHA-256 if known.
    """

    name: str
    folder: str
    output: str
    count: int
    checksum: str

    @property
    def source(self) -> str:
        """Path or URL of the input file."""
        return storage.join(self.folder, self.name)


Unit = FolderPart | TarShard


@dataclass(frozen=True)
class Marker:
    """The record of a finished unit, stored next to the results.

    Attributes:
        recipe: the settings.
        checksum: of the unit.
        painted: number of results.
        skipped: names of the skipped images, with reasons.
        bytes: size of the output tar file; None for a folder.
    """

    recipe: dict[str, Any]
    checksum: str
    painted: int
    skipped: tuple[tuple[str, str], ...]
    bytes: int | None = None


def write_marker(
    unit: Unit, recipe: PaintSettings, painted: int, skipped: Sequence[tuple[str, str]], size: int | None
) -> None:
    """Record that a unit is finished, after its results are there; `size` is the size of its tar file in bytes."""
    marker = Marker(asdict(recipe), unit.checksum, painted, tuple(skipped), size)
    with storage.staged_output(unit.output) as output, atomic_write(output / marker_name(unit)) as file:
        file.write(json.dumps(asdict(marker), indent=1).encode())


def remove_marker(unit: Unit) -> None:
    """Record that a unit is not finished, before its results change."""
    storage.remove(unit.output, marker_name(unit))


def marker_name(unit: Unit) -> str:
    """Path of the marker of a finished unit, relative to its output folder."""
    return f"{FINISHED}/{unit.name}.json"


def finished(units: Sequence[Unit], recipe: PaintSettings) -> list[Marker | None]:
    """The markers of units of one output folder; None for a unit that must be stylized.

    The results of a folder are not looked for: checking a million files would take too long. A tar file must exist and
    have its size.

    Raises:
        ValueError: a unit was stylized with other settings, or the output folder cannot be read.
    """
    output = units[0].output
    names = [f"{unit.name}.json" for unit in units]
    markers = storage.join(output, FINISHED)
    tars = storage.sizes(output, [unit.name for unit in units if isinstance(unit, TarShard)])
    with storage.staged_input(markers, list(storage.sizes(markers, names))) as folder:
        texts = [path.read_bytes() if (path := folder / name).exists() else b"" for name in names]
    return [_checked(unit, _parsed(text), recipe, tars) for unit, text in zip(units, texts, strict=True)]


def digest(names: Iterable[str]) -> str:
    """SHA-256 of some names in their order."""
    # A file name need not be valid Unicode.
    return sha256("\0".join(names).encode(errors="surrogateescape")).hexdigest()


def _parsed(text: bytes) -> Marker | None:
    try:
        said = json.loads(text)
        return Marker(**said | {"skipped": tuple((name, reason) for name, reason in said["skipped"])})
    except (ValueError, TypeError, KeyError):
        return None


def _checked(unit: Unit, marker: Marker | None, recipe: PaintSettings, tars: Mapping[str, int]) -> Marker | None:
    if marker is None:
        return None
    now = asdict(recipe)
    changed = sorted(key for key in now.keys() | marker.recipe.keys() if now.get(key) != marker.recipe.get(key))
    if changed:
        raise ValueError(
            f"The results in {unit.output} were made with other settings ({', '.join(changed)}); name another "
            "output, or empty that folder."
        )
    there = tars.get(unit.name) == marker.bytes if isinstance(unit, TarShard) else True
    return marker if marker.checksum == unit.checksum and there else None
