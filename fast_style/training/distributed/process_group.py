"""Meeting the other processes of a run, agreeing with them, and ending with them."""

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

#: The variable by which a process that this one started knows who did.
PARENT = "FAST_STYLE_PARENT"
#: Seconds that a process has to end in order after another one is gone.
GRACE = 10.0


class ProcessLost(ConnectionError):  # noqa: N818 - it says what happened.
    """Another process of the run is gone; the sentence is empty where another process says it."""


class Processes:
    """The processes of one run, this one among them; alone if nothing else is said.

    Attributes:
        rank, count: this one's number, from 0, and how many there are.
        advice: says how to go on once one is lost.
    """

    def __init__(self, rank: int = 0, count: int = 1) -> None:
        self.rank, self.count = rank, count
        self.advice: Callable[[], str] = str
        # Over the CPU: asking a GPU would make it wait.
        self._group: Any = dist.new_group(backend="gloo") if count > 1 else None
        self._asked: tuple[Any, torch.Tensor] | None = None
        self._said = False

    @property
    def first(self) -> bool:
        """Whether this is the process that speaks and writes."""
        return self.rank == 0

    def broadcast(self, value: T) -> T:
        """The first process's value, in all of them."""
        values = [value]
        if self.count > 1:
            dist.broadcast_object_list(values, src=0, group=self._group)
        return values[0]

    def all_gather(self, value: T) -> list[T]:
        """Every process's value, in all of them."""
        values = [value] * self.count
        if self.count > 1:
            dist.all_gather_object(values, value, group=self._group)
        return values

    def lagged_max(self, number: int) -> int:
        """The largest number that any process said the time before, so that nobody waits for the answer.

        Alone, it is the number itself. All processes call it equally often.
        """
        if self.count == 1:
            return number
        answer = self.finish()
        said = torch.tensor([number])
        self._asked = dist.all_reduce(said, dist.ReduceOp.MAX, group=self._group, async_op=True), said
        return answer

    def finish(self) -> int:
        """Wait for the answer that is under way, and return it."""
        if self._asked is None:
            return 0
        (work, said), self._asked = self._asked, None
        work.wait()
        return int(said)

    def lost_message(self, ended: int) -> str:
        """What there is to say of a process that ended; nothing the second time, or where another process speaks."""
        speaker = 1 if ended == 0 else 0
        if self._said or ended == FAILED or self.rank != speaker:
            return ""
        self._said = True
        what = f"Process {ended} of {self.count} was lost, killed or out of memory, and the others ended with it."
        return f"{what} {self.advice()}".strip()


@contextmanager
def connected(trainer: pl.Trainer) -> Iterator[Processes]:
    """All processes of a run: start those that nobody has started, meet, and afterwards leave together.

    Raises:
        ProcessLost: one of them was killed or ended with an error of its own.
        ValueError: other processes were started than the trainer is to use.
    """
    _refuse_strays(trainer.world_size)
    if trainer.world_size == 1:
        yield Processes()
        return
    environment = dict(os.environ)
    children: list[subprocess.Popen[bytes]] = []
    patience = GRACE / 2
    try:
        _start(trainer, children)
        processes = Processes(trainer.global_rank, trainer.world_size)
        with _all_or_none(processes, _lifeline(trainer, processes)):
            yield processes
        patience = 3 * GRACE
    finally:
        _await(children, patience)
        _restore(environment)


@contextmanager
def _all_or_none(processes: Processes, monitor: PeerMonitor) -> Iterator[None]:
    """Leave with the others, or let them know that this process does not."""
    try:
        yield
        processes.finish()
        monitor.leave(DONE)
        dist.destroy_process_group()
    except Interrupted:
        monitor.leave(DONE)  # All stop at the same step.
        raise
    except BaseException as error:
        # The loss of another process shows as an error of a collective, maybe before the peer monitor tells of it.
        ended = monitor.ended(GRACE / 2) if isinstance(error, RuntimeError) else None
        if ended is None:
            monitor.leave(FAILED)
            raise
        raise ProcessLost(processes.lost_message(ended)) from error


def _restore(environment: dict[str, str]) -> None:
    """Forget what Lightning told its children, or another run in this process would take itself for one."""
    for name in os.environ.keys() - environment.keys():
        del os.environ[name]
    os.environ.update(environment)


def _refuse_strays(wanted: int) -> None:
    """Two trainings must not write over each other because a starter was told of more processes than the trainer."""
    starter = "WORLD_SIZE" if dist.is_torchelastic_launched() else "SLURM_STEP_NUM_TASKS"
    started = int(os.environ.get(starter, "1"))
    if wanted == 1 and started > 1:
        raise ValueError(
            f"{started} processes were started and the trainer is for one; say trainer=ddp with trainer.devices (a "
            "machine) and trainer.num_nodes, or start one process."
        )


def _start(trainer: pl.Trainer, children: list[subprocess.Popen[bytes]]) -> None:
    """Start the other processes of this machine, unless torchrun, SLURM or a parent did; wait until all have met."""
    strategy: Any = trainer.strategy
    # Saving from within a signal handler, out of step with the others, as Lightning would; SIGTERM saves in order.
    strategy.cluster_environment.auto_requeue = False
    if not strategy.cluster_environment.creates_processes_externally:
        os.environ[PARENT] = str(os.getpid())

    def meet() -> None:
        children.extend(getattr(strategy.launcher, "procs", []))
        if children:
            # Lightning's observer of these would kill this process within five seconds of a child's end, in silence.
            strategy.launcher.procs.clear()
        with _watched(children):
            strategy.setup_environment()

    strategy.launcher.launch(meet, trainer=trainer)


def _lifeline(trainer: pl.Trainer, processes: Processes) -> PeerMonitor:
    strategy: Any = trainer.strategy
    if processes.first:
        lines = listen(processes.count, processes.broadcast)
    else:
        lines = connect(processes.rank, strategy.cluster_environment.main_address, processes.broadcast)

    def end(ended: int) -> None:
        time.sleep(GRACE)
        # Still here: the main thread waits on a GPU for the lost one, and only this ends that.
        _end_at_once(processes.lost_message(ended))

    return PeerMonitor(lines, end)


@contextmanager
def _watched(children: list[subprocess.Popen[bytes]]) -> Iterator[None]:
    """Until the processes have met, end this one if another of this machine has ended: meeting it would take hours."""
    parent = int(os.environ.get(PARENT, 0))
    met = threading.Event()

    def watch() -> None:
        while not met.wait(0.25):
            if not children and parent and os.getppid() != parent:
                _end_at_once("")
            for number, child in enumerate(children, start=1):
                if child.poll() is not None:
                    _await(children, 0)
                    _end_at_once(f"Process {number} ended before the training began; what it said stands above.")

    watcher = threading.Thread(target=watch, name="watch-start", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        met.set()
        watcher.join()


def _await(children: list[subprocess.Popen[bytes]], seconds: float) -> None:
    """Leave no process behind."""
    until = time.monotonic() + seconds
    for child in children:
        with suppress(subprocess.TimeoutExpired):
            child.wait(max(0.0, until - time.monotonic()))
        child.kill()
        child.wait()


def _end_at_once(sentence: str) -> None:
    if sentence:
        log.error("Error: %s", sentence)
    # No exception reaches a main thread that waits within a collective.
    os._exit(1)


def silence_nonzero_ranks() -> None:
    """Of many processes let the first alone report; before they have met, their starter's variables tell which."""
    ranks = [os.environ[name] for name in ("RANK", "SLURM_PROCID", "LOCAL_RANK") if name in os.environ]
    if ranks and ranks[0] != "0":
        logging.getLogger("fast_style").setLevel(logging.WARNING)
        logging.getLogger("fast_style.interrupts").setLevel(logging.ERROR)
