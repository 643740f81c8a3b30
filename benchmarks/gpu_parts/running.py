"""Run the parts one after the other, each in its own process with a time limit, and keep one JSON file up to date."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from pathlib import Path
from typing import Any

from fast_style.atomic_files import atomic_write

BENCHMARKS = Path(__file__).resolve().parents[1]
CHECKOUT = BENCHMARKS.parent
#: Seconds between two looks at the figures of a running part.
EVERY = 0.5


@dataclass(frozen=True)
class Part:
    """One part of the benchmark.

    Attributes:
        name: as in `--only` and in the JSON file.
        module: has `measure(figures)`.
        limit: seconds after which the part is ended.
        least: seconds that must be left of the budget to start it.
        about: what it measures, for `--help`.
    """

    name: str
    module: str
    limit: float
    least: float
    about: str


@dataclass
class Results:
    """The JSON file: a header, and a record for each part.

    A record has `status` (`running`, `ok`, `failed`, `stopped` at its limit, `skipped`), `seconds`, `figures` and, if
    the part did not finish, `error` in one sentence.
    """

    file: Path
    header: dict[str, Any]
    parts: dict[str, dict[str, Any]] = field(default_factory=dict)

    def record(self, name: str, **values: Any) -> None:
        """Replace the record of a part and write the file."""
        self.parts[name] = values
        if name == "device":
            self.header |= values["figures"]
        with atomic_write(self.file) as file:
            file.write(json.dumps({"header": self.header, "parts": self.parts}, indent=1).encode())

    def earlier(self) -> dict[str, dict[str, Any]]:
        """The figures of all parts so far."""
        return {name: record["figures"] for name, record in self.parts.items()}


@dataclass(frozen=True)
class Conditions:
    """What every part gets: the folder that they share, the log file, and whether it is a dry run."""

    folder: Path
    log: Path
    dry: bool


def run_parts(
    parts: Sequence[Part], results: Results, conditions: Conditions, *, budget: float, tell: Callable[[str], None]
) -> None:
    """Run the parts in their order until the budget is spent.

    Args:
        parts: the parts.
        results: gets their records.
        conditions: for every part.
        budget: seconds for all parts together.
        tell: called with the name of each part that has a new record.
    """
    until = time.monotonic() + budget
    ahead: dict[str, subprocess.Popen[bytes]] = {}  # It imports while the part before it measures.
    try:
        for part, following in zip_longest(parts, parts[1:]):
            left = until - time.monotonic()
            if left < part.least:
                reason = f"{left:.0f} s were left of the budget, and this part needs {part.least:.0f} s: use --only."
                results.record(part.name, status="skipped", seconds=0.0, figures={}, error=reason)
            else:
                process = ahead.pop(part.name, None) or _start(part, conditions)
                running = _Running(part, process, results, conditions, limit=min(part.limit, left))
                if following is not None:
                    ahead[following.name] = _start(following, conditions)
                running.finish()
            tell(part.name)
    finally:
        for process in ahead.values():
            _end_group(process)


def _start(part: Part, conditions: Conditions) -> subprocess.Popen[bytes]:
    with open(conditions.log, "ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "gpu_parts.child", part.module],
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            env=environment(conditions.folder, dry=conditions.dry),
            start_new_session=True,  # A group of its own, so that its loading workers end with it.
        )


class _Running:
    """A part that has got its request."""

    def __init__(
        self, part: Part, process: subprocess.Popen[bytes], results: Results, conditions: Conditions, *, limit: float
    ) -> None:
        self.part, self.process, self.results, self.limit = part, process, results, limit
        self.file = conditions.folder / f"{part.name}.json"
        self.started = time.monotonic()
        request = {
            "file": str(self.file),
            "folder": str(conditions.folder),
            "earlier": results.earlier(),
            "limit": limit,
            "dry": conditions.dry,
        }
        with open(conditions.log, "ab") as log:
            log.write(f"\n=== {part.name}\n".encode())
        assert process.stdin is not None
        with contextlib.suppress(BrokenPipeError), process.stdin as pipe:
            pipe.write(json.dumps(request).encode() + b"\n")

    def finish(self) -> None:
        """Record the figures as they come, until the process ends or its limit is reached."""
        try:
            while self.process.poll() is None and time.monotonic() - self.started < self.limit:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self.process.wait(EVERY)
                self._record("running")
            stopped = self.process.poll() is None
        finally:
            _end_group(self.process)
        error = f"It was stopped at its limit of {self.limit:.0f} s." if stopped else self._error()
        self._record("stopped" if stopped else "failed" if error else "ok", **({"error": error} if error else {}))

    def _record(self, status: str, **more: str) -> None:
        seconds = round(time.monotonic() - self.started, 1)
        figures = _read(self.file).get("figures", {})
        self.results.record(self.part.name, status=status, seconds=seconds, figures=figures, **more)

    def _error(self) -> str | None:
        code, found = self.process.returncode, _read(self.file)
        if code == 0:
            return None
        if "error" in found:
            return str(found["error"])
        if code < 0:
            return f"Its process was ended by {signal.Signals(-code).name}; the log has its last lines."
        return f"Its process ended with exit code {code}; the log has its last lines."


def _end_group(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert process.stdin is not None
    process.stdin.close()


def _read(file: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(file.read_bytes())
    except (OSError, ValueError):
        return {}
    return found


def environment(folder: Path, *, dry: bool) -> dict[str, str]:
    """Variables for the processes: the checkout is importable, and all caches are below one folder."""
    # Tiny networks gain nothing from threads, and lose much on a busy machine.
    threads = {"OMP_NUM_THREADS": "1"} if dry else {}
    places = [str(BENCHMARKS), str(CHECKOUT), os.environ.get("PYTHONPATH", "")]
    return (
        threads
        | os.environ
        | {
            "PYTHONPATH": os.pathsep.join(place for place in places if place),
            "PYTHONUNBUFFERED": "1",
            "XDG_CACHE_HOME": str(folder / "cache"),
            # One cache for all parts: a network that one part has compiled starts quickly in the next.
            "TORCHINDUCTOR_CACHE_DIR": str(folder / "inductor"),
            "TRITON_CACHE_DIR": str(folder / "triton"),
        }
    )
