"""Split a data set into work units; the same input always gives the same units."""

import fnmatch
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from fast_style.data.shards.index import INDEX, Shard, expand_braces, find_shards, is_remote, read_index
from fast_style.data.shards.tar import pictures_in
from fast_style.images.decode import PICTURE_SUFFIXES
from fast_style.images.encode import WRITABLE_SUFFIXES
from fast_style.images.listing import UNSUPPORTED_SUFFIXES, count_unsupported, find_pictures
from fast_style.stylize.dataset import storage
from fast_style.stylize.dataset.work_units import FolderPart, PaintSettings, TarShard, Unit, digest


@dataclass(frozen=True)
class Plan:
    """The work of a data set.

    Attributes:
        units: the units in their order.
        left_out: number of files of image formats that are not read, by suffix; for folders of photos only.
    """

    units: list[Unit]
    left_out: Counter[str]


def plan(source: str, output: str, recipe: PaintSettings) -> Plan:
    """Split a data set into units.

    Args:
        source: a folder of images, searched recursively; or shards: a folder of tar files, an `index.json`, a tar file
            or a pattern with `*` or `{000..123}`. Each is a path, or a URL that fsspec supports.
        output: the output folder, a path or a URL.
        recipe: the settings.

    Raises:
        ValueError: no images, shards of equal names, or input and output folders inside one another.
    """
    output = storage.normal(output)
    if not _names_shards(source):
        return _plan_folder(storage.normal(source), output, recipe)
    shards = _remote_shards(source) if is_remote(source.removeprefix("file://")) else find_shards(source)
    return Plan(list(_shards_as_units(shards, output)), Counter())


def target_names(names: Sequence[str], suffix: str | None) -> list[str]:
    """Names of the results: `a.gif` becomes `a.png`, or `a.gif.png` if there is also an `a.png`."""
    endings = [_ending(name, suffix) for name in names]
    targets = [os.path.splitext(name)[0] + ending for name, ending in zip(names, endings, strict=True)]
    taken = Counter(targets)
    return [
        target if target == name or taken[target] == 1 else name + ending
        for name, target, ending in zip(names, targets, endings, strict=True)
    ]


def _plan_folder(root: str, output: str, recipe: PaintSettings) -> Plan:
    found, left_out = _photos_in(root)
    if _nested(root, output):
        raise ValueError(f"The output {output} and the input {root} lie inside one another; name another output.")
    targets = target_names(found, recipe.suffix)
    if len(set(targets)) < len(targets):
        [(name, _)] = Counter(targets).most_common(1)
        raise ValueError(f"Several photos in {root} have the same output {name}; rename one of them.")
    pairs = tuple(zip(found, targets, strict=True))
    starts = range(0, len(pairs), recipe.unit)
    units = [FolderPart(f"{n:05d}", root, output, pairs[i : i + recipe.unit]) for n, i in enumerate(starts)]
    return Plan(list(units), left_out)


def _photos_in(root: str) -> tuple[list[str], Counter[str]]:
    if not is_remote(root):
        return [os.path.relpath(path, root) for path in find_pictures(root)], count_unsupported(root)
    names = storage.find(root)
    photos = [name for name in names if _suffix(name) in PICTURE_SUFFIXES]
    if not photos:
        raise ValueError(f"{root} holds no images (suffixes: {', '.join(sorted(PICTURE_SUFFIXES))}); check input.")
    return photos, Counter(_suffix(name) for name in names if _suffix(name) in UNSUPPORTED_SUFFIXES)


def _names_shards(source: str) -> bool:
    if source.endswith((".tar", ".json")):
        return not os.path.isdir(source)
    if is_remote(place := source.removeprefix("file://")):
        entries = list(storage.listing(storage.normal(place)))
    else:
        entries = os.listdir(place) if os.path.isdir(place) else []
    return any(name == INDEX or name.endswith(".tar") for name in entries)


def _remote_shards(source: str) -> list[Shard]:
    """As `find_shards`, for URLs; the headers of a tar file without an index are read from where it is."""
    folders: dict[str, _Folder] = {}
    shards = []
    for place in map(storage.normal, expand_braces(source)):
        folder = storage.split(place)[0] if place.endswith((".tar", ".json")) else place
        if folder not in folders:
            folders[folder] = _Folder(folder)
        shards += [folders[folder].shard(name) for name in folders[folder].named(place)]
    if not shards:
        raise ValueError(f"Tar files were wanted at {source}, found none; check input.")
    return shards


class _Folder:
    """The tar files in a folder at a URL, each looked up in its index if there is one."""

    def __init__(self, url: str) -> None:
        self.url, self.sizes = url, storage.listing(url)
        self.index = self._read(INDEX) if INDEX in self.sizes else {}

    def named(self, place: str) -> list[str]:
        """The names of the tar files that a place stands for: a tar file, a pattern, an index or this folder."""
        name = "*.tar" if place == self.url else storage.split(place)[1]
        if name.endswith(".json"):
            self.index |= self._read(name)
            return list(self.index)
        if place == self.url and self.index:
            return list(self.index)
        return sorted(fnmatch.filter(self.sizes, name)) if "*" in name else [name]

    def shard(self, name: str) -> Shard:
        """The shard of this name; ValueError if it is missing or differs from the index."""
        url, size, listed = storage.join(self.url, name), self.sizes.get(name), self.index.get(name)
        if size is None or (listed and listed.bytes != size):
            wanted = "A tar file" if listed is None else f"A tar file of {listed.bytes} bytes"
            found = "nothing" if size is None else f"{size} bytes"
            raise ValueError(f"{wanted} was wanted at {url}, found {found}; check input, or copy the file again.")
        samples = listed.samples if listed else len(storage.read(url, partial(pictures_in, url)).names)
        return Shard(url, samples, size, listed.sha256 if listed else None)

    def _read(self, name: str) -> dict[str, Shard]:
        with storage.staged_input(self.url, [name]) as folder:
            return {shard.name: shard for shard in read_index(str(folder / name)).values()}


def _shards_as_units(shards: Sequence[Shard], output: str) -> Iterator[TarShard]:
    names = Counter(shard.name for shard in shards)
    for shard in shards:
        folder = storage.split(shard.url)[0] if is_remote(shard.url) else os.path.dirname(os.path.abspath(shard.url))
        if names[shard.name] > 1:
            raise ValueError(f"{names[shard.name]} shards are named {shard.name}; stylize their folders one by one.")
        if _resolved(folder) == _resolved(output):
            raise ValueError(f"The output {output} is the folder of the input shards; name another output.")
        checksum = digest([shard.name, str(shard.samples), str(shard.bytes), shard.sha256 or ""])
        yield TarShard(shard.name, folder, output, shard.samples, checksum)


def _nested(one: str, other: str) -> bool:
    one, other = _resolved(one), _resolved(other)
    return one.startswith(other) or other.startswith(one)


def _resolved(place: str) -> str:
    """The place with its links resolved and a slash at its end."""
    return (place if is_remote(place) else str(Path(place).resolve())).rstrip("/") + "/"


def _ending(name: str, suffix: str | None) -> str:
    own = os.path.splitext(name)[1]
    return suffix or (own if own.lower() in WRITABLE_SUFFIXES else ".png")


def _suffix(name: str) -> str:
    return os.path.splitext(name)[1].lower()
