"""The journal of shards being written: what each took, so that an interrupted work goes on and ends the same."""

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
    """A line of the journal: one shard, or, without a name, what came after the last.

    Attributes:
        name: of the file.
        samples, bytes, sha256: as in the index.
        taken: candidates of the source that this shard and those before it used up.
        skipped: name and reason of the candidates among them that are no pictures.
    """

    name: str
    samples: int
    bytes: int
    sha256: str
    taken: int
    skipped: tuple[tuple[str, str], ...]


def is_intact(folder: Path, line: Written) -> bool:
    """Whether a line's shard is there as it was written."""
    path = folder / line.name
    if not line.name:
        return True
    with suppress(FileNotFoundError):
        return path.stat().st_size == line.bytes and checksum(path) == line.sha256
    return False


def read_journal(folder: Path, made_from: dict[str, Any]) -> list[Written]:
    """The lines so far; begins a journal where there is none.

    Raises:
        ValueError: the folder holds shards of another or unknown origin.
    """
    path = folder / JOURNAL
    if not path.exists():
        if any(folder.glob("shard-*.tar")) or (folder / INDEX).exists():
            raise ValueError(f"{folder} holds shards, but no {JOURNAL} that says what of; name another output.")
        with atomic_write(path) as file:
            file.write(json.dumps(made_from).encode() + b"\n")
        return []
    # A line that was being written when the run was killed has no end yet.
    whole = path.read_bytes().rpartition(b"\n")[0] + b"\n"
    os.truncate(path, len(whole))
    first, *rest = whole.decode().splitlines()
    before = json.loads(first)
    changed = sorted(key for key in made_from.keys() | before.keys() if made_from.get(key) != before.get(key))
    if changed and not rest:  # Nothing came of it; the next command may be another.
        path.unlink()
        return read_journal(folder, made_from)
    if changed:
        raise ValueError(
            f"The shards in {folder} were begun with other pictures or settings ({', '.join(changed)}); name another "
            "output, or empty that folder."
        )
    return [_line_of(json.loads(line)) for line in rest]


def append(folder: Path, line: Written) -> None:
    """Add a line, on the disk."""
    with open(folder / JOURNAL, "ab") as file:
        file.write(json.dumps(asdict(line)).encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())


def _line_of(entry: dict[str, Any]) -> Written:
    return Written(**entry | {"skipped": tuple((name, reason) for name, reason in entry["skipped"])})
