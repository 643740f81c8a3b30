"""Trainings that are killed and resumed, each in a fork of one process, because importing torch takes seconds.

`python killed_runs.py FOLDER` runs the trials in FOLDER and writes the results to report.json.
"""

import json
import os
import random
import resource
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"  # Threads do not survive a fork.

import psutil
import torch
from training_runs import composed, settings

from fast_style import atomic_files
from fast_style.training.callbacks import image_grids
from fast_style.training.run import run

STEPS, EVERY = 12, 3
Patch = Callable[[], None]


def overrides(folder: Path, trial: Path, workers: int) -> list[str]:
    own = {"runs": trial / "runs", "network_file": trial / "network.safetensors", "data.workers": workers}
    own |= {"steps": STEPS, "checkpoint_every": EVERY, "val_every": 6, "trainer.log_every_n_steps": 1}
    return [*settings(folder, **own), "resume=auto"]


class Attempt:
    """A training in its own process, observed step by step.

    Args:
        trial: folder of the runs, the log and the error message.
        workers: loader processes.
        last: number of finished steps from which on only one step is trained; then the process waits to be killed,
            so that a busy machine does not end the run before the kill.
        patch: called in the process before the training.
    """

    def __init__(self, trial: Path, *, workers: int = 0, last: int = STEPS, patch: Patch | None = None) -> None:
        self.trial, self.last = trial, last
        self.begun: list[int] = []  # Number of finished steps at the start of each step.
        reader, writer = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            os.close(reader)
            self._train(overrides(trial.parent, trial, workers), writer, last, patch)
        os.close(writer)
        self._pipe = os.fdopen(reader, "rb", buffering=0)

    def _train(self, given: list[str], pipe: int, last: int, patch: Patch | None) -> None:
        code = 1
        try:
            os.setsid()  # A session of its own, so that its workers can be found after its end.
            output = os.open(self.trial / "log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            os.dup2(output, 1)
            os.dup2(output, 2)

            started = False

            def tell(self: Any, trainer: Any, *_: object) -> None:
                nonlocal started
                if started and trainer.global_step > last:
                    time.sleep(600)
                started |= trainer.global_step >= last
                os.write(pipe, bytes([trainer.global_step]))

            image_grids.ImageGridCallback.on_train_batch_start = tell  # type: ignore[method-assign]
            if patch is not None:
                patch()
            run(composed(given), given)
            code = 0
        except Exception as error:
            traceback.print_exc()
            (self.trial / "sentence").write_text(getattr(error, "strerror", None) or str(error))
        finally:
            os._exit(code)

    def steps(self) -> Iterator[int]:
        """Yield the number of finished steps at the start of each step, until the process ends."""
        while told := self._pipe.read(1):
            self.begun.append(told[0])
            yield told[0]

    def kill_in_last_step(self, delay: float) -> None:
        """Kill the process `delay` seconds after the start of its last step."""
        for begun in self.steps():
            if begun >= self.last:
                time.sleep(delay)
                break
        os.kill(self.pid, signal.SIGKILL)

    def end(self, kind: str) -> dict[str, Any]:
        """Wait for the end, and return a record of the attempt."""
        for _ in self.steps():
            pass
        self._pipe.close()
        killed = os.WIFSIGNALED(status := os.waitpid(self.pid, 0)[1])
        checkpoints = sorted(path.name for path in self.trial.glob("runs/*/*/checkpoints/*"))
        _number_curves(self.trial, self.pid)
        code = None if killed else os.WEXITSTATUS(status)
        return {"kind": kind, "pid": self.pid, "code": code, "begun": self.begun, "checkpoints": checkpoints}


def _number_curves(trial: Path, number: int) -> None:
    """Number the event files: TensorBoard sorts them by the second of their start, and these start faster."""
    for path in trial.glob("runs/*/*/events*"):
        if ".numbered" not in path.name:
            path.rename(path.with_name(f"events.out.tfevents.{number:010d}.numbered"))


def while_writing(moment: str, number: int) -> Patch:
    """Kill the process while it writes checkpoint `number`, counted from 1."""

    def die() -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def patch() -> None:
        sync, replace, written = os.fsync, os.replace, 0

        def dying_sync(descriptor: int) -> None:
            name = os.readlink(f"/proc/self/fd/{descriptor}")
            if moment == "half" and written == number - 1 and name.endswith(".tmp"):
                os.ftruncate(descriptor, os.fstat(descriptor).st_size // 2)
                die()
            sync(descriptor)

        def dying_replace(source: Any, target: Any) -> None:
            nonlocal written
            written += 1
            if written == number and moment == "unplaced":
                die()
            replace(source, target)
            if written == number and moment == "placed":
                die()

        os.fsync, os.replace = dying_sync, dying_replace

    return patch


def with_a_full_disk(number: int) -> Patch:
    """Limit files to 20 kB from checkpoint `number` of this process on."""

    def patch() -> None:
        written = 0

        def opened(*arguments: Any, **options: Any) -> Any:
            nonlocal written
            written += 1
            if written == number:
                resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, resource.RLIM_INFINITY))
            return open(*arguments, **options)

        atomic_files.open = opened  # type: ignore[attr-defined]

    return patch


#: Kills of each trial, in their order: in a step, at any moment of the start, or while checkpoint 1, 2, ... is written.
KILLS: list[list[tuple[str, int]]] = [
    [("step", 0)],
    [("step", 2), ("start", 0)],
    [("half", 1), ("step", 4)],
    [("step", 6), ("unplaced", 1)],
    [("placed", 2), ("step", 8)],
    [("unplaced", 3), ("step", 10)],
    [("start", 0), ("half", 2), ("placed", 1)],
    [("placed", 1), ("half", 1), ("step", 9)],
]


def play(trial: Path, number: int, first: float, step: float) -> dict[str, Any]:
    """Kill as planned, then run to the end; `first` and `step` are seconds of the first and of a later step."""
    trial.mkdir()
    chance, workers = random.Random(number), 2 if number % 4 == 3 else 0
    ends = []
    for kind, at in KILLS[number]:
        part = chance.random()
        if kind == "step":
            attempt = Attempt(trial, workers=workers, last=at)
            attempt.kill_in_last_step(step * part)
        elif kind == "start":  # At any time from the start to the first step.
            attempt = Attempt(trial, workers=workers, last=at)
            time.sleep(part * (first + step))
            os.kill(attempt.pid, signal.SIGKILL)
        else:
            attempt = Attempt(trial, workers=workers, patch=while_writing(kind, at))
        ends.append(attempt.end(kind))
    ends.append(Attempt(trial, workers=workers).end("whole"))
    return {"trial": trial.name, "workers": workers, "attempts": ends}


def play_full_disk(trial: Path) -> dict[str, Any]:
    trial.mkdir()
    ends = [Attempt(trial, patch=with_a_full_disk(3)).end("full"), Attempt(trial).end("whole")]
    return {"trial": trial.name, "workers": 0, "attempts": ends}


def left_alive(sessions: set[int], patience: float) -> list[str]:
    """Return the processes of these sessions that still run after `patience` seconds."""
    until = time.monotonic() + patience
    while True:
        alive = []
        for process in psutil.process_iter(["status", "cmdline"]):
            try:
                if os.getsid(process.pid) in sessions and process.info["status"] != psutil.STATUS_ZOMBIE:
                    alive.append(str(process.info))
            except ProcessLookupError:
                continue
        if not alive or time.monotonic() > until:
            return alive
        time.sleep(0.2)


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    (folder / "straight").mkdir(parents=True)
    began = time.monotonic()
    attempt = Attempt(folder / "straight")
    times = [time.monotonic() for _ in attempt.steps()]
    first, step = times[0] - began, (times[-1] - times[1]) / (len(times) - 2)
    report = [{"trial": "straight", "workers": 0, "attempts": [attempt.end("whole")]}]
    report += [play_full_disk(folder / "full")]
    report += [play(folder / f"{number:02d}", number, first, step) for number in range(len(KILLS))]
    alive = left_alive({end["pid"] for played in report for end in played["attempts"]}, 20)
    (folder / "report.json").write_text(json.dumps({"trials": report, "alive": alive}, indent=1))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
