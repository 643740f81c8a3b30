"""All figures that need a GPU, with one command: python benchmarks/gpu.py (see --help).

Every part runs in a process of its own with a time limit. If one fails, hangs or runs out of memory, its record says so
in one sentence and the others go on. The JSON file is rewritten after every measurement, so a run that is cut keeps
what it has. Beside it lies the log of all processes. No network access is needed: networks have random weights where
only the time counts, photos are made on the spot, and `experiment=quick` uses the bundled files.
"""

import argparse
import datetime
import json
import signal
import subprocess
import sys
import tempfile
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[1]
if find_spec("fast_style") is None:
    sys.path.append(str(CHECKOUT))  # On a machine where only the libraries are installed.

from gpu_parts.report import part_report, summary  # noqa: E402
from gpu_parts.running import Conditions, Part, Results, run_parts  # noqa: E402

#: The parts in the order of their value.
PARTS = [
    Part("device", "gpu_parts.device", 45, 10, "the machine, and its measured peak in bfloat16"),
    Part("step", "gpu_parts.step", 180, 30, "a training step against the plain loop; share of the peak"),
    Part("breakdown", "gpu_parts.breakdown", 110, 30, "where a step's time goes; eager, compiled, CUDA graphs"),
    Part("input", "gpu_parts.loading", 50, 20, "photos a second from a folder and from tar shards"),
    Part("johnson2016", "gpu_parts.johnson2016", 70, 25, "40,000 steps extrapolated, each second explained"),
    Part("stylize", "gpu_parts.stylizing", 80, 20, "images a second and memory at 512, 1080p and 4K"),
    Part("memory", "gpu_parts.memory", 40, 15, "estimated against used memory; a picture that does not fit"),
    Part("quick", "gpu_parts.quick", 80, 25, "experiment=quick from start to judged figures"),
    Part("resume", "gpu_parts.resuming", 60, 25, "kill -9 in the middle of a training, then resume=auto"),
    Part("autotune", "gpu_parts.autotune", 90, 40, "the step compiled with mode=max-autotune"),
]


def arguments() -> argparse.Namespace:
    """Parse the command line."""
    names = "\n".join(f"  {part.name:12} {part.about}" for part in PARTS)
    parser = argparse.ArgumentParser(
        description=f"{__doc__}\nParts, in the order of their value:\n{names}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--only", nargs="+", choices=[part.name for part in PARTS], help="parts to run; the file keeps all others"
    )
    parser.add_argument("--budget", type=float, default=470, help="seconds for all parts; what does not fit is skipped")
    parser.add_argument("--output", type=Path, default=Path("runs/gpu.json"), help="JSON file; its log ends in .log")
    parser.add_argument("--commit", help="commit of the checkout, where git cannot say it")
    parser.add_argument("--dry-run", action="store_true", help="every part on the CPU, at tiny sizes")
    return parser.parse_args()


def commit() -> str | None:
    """The commit of the checkout; None without git or its folder."""
    with suppress(OSError, subprocess.CalledProcessError):
        command = ["git", "-C", str(CHECKOUT), "describe", "--always", "--dirty", "--abbrev=12"]
        return subprocess.check_output(command, text=True, stderr=subprocess.DEVNULL).strip()
    return None


def open_results(asked: argparse.Namespace) -> Results:
    """New results, or those of the file if only some parts are asked for."""
    now = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC")
    header = {"date": now, "commit": asked.commit or commit(), "dry_run": asked.dry_run}
    results = Results(asked.output, header)
    if asked.only and asked.output.exists():
        kept = json.loads(asked.output.read_text())
        if kept["header"].get("dry_run") == asked.dry_run:
            results.header = kept["header"] | header
            results.parts = kept["parts"]
    return results


def main() -> int:
    """Run the parts; the exit code is 1 if one of them failed."""
    asked = arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # So that the running part is ended, too.
    results = open_results(asked)
    parts = [part for part in PARTS if not asked.only or part.name in asked.only]
    with tempfile.TemporaryDirectory(prefix="fast_style-gpu-", ignore_cleanup_errors=True) as folder:
        conditions = Conditions(Path(folder), asked.output.with_suffix(".log"), asked.dry_run)
        conditions.log.parent.mkdir(parents=True, exist_ok=True)
        conditions.log.write_bytes(b"")
        run_parts(
            parts,
            results,
            conditions,
            budget=asked.budget,
            tell=lambda name: print(part_report(name, results.parts[name]), flush=True),
        )
    print(summary(results.header, results.parts))
    return any(results.parts[part.name]["status"] in ("failed", "stopped") for part in parts)


if __name__ == "__main__":
    sys.exit(main())
