"""Small data sets: a folder tree and tar shards, each with one broken image."""

import pickle
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from shard_sets import shards

from fast_style import save_image
from fast_style.data.shards.index import index_folder
from fast_style.data.shards.tar import pictures_in
from fast_style.stylize.dataset.plan import plan
from fast_style.stylize.dataset.ray_pool import UnitPainter
from fast_style.stylize.dataset.work_units import Marker, PaintSettings, Unit, finished, marker_name
from fast_style.stylize.dataset.worker import Result


def lay_out(folder: Path, *, shards_of: int = 8) -> None:
    """Create `photos`, five photos in a tree, and `shards` of 3 photos each, from `shards_of` photos."""
    for name in ("a.jpg", "b.png", "deep/a.png", "deep/er/e.jpg", "z.png"):
        save_image(torch.rand(3, 20, 24), folder / "photos" / name)
    (folder / "photos/b.png").write_text("no picture")
    shards(folder / "set", shards_of).rename(folder / "shards")
    spoil(folder / "shards/shard-000001.tar", number=1)


def spoil(path: Path, number: int) -> None:
    """Overwrite an image in a tar file with zeros, and update the index."""
    members = pictures_in(str(path))
    with open(path, "r+b") as file:
        file.seek(members.offsets[number])
        file.write(bytes(members.sizes[number]))
    index_folder(str(path.parent))


def plan_units(source: str, output: str, recipe: PaintSettings) -> list[Unit]:
    """The units of a data set."""
    return plan(source, output, recipe).units


def marker_of(unit: Unit, recipe: PaintSettings) -> Marker | None:
    """The marker of a finished unit."""
    return finished([unit], recipe)[0]


def marker_path(unit: Unit) -> Path:
    """The path of the marker of a unit in a local folder."""
    return Path(unit.output, marker_name(unit))


def times(folder: str) -> dict[str, int]:
    """Modification time of each file below the folder, except skipped.tsv, which every run writes."""
    files = (path for path in Path(folder).rglob("*") if path.is_file() and path.name not in ("skipped.tsv", ".lock"))
    return {str(path.relative_to(folder)): path.stat().st_mtime_ns for path in files}


def members_of(path: str | Path) -> dict[str, bytes]:
    """The files in a tar file; fails if one of them cannot be read."""
    with tarfile.open(path, "r:") as tar:
        return {member.name: tar.extractfile(member).read() for member in tar}  # type: ignore[union-attr]


def paint_here(
    units: Sequence[Unit], recipe: PaintSettings, stylizer: Mapping[str, Any], *, workers: int | None
) -> Iterator[Result]:
    """Replaces `ray_pool.paint_units`, without Ray, which takes seconds to start."""
    painter = UnitPainter(recipe, stylizer)
    for unit in units:
        result = Result(**painter({"unit": pickle.dumps(unit)}))
        if result.problem:
            raise ValueError(result.problem)
        yield result
