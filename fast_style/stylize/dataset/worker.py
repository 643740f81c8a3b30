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
from fast_style.stylize.dataset import storage
from fast_style.stylize.dataset.plan import target_names
from fast_style.stylize.dataset.work_units import (
    FolderPart,
    PaintSettings,
    TarShard,
    Unit,
    finished,
    remove_marker,
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

    The marker is written last: wherever the worker is killed, a marker without its results does not exist.

    Raises:
        ValueError: a damaged shard, results made with other settings, or a URL that cannot be read or written.
        OSError: the disk is full or not writable.
    """
    began = time.monotonic()
    # Checked here again: after losing a machine, Ray repeats tasks that were not reported.
    [done] = finished([unit], recipe)
    if done is None:
        remove_marker(unit)
        if isinstance(unit, TarShard):
            _paint_shard(unit, painter, recipe)
        else:
            _paint_folder(unit, painter, recipe)
        [done] = finished([unit], recipe)
        assert done is not None
    return Result(unit.name, done.painted, len(done.skipped), time.monotonic() - began)


def _paint_folder(part: FolderPart, painter: Painter, recipe: PaintSettings) -> None:
    photos = [photo for photo, _ in part.pictures]
    with storage.staged_input(part.root, photos) as root, storage.staged_output(part.output) as output:
        pairs = [(root / photo, output / target) for photo, target in part.pictures]
        settings = FileSettings(size=recipe.size, quality=recipe.quality)
        results = list(paint(painter, pairs, settings, max_pixels=recipe.max_pixels))
    problems = [(os.path.relpath(r.source, root), r.problem) for r in results if r.problem is not None]
    # A staged photo has another path, but the user knows this one.
    skipped = [(name, problem.replace(str(root), part.root)) for name, problem in problems]
    write_marker(part, recipe, part.count - len(skipped), skipped, None)


def _paint_shard(shard: TarShard, painter: Painter, recipe: PaintSettings) -> None:
    with storage.staged_input(shard.folder, [shard.name]) as folder, storage.staged_output(shard.output) as output:
        source = folder / shard.name
        members = pictures_in(str(source))
        with atomic_write(output / shard.name) as file:
            with tarfile.open(fileobj=file, mode="w") as tar:
                skipped = _paint_members(source, members, tar, painter, recipe)
            size = file.tell()
    write_marker(shard, recipe, len(members.names) - len(skipped), skipped, size)


def _paint_members(
    source: Path, members: Members, tar: tarfile.TarFile, painter: Painter, recipe: PaintSettings
) -> Skipped:
    skipped: Skipped = []
    for number, target in enumerate(target_names(members.names, recipe.suffix)):
        name = name_within(str(source), members.names[number])
        try:
            painting = _painted(name, _encoded(source, members, number), target, painter, recipe)
        except UnreadablePicture as error:
            skipped.append((name, str(error)))
            continue
        # TarInfo's defaults (no owner, 1970) keep equal input giving equal files.
        member = tarfile.TarInfo(target)
        member.size = len(painting)
        tar.addfile(member, BytesIO(painting))
    return skipped


def _encoded(source: Path, members: Members, number: int) -> bytes:
    try:
        return bytes_of(str(source), members, number)
    except OSError as error:
        # Not an OSError, which would be attributed to the output file.
        raise ValueError(f"{source} cannot be read: {error.strerror or error}.") from error


def _painted(name: str, data: bytes, target: str, painter: Painter, recipe: PaintSettings) -> bytes:
    picture = read_arrays(name, size=recipe.size, max_pixels=recipe.max_pixels, data=data)
    try:
        levels = painter(picture)
    except ValueError as error:
        raise UnreadablePicture(f"{name} cannot be stylized: {error}") from error
    return encode_levels(levels, target, quality=recipe.quality, alpha=picture.alpha)
