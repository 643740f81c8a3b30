"""Stylize a whole data set: keep finished units, send the others to the workers, and list the skipped images."""

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
    """Progress in images.

    Attributes:
        total: images of the data set.
        before: images of units that an earlier run finished.
        painted, skipped: stylized and skipped images so far, including earlier runs.
    """

    total: int
    before: int
    painted: int
    skipped: int

    @property
    def done(self) -> int:
        """Stylized and skipped images together."""
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
    """Stylize a folder tree or tar shards; a second call resumes with the unfinished units.

    Args:
        source, output: as for `plan_units`; all workers must see both, and the network file.
        ckpt, runtime, precision, device, cache: as for `load_stylizer`.
        size, quality, suffix, max_pixels, unit: as for `PaintSettings`.
        workers: number of worker processes; None is one per GPU, or one per two CPU cores.
        ray_address: of a Ray cluster to join, such as `auto`; None starts and stops Ray on this machine.
        progress: called after each unit.

    Raises:
        ValueError: Ray is not installed, no images, invalid settings, or an output begun with other settings.
        OSError: the output cannot be written.
    """
    check_installed()
    if workers is not None and workers < 1:
        raise ValueError(f"workers is at least 1, or null for one per GPU or per two CPU cores; got {workers}.")
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
        # No waiting: starting the same work twice is a mistake.
        with FileLock(lock, timeout=0):
            try:
                yield
            finally:
                with suppress(OSError):
                    lock.unlink()
    except Timeout as error:
        raise ValueError(f"Another process is writing to {output}; wait for it, or name another output.") from error


def _tidy(output: Path, waiting: Sequence[Unit]) -> None:
    """Remove partial files that killed workers left behind."""
    folders = {output, output / FINISHED}
    for unit in waiting:
        if isinstance(unit, FolderPart):
            folders |= {Path(unit.output, target).parent for _, target in unit.pictures}
    for folder in folders:
        remove_leftovers(folder)


def _start(units: Sequence[Unit], markers: Sequence[Marker]) -> DatasetProgress:
    """The progress at the start of a run, from the markers of earlier runs."""
    painted, skipped = sum(m.painted for m in markers), sum(len(m.skipped) for m in markers)
    return DatasetProgress(sum(unit.count for unit in units), painted + skipped, painted, skipped)


def _after(reached: DatasetProgress, result: Result) -> DatasetProgress:
    painted, skipped = reached.painted + result.painted, reached.skipped + result.skipped
    return replace(reached, painted=painted, skipped=skipped)
