"""Split a data set into work units (a tar shard, or a number of images of a folder) and record finished units."""

import json
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from fast_style.atomic_files import atomic_write
from fast_style.data.shards.index import INDEX, Shard, find_shards, is_remote
from fast_style.images.decode import MAX_PIXELS, check_size
from fast_style.images.encode import WRITABLE_SUFFIXES, check_quality
from fast_style.images.listing import find_pictures

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
        root, output: input and output folder.
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
        return _digest(name for pair in self.pictures for name in pair)

    def is_there(self, _size: int | None) -> bool:
        """Whether the results still exist. Always True: checking a million files would take too long."""
        return True


@dataclass(frozen=True)
class TarShard:
    """The images of a tar file; the results go to a tar file of the same name in another folder.

    Attributes:
        name: file name.
        source: path of the input file.
        output: output folder.
        count: number of images.
        checksum: identifies the content: of name, number of images, size in bytes, and SHA-256 if known.
    """

    name: str
    source: str
    output: str
    count: int
    checksum: str

    @property
    def target(self) -> Path:
        """Path of the output file."""
        return Path(self.output, self.name)

    def is_there(self, size: int | None) -> bool:
        """Whether the output file exists and has this size in bytes."""
        return self.target.is_file() and self.target.stat().st_size == size


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


def plan_units(source: str, output: str, recipe: PaintSettings) -> list[Unit]:
    """Split a data set into units; the same input always gives the same units.

    Args:
        source: a folder of images, searched recursively; or shards as in `find_shards`: a folder of tar files, an
            index, a tar file or a pattern.
        output: the output folder.
        recipe: the settings.

    Raises:
        ValueError: no images, remote shards, shards of equal names, or input and output folders inside one another.
    """
    output = os.path.abspath(output)
    if _names_shards(source):
        return list(_shards_as_units(find_shards(source), output))
    root = os.path.abspath(source)
    found = [os.path.relpath(path, root) for path in find_pictures(root)]
    if _nested(Path(root), Path(output)):
        raise ValueError(f"The output {output} and the input {root} lie inside one another; name another output.")
    targets = target_names(found, recipe.suffix)
    if len(set(targets)) < len(targets):
        [(name, _)] = Counter(targets).most_common(1)
        raise ValueError(f"Several photos in {root} have the same output {name}; rename one of them.")
    pairs = tuple(zip(found, targets, strict=True))
    starts = range(0, len(pairs), recipe.unit)
    return [FolderPart(f"{n:05d}", root, output, pairs[i : i + recipe.unit]) for n, i in enumerate(starts)]


def target_names(names: Sequence[str], suffix: str | None) -> list[str]:
    """Names of the results: `a.gif` becomes `a.png`, or `a.gif.png` if there is also an `a.png`."""
    endings = [_ending(name, suffix) for name in names]
    targets = [os.path.splitext(name)[0] + ending for name, ending in zip(names, endings, strict=True)]
    taken = Counter(targets)
    return [
        target if target == name or taken[target] == 1 else name + ending
        for name, target, ending in zip(names, targets, endings, strict=True)
    ]


def marker_path(unit: Unit) -> Path:
    """Path of the marker of a finished unit."""
    return Path(unit.output, FINISHED, f"{unit.name}.json")


def write_marker(
    unit: Unit, recipe: PaintSettings, painted: int, skipped: Sequence[tuple[str, str]], size: int | None
) -> None:
    """Record that a unit is finished; `size` is the size of its tar file in bytes."""
    marker = Marker(asdict(recipe), unit.checksum, painted, tuple(skipped), size)
    with atomic_write(marker_path(unit)) as file:
        file.write(json.dumps(asdict(marker), indent=1).encode())


def finished(unit: Unit, recipe: PaintSettings) -> Marker | None:
    """The marker of a finished unit; None if the unit must be stylized.

    Raises:
        ValueError: the unit was stylized with other settings.
    """
    try:
        said = json.loads(marker_path(unit).read_text(encoding="utf-8"))
        marker = Marker(**said | {"skipped": tuple((name, reason) for name, reason in said["skipped"])})
    except (FileNotFoundError, ValueError, TypeError, KeyError):
        return None
    now = asdict(recipe)
    changed = sorted(key for key in now.keys() | marker.recipe.keys() if now.get(key) != marker.recipe.get(key))
    if changed:
        raise ValueError(
            f"The results in {unit.output} were made with other settings ({', '.join(changed)}); name another "
            "output, or empty that folder."
        )
    return marker if marker.checksum == unit.checksum and unit.is_there(marker.bytes) else None


def _names_shards(source: str) -> bool:
    if os.path.isdir(source):
        with os.scandir(source) as entries:
            return any(entry.name == INDEX or entry.name.endswith(".tar") for entry in entries)
    return is_remote(source) or source.endswith((".tar", ".json"))


def _shards_as_units(shards: Sequence[Shard], output: str) -> Iterator[TarShard]:
    names = Counter(shard.name for shard in shards)
    for shard in shards:
        source = os.path.abspath(shard.url)
        if is_remote(shard.url):
            raise ValueError(f"Shards must be in a folder that all workers see; copy {shard.url} to one.")
        if names[shard.name] > 1:
            raise ValueError(f"{names[shard.name]} shards are named {shard.name}; stylize their folders one by one.")
        if Path(source).parent.resolve() == Path(output).resolve():
            raise ValueError(f"The output {output} is the folder of the input shards; name another output.")
        checksum = _digest([shard.name, str(shard.samples), str(shard.bytes), shard.sha256 or ""])
        yield TarShard(shard.name, source, output, shard.samples, checksum)


def _nested(one: Path, other: Path) -> bool:
    one, other = one.resolve(), other.resolve()
    return one.is_relative_to(other) or other.is_relative_to(one)


def _ending(name: str, suffix: str | None) -> str:
    own = os.path.splitext(name)[1]
    return suffix or (own if own.lower() in WRITABLE_SUFFIXES else ".png")


def _digest(names: Iterator[str] | Sequence[str]) -> str:
    # A file name need not be valid Unicode.
    return sha256("\0".join(names).encode(errors="surrogateescape")).hexdigest()
