"""Stylize work units with many workers, on Ray Data. Only this file imports Ray."""

import logging
import math
import os
import pickle
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
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
        workers: the largest number of workers; None is one per GPU, or one per two CPU cores.

    Raises:
        ValueError: a worker met an error that ends the run; with its message.
    """
    import ray.data

    machines = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    share = shares(machines, len(units), stylizer, workers)
    # A busy worker has one task in flight: then a pool of busy workers must count as full, so that it grows.
    ray.data.DataContext.get_current().autoscaling_config.actor_pool_util_upscaling_threshold = 1.0
    # Pickled: a path need not be valid Unicode, but Arrow strings must be. One block per unit: a block is one task.
    rows = ray.data.from_items([{"unit": pickle.dumps(unit)} for unit in units], override_num_blocks=len(units))
    results = rows.map(
        UnitPainter,
        fn_constructor_args=(recipe, dict(stylizer), Path(stylizer["path"]).read_bytes(), share),
        # The first worker starts the run, and the pool grows with the cluster. One task at a time: a unit takes
        # minutes, and must not wait for a busy worker while another is idle.
        compute=ray.data.ActorPoolStrategy(
            min_size=1,
            initial_size=max(1, min(share.workers, sum(map(share.on, machines)))),
            max_size=share.workers,
            max_tasks_in_flight_per_actor=1,
        ),
        num_cpus=share.cpus,
        num_gpus=share.gpus,
        # Otherwise each worker would start one thread per core. All runtimes obey this variable.
        runtime_env={"env_vars": {"OMP_NUM_THREADS": str(share.threads)}},
    )
    for row in results.iter_rows():
        if row["problem"]:
            raise ValueError(row["problem"])
        yield Result(**row)


@dataclass(frozen=True)
class Share:
    """The largest number of workers, and the CPU cores, GPUs (both may be fractions) and threads of each worker."""

    workers: int = 1
    cpus: float = 1
    gpus: float = 0.0
    threads: int = 1

    @property
    def on_a_gpu(self) -> int:
        """Number of workers that share one GPU."""
        return max(1, _times(1, self.gpus)) if self.gpus else 1

    def on(self, node: Mapping[str, float]) -> int:
        """The largest number of workers on a machine with these `CPU` and `GPU` resources."""
        fit = _times(node.get("CPU", 0), self.cpus)
        return min(self.workers, fit, _times(node.get("GPU", 0), self.gpus) if self.gpus else fit)


class UnitPainter:
    """A worker: stylizes units one after the other; loads the network with the first unit.

    Args:
        recipe: the settings for all units.
        stylizer: the arguments of `load_stylizer`.
        network: content of the network file, for machines that do not have the file.
        share: of this worker; None is the whole machine.
    """

    def __init__(
        self, recipe: PaintSettings, stylizer: Mapping[str, Any], network: bytes = b"", share: Share | None = None
    ) -> None:
        self.recipe, self.settings, self.network, self.share = recipe, dict(stylizer), network, share
        self.painter: Painter | None = None
        self.folder: TemporaryDirectory[str] | None = None

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
        stylizer = load_stylizer(**self.settings | {"path": self._network_file()})
        device = stylizer.runtime.device
        share, here = (self.share, max(1, self.share.on(_this_machine()))) if self.share else (Share(), 1)
        shared = MemoryBudget.of(device, painters=here, painters_on_device=min(here, share.on_a_gpu))
        return Painter(stylizer, budget=shared)

    def _network_file(self) -> str:
        """The network file: the given one if this machine has it, else a copy that the worker keeps."""
        path = Path(self.settings["path"])
        if not self.network or (path.is_file() and path.read_bytes() == self.network):
            return str(path)
        self.folder = TemporaryDirectory(prefix="fast_style_")
        copy = Path(self.folder.name, path.name)
        copy.write_bytes(self.network)
        return str(copy)


def shares(nodes: Sequence[Mapping[str, float]], units: int, stylizer: Mapping[str, Any], workers: int | None) -> Share:
    """The share of each worker, from the `CPU` and `GPU` resources of the machines that a cluster has now.

    There are no more workers than units. Machines that join later get workers with the same share.
    """
    for_cpus = stylizer["runtime"] in ("openvino", "onnxruntime") and stylizer["device"] == "auto"
    with_gpus = [] if for_cpus or stylizer["device"] not in ("auto", "cuda") else [n for n in nodes if n.get("GPU")]
    gpus = int(sum(node["GPU"] for node in with_gpus))
    # A cluster may have no cores yet; then one core for each worker fits every machine that will join.
    cores = [max(1, int(node.get("CPU", 0))) for node in with_gpus or nodes if with_gpus or node.get("CPU")] or [1]
    count = min(units, workers or gpus or sum(max(1, each // 2) for each in cores))
    each_gpu = min(1.0, gpus / count)
    if with_gpus:
        fit = [min(count, _times(node["GPU"], each_gpu)) for node in with_gpus]
        cpus = min(core / max(1, number) for core, number in zip(cores, fit, strict=True))
    else:
        cpus = _largest_part(cores, count)
    threads = max(1, int(cpus))
    return Share(min(units, workers or units), min(threads, cpus), each_gpu, threads)


def _largest_part(cores: Sequence[int], count: int) -> float:
    """The largest number of cores for each worker with which `count` workers fit on the machines."""
    parts = {core / number for core in set(cores) for number in range(1, count + 1)}
    return max(part for part in parts if sum(_times(core, part) for core in cores) >= count)


def _times(whole: float, part: float) -> int:
    """How often a part fits; sums of fractions are not exact."""
    return math.floor(whole / part + 1e-9)


def _this_machine() -> dict[str, float]:
    import ray

    [here] = [node for node in ray.nodes() if node["NodeID"] == ray.get_runtime_context().get_node_id()]
    return dict(here["Resources"])


def _sentence(error: ValueError | OSError) -> str:
    if isinstance(error, OSError) and error.strerror:
        return in_one_line(f"{error.filename}: {error.strerror}." if error.filename else error.strerror)
    return in_one_line(str(error))
