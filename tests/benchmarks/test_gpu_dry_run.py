"""benchmarks/gpu.py in its dry run: every part gives every figure, and a run that is killed keeps what it has."""

import json
import math
import signal
import subprocess
import sys
import time

import psutil
import pytest
import torch
from checkout import CHECKOUT
from gpu import PARTS
from gpu_parts import (
    autotune,
    breakdown,
    device,
    johnson2016,
    loading,
    memory,
    quick,
    resuming,
    step,
    stylizing,
)
from gpu_parts.figures import Figures
from gpu_parts.report import part_report
from gpu_parts.sizes import DRY

pytestmark = pytest.mark.slow

MODULES = {module.__name__: module for module in (autotune, breakdown, device, johnson2016, loading, memory, quick)}
MODULES |= {module.__name__: module for module in (resuming, step, stylizing)}

#: Figures that must be numbers, by part; `*` stands for every group.
NUMBERS = {
    "device": ["memory_gib", "peak_tflops_measured"],
    "step": [
        *("batch 2/ours_ms", "batch 2/bare_ms", "batch 2/plain_ms", "batch 2/plain_bf16_compiled_ms"),
        *("batch 2/images_per_second", "batch 2/plain_over_ours", "batch 2/plain_bf16_compiled_over_ours"),
        *("batch 2/tflop_per_step", "batch 2/share_of_measured_peak", "batch 2/first_step_s"),
    ],
    "breakdown": [
        *(f"{name}/{figure}" for name in ("compiled", "CUDA graphs", "eager") for figure in ("ms", "busy_ms")),
        *(f"compiled/pieces_ms/{piece}" for piece in breakdown.PIECES),
        "compiled/launch_overhead_ms",
    ],
    "input": [
        *("packed_per_second", "batch 2/folder_images_per_second", "batch 2/shards_images_per_second"),
        "batch 2/loader_over_step",
    ],
    "johnson2016": [
        *(f"rows_s/{row}" for row in (*breakdown.PIECES, "launch overhead", "Lightning and logging")),
        *(f"rows_s/{row}" for row in ("input pipeline", "validation", "checkpoints", "start and first step")),
        *("rows_s/compiling", "total_s", "total_over_goal", "total_with_fastest_s"),
    ],
    "stylize": [
        f"{variant}/{size}/{figure}"
        for variant in ("eager fp32", "eager bf16", "compiled bf16")
        for size in ("512", "1080p", "4K")
        for figure in ("ms", "images_per_second", "peak_memory_mib")
    ],
    "memory": ["needed_mib", "strips by plan/mean_difference"],
    "quick": ["seconds/to_the_network_file", "losses/val/total", "judge/style_error", "judge/content/relu3_1"],
    "resume": [
        *("killed_after_step", "resumed_at_step", "lost_steps", "seconds_from_kill_to_next_step"),
        "seconds_from_start_to_first_step",
    ],
    "autotune": ["max-autotune/ms"],
}


def measured(folder):
    """The figures of all parts, each measured as its process would, but in this one."""
    found = {}
    # Tracing networks takes seconds and is what the command itself does.
    with torch.compiler.set_stance("force_eager"):
        for part in PARTS:
            own = Figures(folder / f"{part.name}.json", DRY, folder, dict(found), limit=600.0)
            MODULES[part.module].measure(own)
            found[part.name] = json.loads(own.file.read_text())["figures"]
    return found


def at(values, path):
    """The figure at a path; names of losses contain slashes themselves."""
    if path in values:
        return values[path]
    first, _, rest = path.partition("/")
    return at(values[first], rest)


# One test, because several processes that run the tests would repeat the measurements.
def test_every_part_gives_every_figure(tmp_path, monkeypatch):
    monkeypatch.chdir(CHECKOUT)  # Undoes what the parts change.
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "inductor"))
    figures = measured(tmp_path)
    torch.backends.cudnn.allow_tf32 = True  # The default; the part memory changes it.
    assert list(figures) == list(NUMBERS)
    for part, paths in NUMBERS.items():
        for path in paths:
            value = at(figures[part], path)
            assert isinstance(value, int | float), f"{part}: {path} is {value}"
            assert math.isfinite(value), f"{part}: {path}"
        printed = part_report(part, {"status": "ok", "seconds": 1.0, "figures": figures[part]})
        assert len(printed.splitlines()) > 2
    what_is_missing_says_why(figures)
    strips = figures["memory"]["strips by plan"]
    assert strips["strips"]
    assert strips["largest_difference"] <= 1
    the_resumed_training_goes_on_at_the_right_step(figures["resume"])


def what_is_missing_says_why(figures):
    assert figures["memory"]["out of memory"]["skipped"].startswith("torch limits")
    for runtime in ("ONNX Runtime", "TensorRT"):
        assert "dry run" in figures["stylize"][runtime]["skipped"]
    assert figures["step"]["batch 2"]["skipped"] == {}


def the_resumed_training_goes_on_at_the_right_step(found):
    assert found["resumed_at_step"] % DRY.checkpoint_every == 0
    assert found["killed_after_step"] >= DRY.kill_after
    assert found["at_the_right_step"]
    assert found["every_step_once"]


def started(output, *arguments):
    command = [sys.executable, str(CHECKOUT / "benchmarks" / "gpu.py"), "--dry-run", "--output", str(output)]
    return subprocess.Popen([*command, *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def test_a_killed_run_keeps_its_parts_and_leaves_no_process(tmp_path):
    output = tmp_path / "gpu.json"
    process = started(output, "--only", "device", "johnson2016")
    children = []
    until = time.monotonic() + 60
    while time.monotonic() < until:
        if output.exists() and "johnson2016" in (found := json.loads(output.read_text())["parts"]):
            children = psutil.Process(process.pid).children(recursive=True)
            break
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    found = json.loads(output.read_text())
    assert found["parts"]["device"]["status"] == "ok"
    assert found["parts"]["johnson2016"]["status"] == "running"
    assert found["header"]["device"]
    assert found["header"]["dry_run"]
    assert children
    assert psutil.wait_procs(children, timeout=10)[1] == []
    printed, _ = process.communicate()
    assert printed.startswith("device (")

    # One part alone, later: the file keeps the others.
    again = started(output, "--only", "device")
    printed, _ = again.communicate(timeout=60)
    assert again.returncode == 0, printed
    kept = json.loads(output.read_text())["parts"]
    assert kept["johnson2016"] == found["parts"]["johnson2016"]
    assert "peak_tflops_measured" in printed
