"""Start a script as several processes: without a launcher, with torchrun, and like SLURM."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil
from checkout import SCRIPTS

#: Without this variable, torchrun's restarts fail now and then (torch 2.14; see process_group.py).
RESTARTING = {"TORCH_DISABLE_SHARE_RDZV_TCP_STORE": 1}
TRAIN = SCRIPTS / "train.py"
#: Prefixes of variables that launchers set, which a test must not inherit.
OF_STARTERS = ("SLURM_", "RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_", "TORCHELASTIC", "GROUP_RANK", "NODE_RANK")


@dataclass
class Ended:
    """Output and exit code of the first process, seconds until all ended, and processes still alive."""

    code: int
    out: str
    err: str
    seconds: float
    left: list[psutil.Process]


def environment(**variables: object) -> dict[str, str]:
    own = {name: value for name, value in os.environ.items() if not name.startswith(OF_STARTERS)}
    return own | {"OMP_NUM_THREADS": "1"} | {name: str(value) for name, value in variables.items()}


def plainly(arguments: Sequence[str]) -> list[subprocess.Popen[str]]:
    return [start([sys.executable, str(TRAIN), *arguments], environment())]


def with_torchrun(arguments: Sequence[str], *, restarts: int = 0) -> list[subprocess.Popen[str]]:
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", f"--max-restarts={restarts}"]
    return [start([sys.executable, *torchrun, str(TRAIN), *arguments], environment(**RESTARTING))]


def like_srun(arguments: Sequence[str]) -> list[subprocess.Popen[str]]:
    job = {"NTASKS": 2, "STEP_NUM_TASKS": 2, "NTASKS_PER_NODE": 2, "NNODES": 1, "NODEID": 0, "NODELIST": "127.0.0.1"}
    job |= {"JOB_ID": 4711, "JOB_NAME": "train"}
    port = free_port()
    return [
        start(
            [sys.executable, str(TRAIN), *arguments],
            environment(
                MASTER_PORT=port,
                **{f"SLURM_{name}": value for name, value in (job | {"PROCID": rank, "LOCALID": rank}).items()},
            ),
        )
        for rank in (0, 1)
    ]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def start(command: list[str], variables: dict[str, str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command, env=variables, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )


def run(
    started: list[subprocess.Popen[str]], disturb: Callable[[list[psutil.Process]], None] = lambda _: None
) -> Ended:
    """Call `disturb` with the list of processes, then wait for the end."""
    first = psutil.Process(started[0].pid)
    family = [first]
    try:
        disturb([first])
        family += first.children(recursive=True) if first.is_running() else []
        since = time.monotonic()
        said = [process.communicate(timeout=300) for process in started]
        left = psutil.wait_procs(family, timeout=15)[1]
        seconds = time.monotonic() - since
    finally:
        for process in (*started, *family):
            with suppress(psutil.NoSuchProcess):
                process.kill()
    return Ended(started[0].returncode, said[0][0], "".join(err for _, err in said), seconds, left)


def once_there(pattern: str, folder: Path, process: psutil.Process) -> None:
    """Wait until a file matches the pattern."""
    until = time.monotonic() + 300
    while not any(folder.glob(pattern)):
        assert process.is_running(), f"the process ended before there was {pattern}"
        assert time.monotonic() < until, f"no {pattern} after five minutes"
        time.sleep(0.01)
