"""Runs under torchrun with killed processes: over in seconds, or continued with one and with three processes."""

import json
import signal
import subprocess
import sys
import time
from collections import defaultdict
from itertools import islice
from pathlib import Path
from typing import Any

import psutil
import pytest
from checkout import CHECKOUT
from starting import RESTARTING, environment, free_port, once_there, run, start, with_torchrun
from training_runs import composed, photos, settings

from fast_style.data.image_folder import ImageFolderDataModule
from fast_style.data.sampler import InfiniteSampler

pytestmark = pytest.mark.slow

LOGGED = CHECKOUT / "tests" / "training" / "distributed" / "logged_training.py"
STEPS, BATCH = 60, 6
RECIPE = {"trainer": "ddp", "steps": STEPS, "val_every": STEPS, "checkpoint_every": 5, "batch": BATCH}
RECIPE |= {"data.batch_size": None, "resume": "auto"}


@pytest.mark.parametrize("rank", [0, 1])
def test_a_killed_process_ends_the_run_in_seconds(tmp_path: Path, rank: int) -> None:
    def kill(family: list[psutil.Process]) -> None:
        (agent,) = family
        once_there("runs/dots/*/checkpoints/step-000005.ckpt", tmp_path, agent)
        workers = {process.environ()["RANK"]: process for process in agent.children()}
        family += workers.values()
        workers[str(rank)].kill()

    ended = run(with_torchrun(settings(tmp_path, **RECIPE | {"steps": 5000})), kill)
    assert ended.code == 1
    assert ended.left == []
    assert ended.seconds < 30  # Two, on an idle machine.
    (folder,) = tmp_path.glob("runs/dots/*")
    assert "Another process of this run was lost" in ended.err
    assert f"To continue from the last checkpoint, repeat the command with resume={folder}" in ended.err


class ElasticRun:
    """A training under torchrun with one agent per process, as if each were a machine."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.port = folder, free_port()
        self.arguments = settings(folder, **RECIPE)
        photos(folder / "photos", 12)
        self.agents: list[subprocess.Popen[str]] = []

    def join(self, count: int) -> None:
        """Start agents. The first one of all holds the rendezvous."""
        torchrun = ["-m", "torch.distributed.run", "--nnodes=1:3", "--nproc-per-node=1", "--max-restarts=3"]
        torchrun += ["--rdzv-backend=c10d", f"--rdzv-endpoint=127.0.0.1:{self.port}"]
        for _ in range(count):
            # On one machine every agent would take itself for the host.
            patience = f"--rdzv-conf=is_host={not self.agents},last_call_timeout=3,keep_alive_interval=2"
            command = [sys.executable, *torchrun, patience, str(LOGGED), str(self.folder / "log"), *self.arguments]
            self.agents.append(start(command, environment(PYTHONPATH=CHECKOUT / "tests", **RESTARTING)))

    def kill(self, number: int) -> None:
        """Kill an agent and its process at once, as when a machine is lost."""
        agent = psutil.Process(self.agents[number].pid)
        for process in [agent, *agent.children(recursive=True)]:
            process.kill()

    def lines(self) -> list[dict[str, Any]]:
        texts = [file.read_text() for file in (self.folder / "log").glob("*")]
        return [json.loads(line) for text in texts for line in text.splitlines(keepends=True) if line.endswith("\n")]

    def wait_for(self, count: int, steps: int) -> None:
        """Wait until `count` processes together have trained for some steps."""
        until = time.monotonic() + 120
        while sum(line["count"] == count for line in self.lines()) < steps * count:
            assert all(agent.poll() in (None, -signal.SIGKILL) for agent in self.agents), "an agent ended"
            assert time.monotonic() < until, f"{count} processes did not train {steps} steps in two minutes"
            time.sleep(0.1)


def trained_on(lines: list[dict[str, Any]]) -> list[str]:
    """The photos in the order of their positions. Of a repeated step, the last repetition counts."""
    steps: dict[int, list[dict[str, Any]]] = defaultdict(list)
    for line in sorted(lines, key=lambda line: line["time"]):
        others = [other for other in steps[line["step"]] if other["rank"] != line["rank"]]
        steps[line["step"]] = [other for other in others if other["count"] == line["count"]] + [line]
    order = []
    for step in range(1, STEPS + 1):
        shares = [line["photos"] for line in sorted(steps[step], key=lambda line: line["rank"])]
        assert len(shares) == steps[step][0]["count"]
        order += [photo for turn in zip(*shares, strict=True) for photo in turn]
    return order


def order_alone(folder: Path) -> list[str]:
    cfg = composed(settings(folder, **RECIPE))
    data = ImageFolderDataModule(root=cfg.data.root, held_out=cfg.data.held_out, size=32, workers=0, seed=cfg.seed)
    data.setup()
    sampler = InfiniteSampler(data.epoch_order)
    return [Path(data.training.pictures.name_of(i)).name for _, i in islice(sampler, STEPS * BATCH)]  # type: ignore[attr-defined]


def test_a_run_goes_on_with_one_and_with_three_processes_and_sees_every_photo_once(tmp_path: Path) -> None:
    elastic = ElasticRun(tmp_path)
    try:
        elastic.join(2)
        elastic.wait_for(2, 8)
        elastic.kill(1)
        elastic.wait_for(1, 8)
        elastic.join(2)
        ends = [agent.communicate(timeout=200) for agent in elastic.agents]
    finally:
        for number in range(len(elastic.agents)):
            if elastic.agents[number].poll() is None:
                elastic.kill(number)
    assert [agent.returncode for agent in elastic.agents] == [0, -signal.SIGKILL, 0, 0], ends
    lines = elastic.lines()
    assert {line["count"] for line in lines} == {1, 2, 3}
    assert len({path.parent for path in tmp_path.glob("runs/dots/*/checkpoints")}) == 1
    found = trained_on(lines)
    assert found == order_alone(tmp_path)
    for first in range(0, STEPS * BATCH, 10):
        assert len(set(found[first : first + 10])) == 10
