"""Painting one unit of a data set, whole or not at all."""

import os
import tarfile
import time
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

from fast_style.atomic_files import atomic_write
from fast_style.data.shards.tar import Members, bytes_of, name_within, pictures_in
from fast_style.images.decode import UnreadablePicture, read_arrays
from fast_style.images.encode import encode_levels
from fast_style.stylize.dataset.work_units import (
    FolderPart,
    PaintSettings,
    TarShard,
    Unit,
    finished,
    marker_path,
    target_names,
    write_marker,
)
from fast_style.stylize.files import FileSettings, paint
from fast_style.stylize.painter import Painter

Skipped = list[tuple[str, str]]


@dataclass(frozen=True)
class Result:
    """What became of one unit.

    Attributes:
        unit: its name.
        painted, skipped: numbers of pictures.
        seconds: it took.
        problem: the sentence that says why it could not be finished; else empty.
    """

    unit: str
    painted: int = 0
    skipped: int = 0
    seconds: float = 0.0
    problem: str = ""


def paint_unit(unit: Unit, painter: Painter, recipe: PaintSettings) -> Result:
    """Paint a unit and mark it finished; one that is finished already stays as it is.

    Raises:
        ValueError: a shard that is not whole, or an output with paintings of another recipe.
        OSError: the disk is full, or closed.
    """
    began = time.monotonic()
    # Asked here too: where a machine was lost, Ray repeats what it had not reported yet.
    done = finished(unit, recipe)
    if done is None:
        marker_path(unit).unlink(missing_ok=True)
        if isinstance(unit, TarShard):
            _paint_shard(unit, painter, recipe)
        else:
            _paint_folder(unit, painter, recipe)
        done = finished(unit, recipe)
        assert done is not None
    return Result(unit.name, done.painted, len(done.skipped), time.monotonic() - began)


def _paint_folder(part: FolderPart, painter: Painter, recipe: PaintSettings) -> None:
    pairs = [(Path(part.root, photo), Path(part.output, target)) for photo, target in part.pictures]
    settings = FileSettings(size=recipe.size, quality=recipe.quality)
    results = paint(painter, pairs, settings, max_pixels=recipe.max_pixels)
    skipped = [(os.path.relpath(r.source, part.root), r.problem) for r in results if r.problem is not None]
    write_marker(part, recipe, part.count - len(skipped), skipped, None)


def _paint_shard(shard: TarShard, painter: Painter, recipe: PaintSettings) -> None:
    members = pictures_in(shard.source)
    # An older one, as large by chance, would pass for the one that the marker speaks of.
    shard.target.unlink(missing_ok=True)
    with atomic_write(shard.target) as file:
        with tarfile.open(fileobj=file, mode="w") as tar:
            skipped = _paint_members(shard, members, tar, painter, recipe)
        # Before the file takes its place: at no moment is a shard finished and not known to be.
        write_marker(shard, recipe, len(members.names) - len(skipped), skipped, file.tell())


def _paint_members(
    shard: TarShard, members: Members, tar: tarfile.TarFile, painter: Painter, recipe: PaintSettings
) -> Skipped:
    skipped: Skipped = []
    for number, target in enumerate(target_names(members.names, recipe.suffix)):
        name = name_within(shard.source, members.names[number])
        try:
            painting = _painted(name, _encoded(shard, members, number), target, painter, recipe)
        except UnreadablePicture as error:
            skipped.append((name, str(error)))
            continue
        # TarInfo's own owner and time are nobody and 1970: the same pictures make the same file.
        member = tarfile.TarInfo(target)
        member.size = len(painting)
        tar.addfile(member, BytesIO(painting))
    return skipped


def _encoded(shard: TarShard, members: Members, number: int) -> bytes:
    try:
        return bytes_of(shard.source, members, number)
    except OSError as error:
        # Not as an OSError, which would be taken for one of the file that is being written.
        raise ValueError(f"{shard.source} can't be read: {error.strerror or error}.") from error


def _painted(name: str, data: bytes, target: str, painter: Painter, recipe: PaintSettings) -> bytes:
    picture = read_arrays(name, size=recipe.size, max_pixels=recipe.max_pixels, data=data)
    try:
        levels = painter(picture)
    except ValueError as error:
        raise UnreadablePicture(f"{name} can't be painted: {error}") from error
    return encode_levels(levels, target, quality=recipe.quality, alpha=picture.alpha)
