"""The journal of a folder of shards being written, so that interrupted work resumes and gives the same files."""

import json
import os
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from fast_style.atomic_files import atomic_write
from fast_style.data.shards.index import INDEX, JOURNAL, checksum


@dataclass(frozen=True)
class Written:
    """A line of the journal: one shard, or, with an empty name, the candidates after the last shard.

    Attributes:
        name: file name of the shard.
        samples, bytes, sha256: as in the index.
        taken: number of the source's candidates used up by this shard and all shards before it.
        skipped: name and reason of each of this shard's candidates that is not an image.
    """

    name: str
    samples: int
    bytes: int
    sha256: str
    taken: int
    skipped: tuple[tuple[str, str], ...]


def is_intact(folder: Path, line: Written) -> bool:
    """Whether a line's shard still exists as it was written."""
    path = folder / line.name
    if not line.name:
        return True
    with suppress(FileNotFoundError):
        return path.stat().st_size == line.bytes and checksum(path) == line.sha256
    return False


def read_journal(folder: Path, made_from: dict[str, Any]) -> list[Written]:
    """The lines so far; starts a journal if there is none.

    Raises:
        ValueError: the folder holds shards of another or unknown origin.
    """
    path = folder / JOURNAL
    if not path.exists():
        if any(folder.glob("shard-*.tar")) or (folder / INDEX).exists():
            raise ValueError(f"{folder} holds shards, but no {JOURNAL} with their source; name another output.")
        with atomic_write(path) as file:
            file.write(json.dumps(made_from).encode() + b"\n")
        return []
    # Drop a last line that is incomplete because the run was killed.
    whole = path.read_bytes().rpartition(b"\n")[0] + b"\n"
    os.truncate(path, len(whole))
    first, *rest = whole.decode().splitlines()
    before = json.loads(first)
    changed = sorted(key for key in made_from.keys() | before.keys() if made_from.get(key) != before.get(key))
    if changed and not rest:  # No shard was finished, so the next command may have other settings.
        path.unlink()
        return read_journal(folder, made_from)
    if changed:
        raise ValueError(
            f"The shards in {folder} were started with other images or settings ({', '.join(changed)}); name another "
            "output, or empty that folder."
        )
    return [_line_of(json.loads(line)) for line in rest]


def append(folder: Path, line: Written) -> None:
    """Append a line and flush it to the disk."""
    with open(folder / JOURNAL, "ab") as file:
        file.write(json.dumps(asdict(line)).encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())


def _line_of(entry: dict[str, Any]) -> Written:
    return Written(**entry | {"skipped": tuple((name, reason) for name, reason in entry["skipped"])})
