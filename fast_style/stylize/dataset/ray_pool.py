"""Stylize work units with many workers, on Ray Data. Only this file imports Ray."""

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

# Ray sends no usage reports, and prints its messages to its log files only.
QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_DATA_LOG_LEVEL": "CRITICAL", "RAY_BACKEND_LOG_LEVEL": "fatal"}


def check_installed() -> None:
    """Raise a ValueError if Ray Data is not installed."""
    if not all(map(find_spec, ("ray", "pyarrow"))):
        raise ValueError("Data sets need Ray, which is not installed: pip install 'fast_style[ray]'.")


@contextmanager
def ray_at(address: str | None) -> Iterator[None]:
    """Connect to the Ray cluster at the address, or start Ray on this machine; an initialised Ray is reused."""
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
        raise ValueError(f"No Ray cluster answers at ray_address={address}; use null to start Ray here.") from error
    try:
        yield
    finally:
        ray.shutdown()


def paint_units(
    units: Sequence[Unit], recipe: PaintSettings, stylizer: Mapping[str, Any], *, workers: int | None
) -> Iterator[Result]:
    """Stylize units; yield their results in any order, as they finish.

    Args:
        units: the unfinished units.
        recipe: the settings for all units.
        stylizer: the arguments of `load_stylizer`.
        workers: number of workers; None is one per GPU, or one per two CPU cores.

    Raises:
        ValueError: a worker met an error that ends the run; with its message.
    """
    import ray.data

    share = shares(ray.cluster_resources(), len(units), stylizer, workers)
    # Pickled: a path need not be valid Unicode, but Arrow strings must be. One block per unit: a block is one task.
    rows = ray.data.from_items([{"unit": pickle.dumps(unit)} for unit in units], override_num_blocks=len(units))
    results = rows.map(
        UnitPainter,
        fn_constructor_args=(recipe, dict(stylizer), share.workers, share.on_a_gpu),
        # One task at a time: a unit takes minutes, and must not wait for a busy worker while another is idle.
        compute=ray.data.ActorPoolStrategy(size=share.workers, max_tasks_in_flight_per_actor=1),
        num_cpus=share.cpus,
        num_gpus=share.gpus,
        # Otherwise each worker would start one thread per core. All runtimes obey this variable.
        runtime_env={"env_vars": {"OMP_NUM_THREADS": str(share.threads)}},
    )
    for row in results.iter_rows():
        if row["problem"]:
            raise ValueError(row["problem"])
        yield Result(**row)


class UnitPainter:
    """A worker: stylizes units one after the other; loads the network with the first unit.

    Args:
        recipe: the settings for all units.
        stylizer: the arguments of `load_stylizer`.
        workers: number of workers; they are assumed to share the memory of this machine.
        on_a_gpu: number of workers that share one GPU.
    """

    def __init__(self, recipe: PaintSettings, stylizer: Mapping[str, Any], workers: int = 1, on_a_gpu: int = 1) -> None:
        self.recipe, self.settings, self.workers, self.on_a_gpu = recipe, dict(stylizer), workers, on_a_gpu
        self.painter: Painter | None = None

    def __call__(self, row: Mapping[str, bytes]) -> dict[str, Any]:
        """Map a row of Ray Data with a pickled `unit` to the fields of a `Result`; errors go into its `problem`."""
        unit: Unit = pickle.loads(row["unit"])
        try:
            if self.painter is None:
                self.painter = self._prepared()
            return asdict(paint_unit(unit, self.painter, self.recipe))
        except (ValueError, OSError) as error:
            # Returned, not raised: Ray wraps exceptions in its own errors with the tracebacks of two processes.
            return asdict(Result(unit.name, problem=_sentence(error)))

    def _prepared(self) -> Painter:
        stylizer = load_stylizer(**self.settings)
        device = stylizer.runtime.device
        shared = MemoryBudget.of(device, painters=self.workers, painters_on_device=self.on_a_gpu)
        return Painter(stylizer, budget=shared)


@dataclass(frozen=True)
class Share:
    """Number of workers, and the CPU cores, GPUs (both may be fractions) and threads of each worker."""

    workers: int
    cpus: float
    gpus: float
    threads: int

    @property
    def on_a_gpu(self) -> int:
        """Number of workers that share one GPU."""
        return max(1, math.floor(1 / self.gpus + 1e-9)) if self.gpus else 1


def shares(resources: Mapping[str, float], units: int, stylizer: Mapping[str, Any], workers: int | None) -> Share:
    """Divide the `CPU` and `GPU` resources of a cluster among the workers; there are no more workers than units."""
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
