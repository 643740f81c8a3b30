"""Painting a whole data set: what is finished stays, the rest goes to the workers, and what was skipped is listed."""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path

from filelock import FileLock, Timeout

from fast_style.atomic_files import remove_leftovers
from fast_style.data.shards.skipped import write_skipped
from fast_style.images.decode import MAX_PIXELS
from fast_style.runtimes.cache import read_network_file
from fast_style.runtimes.select import choose
from fast_style.stylize.dataset.ray_pool import check_installed, paint_units, ray_at
from fast_style.stylize.dataset.work_units import (
    FINISHED,
    FolderPart,
    Marker,
    PaintSettings,
    Unit,
    finished,
    plan_units,
)
from fast_style.stylize.dataset.worker import Result


@dataclass(frozen=True)
class DatasetProgress:
    """How far it is, in pictures.

    Attributes:
        total: all there are.
        before: those of units that an earlier run finished.
        painted, skipped: so far, those of earlier runs included.
    """

    total: int
    before: int
    painted: int
    skipped: int

    @property
    def done(self) -> int:
        """Pictures that were dealt with."""
        return self.painted + self.skipped


def paint_dataset(
    source: str,
    output: str,
    *,
    ckpt: str | os.PathLike[str],
    size: int | None = None,
    quality: int = 95,
    suffix: str | None = None,
    max_pixels: int = MAX_PIXELS,
    runtime: str = "auto",
    precision: str = "auto",
    device: str = "auto",
    cache: str | os.PathLike[str] | None = None,
    workers: int | None = None,
    unit: int = 500,
    ray_address: str | None = None,
    progress: Callable[[DatasetProgress], None] = lambda _: None,
) -> DatasetProgress:
    """Paint a folder tree, or tar shards; started again, it goes on with the units that are not finished.

    Args:
        source, output: of `plan_units`; all workers see both, and the network file.
        ckpt, runtime, precision, device, cache: of `load_stylizer`.
        size, quality, suffix, max_pixels, unit: of `PaintSettings`.
        workers: processes that paint; None: one a GPU, or one for two cores.
        ray_address: of a Ray cluster to join, as `auto`; None starts Ray on this machine and ends it.
        progress: told after each unit.

    Raises:
        ValueError: Ray is not installed, nothing to paint, bad settings, or an output begun with others.
        OSError: the output can't be written.
    """
    check_installed()
    if workers is not None and workers < 1:
        raise ValueError(f"workers is at least 1, or null for as many as fit; got {workers}.")
    choose(runtime, device)
    recipe = PaintSettings(read_network_file(ckpt).digest, size, quality, suffix, max_pixels, unit)
    stylizer: dict[str, str | None] = {"runtime": runtime, "precision": precision, "device": device}
    stylizer |= {"path": os.path.abspath(ckpt), "cache": os.path.abspath(cache) if cache else None}
    units = plan_units(source, output, recipe)
    with _alone_in(Path(output)):
        markers = [finished(each, recipe) for each in units]
        waiting = [each for each, marker in zip(units, markers, strict=True) if marker is None]
        _tidy(Path(output), waiting)
        reached = _start(units, [marker for marker in markers if marker])
        progress(reached)
        if waiting:
            with ray_at(ray_address):
                for result in paint_units(waiting, recipe, stylizer, workers=workers):
                    reached = _after(reached, result)
                    progress(reached)
        markers = [finished(each, recipe) for each in units]
        write_skipped(Path(output), chain.from_iterable(marker.skipped for marker in markers if marker))
    return reached


@contextmanager
def _alone_in(output: Path) -> Iterator[None]:
    lock = output / FINISHED / ".lock"
    lock.parent.mkdir(parents=True, exist_ok=True)
    try:
        # Not waited for: who starts the same work twice wants to know.
        with FileLock(lock, timeout=0):
            try:
                yield
            finally:
                with suppress(OSError):
                    lock.unlink()
    except Timeout as error:
        raise ValueError(f"Another process is painting into {output}; wait for it, or name another output.") from error


def _tidy(output: Path, waiting: Sequence[Unit]) -> None:
    """Remove what killed workers left half-written."""
    folders = {output, output / FINISHED}
    for unit in waiting:
        if isinstance(unit, FolderPart):
            folders |= {Path(unit.output, target).parent for _, target in unit.pictures}
    for folder in folders:
        remove_leftovers(folder)


def _start(units: Sequence[Unit], markers: Sequence[Marker]) -> DatasetProgress:
    """Where a run begins, by the markers of earlier ones."""
    painted, skipped = sum(m.painted for m in markers), sum(len(m.skipped) for m in markers)
    return DatasetProgress(sum(unit.count for unit in units), painted + skipped, painted, skipped)


def _after(reached: DatasetProgress, result: Result) -> DatasetProgress:
    painted, skipped = reached.painted + result.painted, reached.skipped + result.skipped
    return replace(reached, painted=painted, skipped=skipped)
