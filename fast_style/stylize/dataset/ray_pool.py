"""Painting units with many workers, on Ray Data; the only file that knows Ray."""

import logging
import math
import os
import pickle
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from typing import Any

from fast_style.data.shards.skipped import in_one_line
from fast_style.stylize.dataset.work_units import PaintSettings, Unit
from fast_style.stylize.dataset.worker import Result, paint_unit
from fast_style.stylize.memory_budget import MemoryBudget
from fast_style.stylize.painter import Painter
from fast_style.stylize.stylizer import load_stylizer

# Nothing is reported to Ray's makers, and what Ray says of its own doings goes to its logs alone.
QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_DATA_LOG_LEVEL": "CRITICAL", "RAY_BACKEND_LOG_LEVEL": "fatal"}


def check_installed() -> None:
    """ValueError if Ray Data is not."""
    if not all(map(find_spec, ("ray", "pyarrow"))):
        raise ValueError("Painting a data set takes Ray: pip install 'fast_style[ray]'.")


@contextmanager
def ray_at(address: str | None) -> Iterator[None]:
    """A Ray to work with, on this machine or at the address; one that the process has already stays."""
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    import ray.data

    ray.data.DataContext.get_current().enable_progress_bars = False
    if ray.is_initialized():
        yield
        return
    quiet = {"log_to_driver": False, "logging_level": logging.ERROR}
    try:
        ray.init(address=address or "local", include_dashboard=None if address else False, **quiet)
    except ConnectionError as error:
        raise ValueError(f"No Ray answers at ray_address={address}; null starts one here.") from error
    try:
        yield
    finally:
        ray.shutdown()


def paint_units(
    units: Sequence[Unit], recipe: PaintSettings, stylizer: Mapping[str, Any], *, workers: int | None
) -> Iterator[Result]:
    """Paint units; yield results as they come, in any order.

    Args:
        units: not finished yet.
        recipe: how to paint them.
        stylizer: the arguments of `load_stylizer`.
        workers: their number; None: one a GPU, or one for two cores.

    Raises:
        ValueError: a worker met what ends the run; its sentence.
    """
    import ray.data

    share = shares(ray.cluster_resources(), len(units), stylizer, workers)
    # Bytes, since a path need not be Unicode and Arrow's texts are; a block each, since a block is a worker's task.
    rows = ray.data.from_items([{"unit": pickle.dumps(unit)} for unit in units], override_num_blocks=len(units))
    results = rows.map(
        UnitPainter,
        fn_constructor_args=(recipe, dict(stylizer), share.workers, share.on_a_gpu),
        # One at a time: a unit takes minutes, and none should wait for a slow worker while others are idle.
        compute=ray.data.ActorPoolStrategy(size=share.workers, max_tasks_in_flight_per_actor=1),
        num_cpus=share.cpus,
        num_gpus=share.gpus,
        # Left alone, each worker would start as many threads as there are cores; all runtimes heed this.
        runtime_env={"env_vars": {"OMP_NUM_THREADS": str(share.threads)}},
    )
    for row in results.iter_rows():
        if row["problem"]:
            raise ValueError(row["problem"])
        yield Result(**row)


class UnitPainter:
    """Paints units one after the other, with a network that it loads for the first.

    Args:
        recipe: how.
        stylizer: the arguments of `load_stylizer`.
        workers: how many there are, on this machine perhaps; they share its memory.
        on_a_gpu: how many of them share one GPU.
    """

    def __init__(self, recipe: PaintSettings, stylizer: Mapping[str, Any], workers: int = 1, on_a_gpu: int = 1) -> None:
        self.recipe, self.settings, self.workers, self.on_a_gpu = recipe, dict(stylizer), workers, on_a_gpu
        self.painter: Painter | None = None

    def __call__(self, row: Mapping[str, bytes]) -> dict[str, Any]:
        """A row of Ray Data with a pickled `unit`, to one of `Result`; what ends the run is the result's problem."""
        unit: Unit = pickle.loads(row["unit"])
        try:
            if self.painter is None:
                self.painter = self._prepared()
            return asdict(paint_unit(unit, self.painter, self.recipe))
        except (ValueError, OSError) as error:
            # Raised, it would come back wrapped in Ray's own errors, with the tracebacks of two processes.
            return asdict(Result(unit.name, problem=_sentence(error)))

    def _prepared(self) -> Painter:
        stylizer = load_stylizer(**self.settings)
        device = stylizer.runtime.device
        shared = MemoryBudget.of(device, painters=self.workers, painters_on_device=self.on_a_gpu)
        return Painter(stylizer, budget=shared)


@dataclass(frozen=True)
class Share:
    """Number of workers, and what each gets: cores and GPUs, whole or in part, and threads."""

    workers: int
    cpus: float
    gpus: float
    threads: int

    @property
    def on_a_gpu(self) -> int:
        """Number of workers that share one GPU."""
        return max(1, math.floor(1 / self.gpus + 1e-9)) if self.gpus else 1


def shares(resources: Mapping[str, float], units: int, stylizer: Mapping[str, Any], workers: int | None) -> Share:
    """Divide the `CPU` and `GPU` of a cluster among workers, of which there are no more than units."""
    for_cpus = stylizer["runtime"] in ("openvino", "onnxruntime") and stylizer["device"] == "auto"
    gpus = 0 if for_cpus or stylizer["device"] not in ("auto", "cuda") else int(resources.get("GPU", 0))
    cpus = max(1, int(resources.get("CPU", 1)))
    count = min(units, workers or gpus or max(1, cpus // 2))
    threads = max(1, cpus // count)
    return Share(count, min(threads, cpus / count), min(1.0, gpus / count), threads)


def _sentence(error: ValueError | OSError) -> str:
    if isinstance(error, OSError) and error.strerror:
        return in_one_line(f"{error.filename}: {error.strerror}." if error.filename else error.strerror)
    return in_one_line(str(error))
