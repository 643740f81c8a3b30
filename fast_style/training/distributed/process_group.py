"""The processes of one run: let them agree on values, and say how to go on when one of them is lost.

torchrun, SLURM or Lightning start and end the processes. This file only adds what they lack: decisions of rank 0 that
all processes follow (the run's folder, the step at which all stop), and one sentence that says how to go on.
"""

import logging
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from copy import deepcopy
from typing import Any, TypeVar

import pytorch_lightning as pl
import torch
import torch.distributed as dist
from omegaconf import DictConfig

log = logging.getLogger(__name__)
T = TypeVar("T")

#: Seconds that the processes Lightning started have for their own end after rank 0 ended.
GRACE = 30.0


class ProcessLost(ConnectionError):  # noqa: N818 - the name says what happened.
    """Another process of the run died. The message is empty in processes that should not report it."""


class Processes:
    """The processes of one run, seen from one of them; by default a single process.

    Args:
        rank: rank of this process.
        count: number of processes.
        group: process group for decisions; on the CPU, because a collective on the GPU would make it wait.

    Attributes:
        advice: returns a sentence on how to continue after a process died.
    """

    def __init__(self, rank: int = 0, count: int = 1, group: Any = None) -> None:
        self.rank, self.count = rank, count
        self.advice: Callable[[], str] = str
        self._group = group
        self._asked: tuple[Any, torch.Tensor] | None = None

    @property
    def first(self) -> bool:
        """Whether this is rank 0, which reports and writes files."""
        return self.rank == 0

    def broadcast(self, value: T) -> T:
        """Return rank 0's value in all processes."""
        values = [value]
        if self.count > 1:
            dist.broadcast_object_list(values, src=0, group=self._group)
        return values[0]

    def all_gather(self, value: T) -> list[T]:
        """Return every process's value in all processes, sorted by rank."""
        values = [value] * self.count
        if self.count > 1:
            dist.all_gather_object(values, value, group=self._group)
        return values

    def lagged_max(self, number: int) -> int:
        """Return the maximum over all processes of the previous call's numbers, so that no process waits.

        With a single process, return `number`. All processes must call this equally often.
        """
        if self.count == 1:
            return number
        answer = self.finish()
        said = torch.tensor([number])
        self._asked = dist.all_reduce(said, dist.ReduceOp.MAX, group=self._group, async_op=True), said
        return answer

    def finish(self) -> int:
        """Wait for the pending maximum and return it; 0 if there is none."""
        if self._asked is None:
            return 0
        (work, said), self._asked = self._asked, None
        work.wait()
        return int(said)

    def lost_message(self) -> str:
        """Error message after another process died; empty in processes that should not report it.

        Ranks 0 and 1 report: one of them is alive, unless both died.
        """
        if self.rank > 1:
            return ""
        what = "Another process of this run was lost (killed, out of memory, or ended by an error printed above)."
        return f"{what} {self.advice()}".strip()


@contextmanager
def connected(trainer: pl.Trainer) -> Iterator[Processes]:
    """Connect all processes of a run; Lightning starts those that no launcher started.

    Raises:
        ProcessLost: another process ended early.
        ValueError: several processes were started, but the trainer uses one.
    """
    _require_all_processes(trainer.world_size)
    if trainer.world_size == 1:
        yield Processes()
        return
    _warn_of_shared_store()
    strategy: Any = trainer.strategy
    # Lightning's requeueing saves inside a signal handler, at different steps per process; SignalCheckpoint does not.
    strategy.cluster_environment.auto_requeue = False
    environment = dict(os.environ)
    try:
        strategy.launcher.launch(strategy.setup_environment, trainer=trainer)
        group = dist.new_group(backend="gloo", timeout=strategy._timeout)
        processes = Processes(trainer.global_rank, trainer.world_size, group)
        with _lost_process_reported(processes):
            yield processes
            processes.finish()
        dist.destroy_process_group()
    finally:
        _await(getattr(strategy.launcher, "procs", []))
        _restore(environment)


@contextmanager
def _lost_process_reported(processes: Processes) -> Iterator[None]:
    """Turn the error of a collective, which a dead process makes fail, into `ProcessLost`."""
    try:
        yield
    except RuntimeError as error:
        if not (isinstance(error, dist.DistError) or "gloo" in str(error)):
            raise
        raise ProcessLost(processes.lost_message()) from error


def _await(children: list[subprocess.Popen[bytes]]) -> None:
    """Wait for the processes that Lightning started, then kill those that still run."""
    waiting = list(children)
    # Lightning's observer kills this process as soon as one of these ends with an error code. Up to here that was
    # wanted; now it would cut off the message and the exit code of this process.
    children.clear()
    until = time.monotonic() + GRACE
    for child in waiting:
        with suppress(subprocess.TimeoutExpired):
            child.wait(max(0.0, until - time.monotonic()))
        child.kill()
        child.wait()


def _restore(environment: dict[str, str]) -> None:
    """Restore the environment. With Lightning's variables the next run in this process would act as a child."""
    for name in os.environ.keys() - environment.keys():
        del os.environ[name]
    os.environ.update(environment)


def launcher_counts() -> tuple[int, int] | None:
    """Processes per machine and number of machines, as torchrun or srun started them; None without a launcher."""
    if dist.is_torchelastic_launched():
        local = int(os.environ["LOCAL_WORLD_SIZE"])
        return local, int(os.environ["WORLD_SIZE"]) // local
    if "SLURM_STEP_NUM_TASKS" in os.environ:
        machines = int(os.environ.get("SLURM_STEP_NUM_NODES", os.environ.get("SLURM_NNODES", "1")))
        return int(os.environ["SLURM_STEP_NUM_TASKS"]) // machines, machines
    return None


def _warn_of_shared_store() -> None:
    """Name the cure of an error in torchrun (seen in torch 2.14), before it makes restarts fail now and then.

    torchrun keeps one store for all restarts. A restarted process may read the address of a process that died, and a
    machine that joins later waits in vain for the address of the store.
    """
    restarts = os.environ.get("TORCHELASTIC_MAX_RESTARTS", "0") != "0"
    if restarts and os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True":
        log.warning(
            "torchrun restarts reliably only with the environment variable TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1."
        )


def resolve_auto_devices(settings: DictConfig) -> DictConfig:
    """Replace `auto` in the trainer's `devices` and `num_nodes` by what a launcher started; else 1 machine."""
    settings = deepcopy(settings)
    per_machine, machines = launcher_counts() or ("auto", 1)
    for key, count in (("devices", per_machine), ("num_nodes", machines)):
        if settings.get(key) == "auto":
            settings[key] = count
    return settings


def _require_all_processes(wanted: int) -> None:
    """Refuse several started processes with a trainer for one: they would overwrite each other's files."""
    per_machine, machines = launcher_counts() or (1, 1)
    if wanted == 1 and per_machine * machines > 1:
        raise ValueError(
            f"{per_machine * machines} processes were started, but the trainer is for one: set trainer=ddp, or start "
            "one process."
        )


def silence_nonzero_ranks() -> None:
    """Let only rank 0 log. Before the processes are connected, the launcher's variables give the rank."""
    ranks = [os.environ[name] for name in ("RANK", "SLURM_PROCID", "LOCAL_RANK") if name in os.environ]
    if ranks and ranks[0] != "0":
        logging.getLogger("fast_style").setLevel(logging.WARNING)
        logging.getLogger("fast_style.interrupts").setLevel(logging.ERROR)
