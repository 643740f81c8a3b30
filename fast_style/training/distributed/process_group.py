"""Connect the processes of a run, let them agree on values, and end them together."""

import logging
import os
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

import pytorch_lightning as pl
import torch
import torch.distributed as dist

from fast_style.interrupts import Interrupted
from fast_style.training.distributed.peer_monitor import DONE, FAILED, PeerMonitor, connect, listen

log = logging.getLogger(__name__)
T = TypeVar("T")

#: Environment variable with the process id of the process that started this one.
PARENT = "FAST_STYLE_PARENT"
#: Seconds that a process has for an orderly end after another process died.
GRACE = 10.0


class ProcessLost(ConnectionError):  # noqa: N818 - the name says what happened.
    """Another process of the run died. The message is empty in processes that should not report it."""


class Processes:
    """The processes of one run, seen from one of them; by default a single process.

    Attributes:
        rank, count: rank of this process, and number of processes.
        advice: returns a sentence on how to continue after a process died.
    """

    def __init__(self, rank: int = 0, count: int = 1) -> None:
        self.rank, self.count = rank, count
        self.advice: Callable[[], str] = str
        # Gloo, on the CPU: a collective on the GPU would make it wait.
        self._group: Any = dist.new_group(backend="gloo") if count > 1 else None
        self._asked: tuple[Any, torch.Tensor] | None = None
        self._said = False

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

    def lost_message(self, ended: int) -> str:
        """Error message for a process that ended; empty at the second call, and in processes that should not report."""
        speaker = 1 if ended == 0 else 0
        if self._said or ended == FAILED or self.rank != speaker:
            return ""
        self._said = True
        what = f"Process {ended} of {self.count} was lost (killed or out of memory), so the others ended too."
        return f"{what} {self.advice()}".strip()


@contextmanager
def connected(trainer: pl.Trainer) -> Iterator[Processes]:
    """Start missing processes, connect all processes of a run, and end them together.

    Raises:
        ProcessLost: a process was killed or ended with an error of its own.
        ValueError: several processes were started, but the trainer uses one.
    """
    _require_all_processes(trainer.world_size)
    if trainer.world_size == 1:
        yield Processes()
        return
    environment = dict(os.environ)
    children: list[subprocess.Popen[bytes]] = []
    patience = GRACE / 2
    try:
        _start(trainer, children)
        processes = Processes(trainer.global_rank, trainer.world_size)
        with _all_or_none(processes, _peer_monitor(trainer, processes)):
            yield processes
        patience = 3 * GRACE
    finally:
        _await(children, patience)
        _restore(environment)


@contextmanager
def _all_or_none(processes: Processes, monitor: PeerMonitor) -> Iterator[None]:
    """End together with the other processes, or tell them that this process failed."""
    try:
        yield
        processes.finish()
        monitor.leave(DONE)
        dist.destroy_process_group()
    except Interrupted:
        monitor.leave(DONE)  # All stop at the same step.
        raise
    except BaseException as error:
        # A dead process also makes collectives fail, maybe before the peer monitor reports it.
        ended = monitor.ended(GRACE / 2) if isinstance(error, RuntimeError) else None
        if ended is None:
            monitor.leave(FAILED)
            raise
        raise ProcessLost(processes.lost_message(ended)) from error


def _restore(environment: dict[str, str]) -> None:
    """Restore the environment. With Lightning's variables the next run in this process would act as a child."""
    for name in os.environ.keys() - environment.keys():
        del os.environ[name]
    os.environ.update(environment)


def _require_all_processes(wanted: int) -> None:
    """Refuse several started processes with a trainer for one: they would overwrite each other's files."""
    starter = "WORLD_SIZE" if dist.is_torchelastic_launched() else "SLURM_STEP_NUM_TASKS"
    started = int(os.environ.get(starter, "1"))
    if wanted == 1 and started > 1:
        raise ValueError(
            f"{started} processes were started, but the trainer is for one: set trainer=ddp with trainer.devices (per "
            "machine) and trainer.num_nodes, or start one process."
        )


def _start(trainer: pl.Trainer, children: list[subprocess.Popen[bytes]]) -> None:
    """Start this machine's other processes, unless torchrun, SLURM or a parent did; wait until all are connected."""
    strategy: Any = trainer.strategy
    # Lightning's requeueing saves inside a signal handler, at different steps per process; SignalCheckpoint does not.
    strategy.cluster_environment.auto_requeue = False
    if not strategy.cluster_environment.creates_processes_externally:
        os.environ[PARENT] = str(os.getpid())

    def meet() -> None:
        children.extend(getattr(strategy.launcher, "procs", []))
        if children:
            # Lightning's observer of the children would kill this process, without a message, 5 s after a child's end.
            strategy.launcher.procs.clear()
        with _watched(children):
            strategy.setup_environment()

    strategy.launcher.launch(meet, trainer=trainer)


def _peer_monitor(trainer: pl.Trainer, processes: Processes) -> PeerMonitor:
    strategy: Any = trainer.strategy
    if processes.first:
        lines = listen(processes.count, processes.broadcast)
    else:
        lines = connect(processes.rank, strategy.cluster_environment.main_address, processes.broadcast)

    def end(ended: int) -> None:
        time.sleep(GRACE)
        # The process still runs: its main thread waits on a GPU for the dead process. Only an exit ends that.
        _end_at_once(processes.lost_message(ended))

    return PeerMonitor(lines, end)


@contextmanager
def _watched(children: list[subprocess.Popen[bytes]]) -> Iterator[None]:
    """Until all are connected, end this process if another one of this machine ended; else it would wait for hours."""
    parent = int(os.environ.get(PARENT, 0))
    met = threading.Event()

    def watch() -> None:
        while not met.wait(0.25):
            if not children and parent and os.getppid() != parent:
                _end_at_once("")
            for number, child in enumerate(children, start=1):
                if child.poll() is not None:
                    _await(children, 0)
                    _end_at_once(f"Process {number} ended before the training started; its error message is above.")

    watcher = threading.Thread(target=watch, name="watch-start", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        met.set()
        watcher.join()


def _await(children: list[subprocess.Popen[bytes]], seconds: float) -> None:
    """Wait up to `seconds` for the children, then kill those that still run."""
    until = time.monotonic() + seconds
    for child in children:
        with suppress(subprocess.TimeoutExpired):
            child.wait(max(0.0, until - time.monotonic()))
        child.kill()
        child.wait()


def _end_at_once(sentence: str) -> None:
    if sentence:
        log.error("Error: %s", sentence)
    # An exception would not reach a main thread that waits in a collective.
    os._exit(1)


def silence_nonzero_ranks() -> None:
    """Let only rank 0 log. Before the processes are connected, the launcher's variables give the rank."""
    ranks = [os.environ[name] for name in ("RANK", "SLURM_PROCID", "LOCAL_RANK") if name in os.environ]
    if ranks and ranks[0] != "0":
        logging.getLogger("fast_style").setLevel(logging.WARNING)
        logging.getLogger("fast_style.interrupts").setLevel(logging.ERROR)
