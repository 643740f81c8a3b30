"""Runs in every worker process of Ray: lists each attempt at a unit, and holds the workers before they write a marker.

A hook of Ray (`worker_process_setup_hook`), so that the workers themselves are real.
"""

import os
import time
from pathlib import Path
from typing import NamedTuple

FOLDER = "FAST_STYLE_ATTEMPTS"


class Attempt(NamedTuple):
    """A unit whose results a worker has written, but not yet the marker."""

    unit: str
    process: int
    machine: str


def watch() -> None:
    """Watch this process; Ray looks for new machines every second instead of every 20 seconds."""
    import ray
    from ray.data._internal.cluster_autoscaler.default_autoscaling_coordinator import _AutoscalingCoordinatorActor

    from fast_style.stylize.dataset import worker

    folder, write_marker = Path(os.environ[FOLDER]), worker.write_marker
    _AutoscalingCoordinatorActor.TICK_INTERVAL_S = 1

    def watched(unit, *result):  # type: ignore[no-untyped-def]
        with open(folder / "attempts", "a") as file:
            file.write(f"{unit.name} {os.getpid()} {ray.get_runtime_context().get_node_id()}\n")
        while (folder / "hold").exists():
            time.sleep(0.02)
        write_marker(unit, *result)

    worker.write_marker = watched


def attempts() -> list[Attempt]:
    """All attempts so far."""
    file = Path(os.environ[FOLDER], "attempts")
    lines = file.read_text().splitlines() if file.exists() else []
    return [Attempt(unit, int(process), machine) for unit, process, machine in map(str.split, lines)]


def hold(on: bool) -> None:
    """Let the workers wait before the marker, or go on."""
    file = Path(os.environ[FOLDER], "hold")
    file.touch() if on else file.unlink()
