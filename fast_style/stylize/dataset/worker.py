"""Stylize one unit of a data set, completely or not at all."""

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
    """The result of one unit.

    Attributes:
        unit: name of the unit.
        painted, skipped: numbers of images.
        seconds: duration.
        problem: the message of the error that stopped the unit; else empty.
    """

    unit: str
    painted: int = 0
    skipped: int = 0
    seconds: float = 0.0
    problem: str = ""


def paint_unit(unit: Unit, painter: Painter, recipe: PaintSettings) -> Result:
    """Stylize a unit and mark it as finished; a finished unit is left unchanged.

    Raises:
        ValueError: a damaged shard, or results made with other settings.
        OSError: the disk is full or not writable.
    """
    began = time.monotonic()
    # Checked here again: after losing a machine, Ray repeats tasks that were not reported.
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
    # An older file of the same size would be taken for the new one.
    shard.target.unlink(missing_ok=True)
    with atomic_write(shard.target) as file:
        with tarfile.open(fileobj=file, mode="w") as tar:
            skipped = _paint_members(shard, members, tar, painter, recipe)
        # Before the file is moved into place, so that a complete shard always has its marker.
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
        # TarInfo's defaults (no owner, 1970) keep equal input giving equal files.
        member = tarfile.TarInfo(target)
        member.size = len(painting)
        tar.addfile(member, BytesIO(painting))
    return skipped


def _encoded(shard: TarShard, members: Members, number: int) -> bytes:
    try:
        return bytes_of(shard.source, members, number)
    except OSError as error:
        # Not an OSError, which would be attributed to the output file.
        raise ValueError(f"{shard.source} cannot be read: {error.strerror or error}.") from error


def _painted(name: str, data: bytes, target: str, painter: Painter, recipe: PaintSettings) -> bytes:
    picture = read_arrays(name, size=recipe.size, max_pixels=recipe.max_pixels, data=data)
    try:
        levels = painter(picture)
    except ValueError as error:
        raise UnreadablePicture(f"{name} cannot be stylized: {error}") from error
    return encode_levels(levels, target, quality=recipe.quality, alpha=picture.alpha)
