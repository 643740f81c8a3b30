"""Find shards and their numbers of images: from `index.json`, or by reading the tar files."""

import glob
import hashlib
import json
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from fast_style.atomic_files import atomic_write
from fast_style.data.shards.tar import pictures_in

INDEX = "index.json"
JOURNAL = "progress.jsonl"


@dataclass(frozen=True)
class Shard:
    """A tar file of images.

    Attributes:
        url: path of the file.
        samples: number of images.
        bytes: size of the file.
        sha256: checksum of the file; None if no index contains it.
    """

    url: str
    samples: int
    bytes: int
    sha256: str | None = None

    @property
    def name(self) -> str:
        """The file name."""
        return os.path.basename(self.url)


def find_shards(urls: str | Sequence[str]) -> list[Shard]:
    """The shards at one or several places, in this order.

    Args:
        urls: each a folder, an index, a tar file or a pattern of tar files with `*` or `{000..123}`.

    Raises:
        ValueError: there are no shards, they differ from their index, or a place is not on this machine.
    """
    given = [urls] if isinstance(urls, str) else list(urls)
    places = [place for pattern in given for place in expand_braces(pattern.removeprefix("file://"))]
    if far := next(filter(is_remote, places), None):
        folder = far.rpartition("/")[0] if far.endswith((".tar", ".json")) else far.rstrip("/")
        raise ValueError(
            f"Shards in local files were wanted, found the URL {far}; download them with data=hub "
            f"data.path={folder}/{INDEX}, or mount the store as a folder and name that."
        )
    indices: dict[str, dict[str, Shard]] = {}
    found: dict[str, Shard | None] = {}
    for place in places:
        for url in _tars_at(place, indices):
            found[url] = _index_beside(url, indices).get(url)
    if not found:
        raise ValueError(f"Shards were wanted at {', '.join(given)}, found none; check the path.")
    unknown = [url for url, shard in found.items() if shard is None]
    bar = tqdm(unknown, desc="Reading shards without an index", unit="shard", delay=1)
    looked_at = {url: Shard(url, len(pictures_in(url).names), os.path.getsize(url)) for url in bar}
    shards = [shard or looked_at[url] for url, shard in found.items()]
    for shard in shards:
        _check_presence(shard)
    return shards


def write_index(folder: str, shards: Sequence[Shard], made_from: dict[str, Any]) -> None:
    """Write `index.json` next to the shards."""
    listed = [asdict(shard) | {"name": shard.name} for shard in shards]
    content = {
        "samples": sum(shard.samples for shard in shards),
        "bytes": sum(shard.bytes for shard in shards),
        "made_from": made_from,
        "shards": [{key: entry[key] for key in ("name", "samples", "bytes", "sha256")} for entry in listed],
    }
    with atomic_write(Path(folder) / INDEX) as file:
        file.write(json.dumps(content, indent=1).encode())


def index_folder(folder: str) -> list[Shard]:
    """Read a folder of existing tar files and write their index."""
    tars = sorted(glob.glob(os.path.join(glob.escape(folder), "*.tar")))
    if not tars:
        raise ValueError(f"Tar files were wanted in {folder}, found none; check input.")
    shards = [
        Shard(path, len(pictures_in(path).names), os.path.getsize(path), checksum(path))
        for path in tqdm(tars, desc="Reading shards", unit="shard", delay=1)
    ]
    write_index(folder, shards, {"kind": "tars"})
    return shards


def checksum(path: str | os.PathLike[str]) -> str:
    """SHA-256 of a file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def verify_checksums(shards: Sequence[Shard]) -> None:
    """Compare every shard with its checksum; ValueError for the first that differs."""
    known = [shard for shard in shards if shard.sha256]
    for shard in tqdm(known, desc="Checking shards", unit="shard", delay=1):
        if checksum(shard.url) != shard.sha256:
            raise ValueError(
                f"{shard.url} is damaged: its checksum differs from {INDEX}; copy it again, or run "
                "scripts/prepare_shards.py again, which writes it again."
            )


def is_remote(url: str) -> bool:
    """Whether this is a URL and not a path."""
    return "://" in url


def expand_braces(pattern: str) -> Iterator[str]:
    """All strings that a pattern with `{000..012}` or `{a,b}` stands for, as in a shell."""
    braces = re.search(r"\{([^{}]*(?:,|\.\.)[^{}]*)\}", pattern)
    if not braces:
        yield pattern
        return
    span = re.fullmatch(r"(\d+)\.\.(\d+)", braces[1])
    inner = [f"{n:0{len(span[1])}}" for n in range(int(span[1]), int(span[2]) + 1)] if span else braces[1].split(",")
    for part in inner:
        yield from expand_braces(pattern[: braces.start()] + part + pattern[braces.end() :])


def _tars_at(place: str, indices: dict[str, dict[str, Shard]]) -> list[str]:
    if place.endswith(".json"):
        indices[place] = read_index(place)
        return list(indices[place])
    place = os.path.expanduser(place)
    if os.path.isdir(place):
        index = os.path.join(place, INDEX)
        if os.path.exists(os.path.join(place, JOURNAL)) and not os.path.exists(index):
            raise ValueError(
                f"The shards in {place} are incomplete; run the same scripts/prepare_shards.py command again."
            )
        return _tars_at(index if os.path.exists(index) else os.path.join(glob.escape(place), "*.tar"), indices)
    return [place] if os.path.exists(place) else sorted(glob.glob(place))


def _index_beside(url: str, indices: dict[str, dict[str, Shard]]) -> dict[str, Shard]:
    for index in indices.values():
        if url in index:
            return index
    beside = _beside(url, INDEX)
    if beside not in indices:
        indices[beside] = read_index(beside) if os.path.exists(beside) else {}
    return indices[beside]


def read_index(place: str) -> dict[str, Shard]:
    """The shards that an index lists, by path; ValueError for another file or none."""
    try:
        text = Path(place).read_text(encoding="utf-8")
        listed = [_shard_of(entry, place) for entry in json.loads(text)["shards"]]
    except FileNotFoundError as error:
        raise ValueError(f"{place} was wanted, found nothing; check the path.") from error
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ValueError(f"{place} is not an index written by scripts/prepare_shards.py; make it again.") from error
    return {shard.url: shard for shard in listed}


def _shard_of(entry: dict[str, Any], index: str) -> Shard:
    name, digest = entry["name"], entry["sha256"]
    # The name comes from outside and becomes part of a path, so only plain names are accepted.
    if not re.fullmatch(r"\w[\w.@+ -]*", name) or not re.fullmatch(r"[0-9a-f]{64}", digest):
        raise ValueError(name)
    return Shard(_beside(index, name), int(entry["samples"]), int(entry["bytes"]), digest)


def _beside(url: str, name: str) -> str:
    return os.path.join(os.path.dirname(url), name)


def _check_presence(shard: Shard) -> None:
    found = os.path.getsize(shard.url) if os.path.exists(shard.url) else None
    if found != shard.bytes:
        what = "is missing" if found is None else f"has {found} bytes instead of {shard.bytes}"
        raise ValueError(
            f"{shard.url} {what}, according to {INDEX}; copy it again, or run scripts/prepare_shards.py again, which "
            "writes it again."
        )
