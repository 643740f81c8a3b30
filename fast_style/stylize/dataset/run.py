"""Stylize a whole data set: keep finished units, send the others to the workers, and list the skipped images."""

import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path

from filelock import FileLock, Timeout

from fast_style.atomic_files import remove_leftovers
from fast_style.data.shards.index import is_remote
from fast_style.data.shards.skipped import write_skipped
from fast_style.images.decode import MAX_PIXELS
from fast_style.runtimes.cache import read_network_file
from fast_style.runtimes.select import choose
from fast_style.stylize.dataset import storage
from fast_style.stylize.dataset.plan import plan
from fast_style.stylize.dataset.ray_pool import check_installed, paint_units, ray_at
from fast_style.stylize.dataset.work_units import FINISHED, FolderPart, Marker, PaintSettings, Unit, finished
from fast_style.stylize.dataset.worker import Result


@dataclass(frozen=True)
class DatasetProgress:
    """Progress in images.

    Attributes:
        total: images of the data set.
        before: images of units that an earlier run finished.
        painted, skipped: stylized and skipped images so far, including earlier runs.
        left_out: as in `Plan`.
    """

    total: int
    before: int
    painted: int
    skipped: int
    left_out: Counter[str] = field(default_factory=Counter)

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
        source, output: as for `plan`; all workers must reach both.
        ckpt, runtime, precision, device, cache: as for `load_stylizer`; the workers get the network file from here.
        size, quality, suffix, max_pixels, unit: as for `PaintSettings`.
        workers: the largest number of worker processes; None is as many as the cluster has room for, also while it
            grows: one per GPU, or one per two CPU cores.
        ray_address: of a Ray cluster to join, such as `auto`; None starts and stops Ray on this machine.
        progress: called after each unit.

    Raises:
        ValueError: Ray is not installed, no images, invalid settings, an output begun with other settings, or a URL
            that cannot be read or written.
        OSError: the output cannot be written.
    """
    check_installed()
    if workers is not None and workers < 1:
        raise ValueError(f"workers is at least 1, or null for one per GPU or per two CPU cores; got {workers}.")
    choose(runtime, device)
    recipe = PaintSettings(read_network_file(ckpt).digest, size, quality, suffix, max_pixels, unit)
    stylizer: dict[str, str | None] = {"runtime": runtime, "precision": precision, "device": device}
    stylizer |= {"path": os.path.abspath(ckpt), "cache": os.path.abspath(cache) if cache else None}
    work = plan(source, output, recipe)
    output = storage.normal(output)
    with _alone_in(output):
        markers = finished(work.units, recipe)
        waiting = [each for each, marker in zip(work.units, markers, strict=True) if marker is None]
        _tidy(output, waiting)
        _list_skipped(output, markers)  # Already now, so that an output that cannot be written is found at once.
        reached = replace(_start(work.units, markers), left_out=work.left_out)
        progress(reached)
        if waiting:
            with ray_at(ray_address):
                for result in paint_units(waiting, recipe, stylizer, workers=workers):
                    reached = _after(reached, result)
                    progress(reached)
            _list_skipped(output, finished(work.units, recipe))
    return reached


@contextmanager
def _alone_in(output: str) -> Iterator[None]:
    """Refuse a second run on the same output; an object store has no locks, so there two runs do the work twice."""
    if is_remote(output):
        yield
        return
    lock = Path(output, FINISHED, ".lock")
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


def _tidy(output: str, waiting: Sequence[Unit]) -> None:
    """Remove partial files that killed workers left behind; an object store shows none."""
    if is_remote(output):
        return
    folders = {Path(output), Path(output, FINISHED)}
    for unit in waiting:
        if isinstance(unit, FolderPart):
            folders |= {Path(unit.output, target).parent for _, target in unit.pictures}
    for folder in folders:
        remove_leftovers(folder)


def _list_skipped(output: str, markers: Sequence[Marker | None]) -> None:
    with storage.staged_output(output) as folder:
        write_skipped(folder, chain.from_iterable(marker.skipped for marker in markers if marker))


def _start(units: Sequence[Unit], markers: Sequence[Marker | None]) -> DatasetProgress:
    """The progress at the start of a run, from the markers of earlier runs."""
    painted = sum(marker.painted for marker in markers if marker)
    skipped = sum(len(marker.skipped) for marker in markers if marker)
    return DatasetProgress(sum(unit.count for unit in units), painted + skipped, painted, skipped)


def _after(reached: DatasetProgress, result: Result) -> DatasetProgress:
    painted, skipped = reached.painted + result.painted, reached.skipped + result.skipped
    return replace(reached, painted=painted, skipped=skipped)
