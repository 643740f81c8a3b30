"""A data set cut into units of work: a tar shard each, or so many pictures of a folder tree; and which are finished."""

import json
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from fast_style.atomic_files import atomic_write
from fast_style.data.shards.index import INDEX, Shard, find_shards
from fast_style.data.shards.remote import is_remote
from fast_style.images.decode import MAX_PIXELS, check_size
from fast_style.images.encode import WRITABLE_SUFFIXES, check_quality
from fast_style.images.listing import find_pictures

FINISHED = ".finished"


@dataclass(frozen=True)
class PaintSettings:
    """What decides how the paintings look and what they are called; one output has one recipe.

    Attributes:
        network: digest of the network file.
        size: shorter side to paint at, in pixels; None keeps the photo's.
        quality: of JPEG, WebP and AVIF, 1 to 100.
        suffix: of the paintings; None keeps the photo's where it can be written, else .png.
        max_pixels: larger pictures are skipped.
        unit: pictures of a folder in a unit.

    Raises:
        ValueError: a number out of its range, or a suffix that can't be written.
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
    """Some pictures of a folder tree, which go to the same places below another folder.

    Attributes:
        name: `00012`, by its place in the sorted tree.
        root, output: the two folders.
        pictures: photos and paintings, as paths below them.
    """

    name: str
    root: str
    output: str
    pictures: tuple[tuple[str, str], ...]

    @property
    def count(self) -> int:
        """Number of pictures."""
        return len(self.pictures)

    @property
    def checksum(self) -> str:
        """Of the list."""
        return _digest(name for pair in self.pictures for name in pair)

    def is_there(self, _size: int | None) -> bool:
        """Whether what was written is still there; of a folder nobody looks: it has a million files."""
        return True


@dataclass(frozen=True)
class TarShard:
    """The pictures of a tar file, which go to a tar file of the same name in another folder.

    Attributes:
        name: the file's.
        source: its path.
        output: the folder.
        count: of pictures.
        checksum: of what tells it from another file, or from its own earlier state.
    """

    name: str
    source: str
    output: str
    count: int
    checksum: str

    @property
    def target(self) -> Path:
        """The painted tar file."""
        return Path(self.output, self.name)

    def is_there(self, size: int | None) -> bool:
        """Whether the tar file that was written is there, as large as it was."""
        return self.target.is_file() and self.target.stat().st_size == size


Unit = FolderPart | TarShard


@dataclass(frozen=True)
class Marker:
    """What is left beside the paintings of a finished unit.

    Attributes:
        recipe: how they were painted.
        checksum: the unit's.
        painted: number of paintings.
        skipped: the other pictures, and why.
        bytes: of the tar file; None for a folder's.
    """

    recipe: dict[str, Any]
    checksum: str
    painted: int
    skipped: tuple[tuple[str, str], ...]
    bytes: int | None = None


def plan_units(source: str, output: str, recipe: PaintSettings) -> list[Unit]:
    """Cut a data set into units, the same ones each time.

    Args:
        source: a folder of pictures, searched to its depths; or shards as `find_shards` finds them: a folder of tar
            files, an index, a tar file, a pattern of them.
        output: a folder.
        recipe: how they will be painted.

    Raises:
        ValueError: nothing to paint, shards from afar or of one name, or an output that would mix with the photos.
    """
    output = os.path.abspath(output)
    if _names_shards(source):
        return list(_shards_as_units(find_shards(source), output))
    root = os.path.abspath(source)
    found = [os.path.relpath(path, root) for path in find_pictures(root)]
    if _nested(Path(root), Path(output)):
        raise ValueError(f"The output {output} and the photos in {root} lie in one another; name another output.")
    targets = target_names(found, recipe.suffix)
    if len(set(targets)) < len(targets):
        [(name, _)] = Counter(targets).most_common(1)
        raise ValueError(f"Several photos in {root} would be painted to {name}; rename one of them.")
    pairs = tuple(zip(found, targets, strict=True))
    starts = range(0, len(pairs), recipe.unit)
    return [FolderPart(f"{n:05d}", root, output, pairs[i : i + recipe.unit]) for n, i in enumerate(starts)]


def target_names(names: Sequence[str], suffix: str | None) -> list[str]:
    """What the paintings are called; `a.gif` becomes `a.png`, and `a.gif.png` beside an `a.png`."""
    endings = [_ending(name, suffix) for name in names]
    targets = [os.path.splitext(name)[0] + ending for name, ending in zip(names, endings, strict=True)]
    taken = Counter(targets)
    return [
        target if target == name or taken[target] == 1 else name + ending
        for name, target, ending in zip(names, targets, endings, strict=True)
    ]


def marker_path(unit: Unit) -> Path:
    """Where a unit's marker is once it is finished."""
    return Path(unit.output, FINISHED, f"{unit.name}.json")


def write_marker(
    unit: Unit, recipe: PaintSettings, painted: int, skipped: Sequence[tuple[str, str]], size: int | None
) -> None:
    """Say that a unit is finished; `size` is its tar file's, in bytes."""
    marker = Marker(asdict(recipe), unit.checksum, painted, tuple(skipped), size)
    with atomic_write(marker_path(unit)) as file:
        file.write(json.dumps(asdict(marker), indent=1).encode())


def finished(unit: Unit, recipe: PaintSettings) -> Marker | None:
    """The marker of a unit that is finished; None if it is to be painted, for the first time or again.

    Raises:
        ValueError: it was painted by another recipe.
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
            f"The paintings in {unit.output} were begun with other settings ({', '.join(changed)}); name another "
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
            raise ValueError(f"Shards are painted from folders that all workers see; copy {shard.url} to one.")
        if names[shard.name] > 1:
            raise ValueError(f"{names[shard.name]} shards are called {shard.name}; paint their folders one by one.")
        if Path(source).parent.resolve() == Path(output).resolve():
            raise ValueError(f"The output {output} is the folder of the shards themselves; name another output.")
        checksum = _digest([shard.name, str(shard.samples), str(shard.bytes), shard.sha256 or ""])
        yield TarShard(shard.name, source, output, shard.samples, checksum)


def _nested(one: Path, other: Path) -> bool:
    one, other = one.resolve(), other.resolve()
    return one.is_relative_to(other) or other.is_relative_to(one)


def _ending(name: str, suffix: str | None) -> str:
    own = os.path.splitext(name)[1]
    return suffix or (own if own.lower() in WRITABLE_SUFFIXES else ".png")


def _digest(names: Iterator[str] | Sequence[str]) -> str:
    # A file's name need not be Unicode.
    return sha256("\0".join(names).encode(errors="surrogateescape")).hexdigest()
