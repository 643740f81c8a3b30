"""The pure parts of benchmarks/gpu.py, and what becomes of parts that fail, die or hang."""

import json
import os
import time

import pytest
from gpu_parts.extrapolation import explained, fastest_variant
from gpu_parts.figures import sentence
from gpu_parts.peaks import known_peak, share_of_peak
from gpu_parts.report import part_report, summary, table
from gpu_parts.running import Conditions, Part, Results, run_parts
from gpu_parts.trace import busy_by_piece


@pytest.mark.parametrize(
    ("device", "peak"),
    [
        ("NVIDIA H100 80GB HBM3", 989.4),
        ("NVIDIA H100 PCIe", 756.5),
        ("NVIDIA H200", 989.4),
        ("NVIDIA H200 NVL", 835.5),
        ("NVIDIA A100-SXM4-80GB", 312.0),
        ("NVIDIA L40S", 362.0),
        ("NVIDIA L4", 121.0),
        ("NVIDIA GeForce GTX 1080", None),
    ],
)
def test_peaks_are_found_by_whole_words(device, peak):
    assert known_peak(device) == peak


def test_the_share_of_a_peak():
    assert share_of_peak(2e12, 0.01, 400.0) == pytest.approx(0.5)
    assert share_of_peak(2e12, 0.01, None) is None


def test_a_table_aligns_its_columns():
    assert table([("", "ms", "ok"), ("compiled", 1.23456, True), ("eager", 1234.5, None)]) == (
        "               ms   ok\n  compiled   1.23  yes\n  eager     1,234    -"
    )


def test_kernels_belong_to_the_piece_in_which_they_start():
    label = {"ph": "X", "cat": "user_annotation"}
    kernel = {"ph": "X", "cat": "kernel", "name": "conv"}
    trace = {
        "traceEvents": [
            {**label, "name": "forward", "ts": 0, "dur": 1000},
            {**label, "name": "backward", "ts": 1001, "dur": 2000},
            # The GPU's own row repeats the label.
            {"ph": "X", "cat": "gpu_user_annotation", "name": "backward", "ts": 0, "dur": 5000},
            {**kernel, "ts": 100, "dur": 300},
            {**kernel, "ts": 500, "dur": 200},
            {**kernel, "ts": 1500, "dur": 700},
            {**kernel, "cat": "gpu_memset", "ts": 2500, "dur": 50},
            {**kernel, "cat": "cpu_op", "ts": 2500, "dur": 400},
            {**kernel, "ts": 9000, "dur": 100},
            {"ph": "M", "name": "process_name"},
        ]
    }
    found = busy_by_piece(trace, ("forward", "backward"))
    assert found.busy == {"forward": pytest.approx(0.5), "backward": pytest.approx(0.75)}
    assert found.wall == {"forward": 1.0, "backward": 2.0}
    assert found.kernels == {"forward": 2, "backward": 2}


MEASURED = {"start": 10.0, "first_step": 2.0, "step": 0.006, "validation": 0.5, "checkpoint": 0.1}
EARLIER = {
    "step": {"batch 4": {"ours_ms": 5.0, "bare_ms": 4.0, "first_step_s": 30.0}},
    "breakdown": {
        "batch": 4,
        "compiled": {"ms": 4.2, "busy_ms": 3.0, "pieces_ms": {"generator": 1.0, "loss network": 2.0}},
        "CUDA graphs": {"ms": 3.1},
        "broken": {"error": "RuntimeError: no"},
    },
}


def test_every_second_of_johnson2016_is_explained():
    found = explained(MEASURED, EARLIER, 4)
    assert found["rows_s"] == pytest.approx(
        {
            "generator": 40.0,
            "loss network": 80.0,
            "launch overhead": 40.0,
            "Lightning and logging": 40.0,
            "input pipeline": 40.0,
            "validation": 20.0,
            "checkpoints": 4.0,
            "start and first step": 12.0,
            "compiling": 28.0,
        }
    )
    # The rows of the step are the measured step.
    assert sum(found["rows_s"].values()) - 64 == pytest.approx(40_000 * MEASURED["step"])
    assert found["total_s"] == pytest.approx(304.0)
    assert found["fastest_variant"] == "CUDA graphs"
    assert found["total_with_fastest_s"] == pytest.approx(304.0 - 36.0)


def test_without_the_other_parts_the_step_is_one_row():
    found = explained(MEASURED, {}, 4)
    assert found["total_s"] == pytest.approx(240 + 20 + 4 + 12)
    assert [name for name in found["rows_s"] if "not broken down" in name]
    assert fastest_variant({}) is None


def test_an_error_becomes_one_sentence():
    assert (
        sentence(RuntimeError("\n CUDA error: out of memory \nMore lines")) == "RuntimeError: CUDA error: out of memory"
    )
    assert sentence(KeyError()) == "KeyError"


PARTS = {
    "good": "def measure(f): f.note('earlier', sorted(f.earlier)); f.note('dry', f.sizes.dry)",
    "raises": "def measure(f): f.note('one', 1); raise RuntimeError('no luck\\nat all')",
    "absent": "import a_package_that_nobody_has",
    "dies": "import os, signal\ndef measure(f): f.note('one', 1); os.kill(os.getpid(), signal.SIGKILL)",
    "exits": "import os\ndef measure(f): os._exit(3)",
    "hangs": (
        "import pathlib, subprocess, time\n"
        "def measure(f):\n"
        "    child = subprocess.Popen(['sleep', '600'])\n"
        "    f.note('child', child.pid)\n"
        "    time.sleep(600)"
    ),
    "last": "def measure(f): f.note('left', f.left())",
}


def parts(folder, monkeypatch, names=tuple(PARTS)):
    for name in names:
        (folder / f"part_{name}.py").write_text(PARTS[name])
    monkeypatch.setenv("PYTHONPATH", str(folder))
    limits = {"hangs": 2.0}
    return [Part(name, f"part_{name}", limits.get(name, 30.0), 1.0, "") for name in names]


def results_of(tmp_path, monkeypatch, *, budget=60.0, **options):
    results = Results(tmp_path / "out" / "gpu.json", {"dry_run": True})
    conditions = Conditions(tmp_path, tmp_path / "gpu.log", dry=True)
    told = []
    run_parts(parts(tmp_path, monkeypatch, **options), results, conditions, budget=budget, tell=told.append)
    return json.loads(results.file.read_text())["parts"], told


@pytest.mark.slow
def test_a_part_that_fails_dies_or_hangs_costs_only_itself(tmp_path, monkeypatch):
    found, told = results_of(tmp_path, monkeypatch)
    assert told == list(PARTS)
    states = {name: (record["status"], record.get("error")) for name, record in found.items()}
    assert states == {
        "good": ("ok", None),
        "raises": ("failed", "RuntimeError: no luck"),
        "absent": ("failed", "ModuleNotFoundError: No module named 'a_package_that_nobody_has'"),
        "dies": ("failed", "Its process was ended by SIGKILL; the log has its last lines."),
        "exits": ("failed", "Its process ended with exit code 3; the log has its last lines."),
        "hangs": ("stopped", "It was stopped at its limit of 2 s."),
        "last": ("ok", None),
    }
    # What a part measured before its end is kept, and later parts know it.
    assert found["good"]["figures"] == {"earlier": [], "dry": True}
    assert found["raises"]["figures"] == found["dies"]["figures"] == {"one": 1}
    assert 20 < found["last"]["figures"]["left"] <= 30
    assert not is_running(found["hangs"]["figures"]["child"])
    assert "no luck\nat all" in (tmp_path / "gpu.log").read_text()
    for name, record in found.items():
        assert part_report(name, record).startswith(name)
    assert "stopped" in summary({"device": "none"}, found)


def is_running(pid):
    for _ in range(100):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return False
        time.sleep(0.05)
    return True


def test_parts_that_do_not_fit_the_budget_are_skipped(tmp_path, monkeypatch):
    found, told = results_of(tmp_path, monkeypatch, budget=0.5, names=("good", "last"))
    assert told == ["good", "last"]
    assert {record["status"] for record in found.values()} == {"skipped"}
    assert "needs 1 s" in found["good"]["error"]
