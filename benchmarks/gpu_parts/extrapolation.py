"""The seconds of johnson2016's 40,000 steps, row by row, from measured steps."""

from collections.abc import Mapping
from typing import Any

STEPS, EVERY = 40_000, 1000  # conf/experiment/johnson2016.yaml: steps; val_every and checkpoint_every.
GOAL = 90.0  # Seconds on one H200.


def explained(measured: Mapping[str, float], earlier: Mapping[str, Mapping[str, Any]], batch: int) -> dict[str, Any]:
    """The rows and their sum, and the sum with the fastest variant of the breakdown.

    The rows of the step add up to the measured step. Pieces and launch overhead are from the breakdown. Lightning is
    our step minus the bare step. The input pipeline is the step of the real training minus our step from memory.
    Differences of separate measurements can be slightly negative.

    Args:
        measured: seconds of the `start`, the `first_step` (compiled networks cached), a `step`, a `validation` and a
            `checkpoint`.
        earlier: figures of the parts `step` and `breakdown`; what is missing gives one row for the rest of the step.
        batch: the batch size of all of them.
    """
    rows: dict[str, float] = {}
    step = earlier.get("step", {}).get(f"batch {batch}", {})
    breakdown = earlier.get("breakdown", {})
    compiled = breakdown.get("compiled", {})
    known = "pieces_ms" in compiled and "ours_ms" in step and "bare_ms" in step
    if known:
        rows |= {name: milli / 1e3 * STEPS for name, milli in compiled["pieces_ms"].items()}
        rows["launch overhead"] = (step["bare_ms"] - compiled["busy_ms"]) / 1e3 * STEPS
        rows["Lightning and logging"] = (step["ours_ms"] - step["bare_ms"]) / 1e3 * STEPS
        rows["input pipeline"] = (measured["step"] - step["ours_ms"] / 1e3) * STEPS
    else:
        rows["steps (not broken down: the parts step or breakdown are missing)"] = measured["step"] * STEPS
    rows["validation"] = measured["validation"] * (STEPS // EVERY)
    rows["checkpoints"] = measured["checkpoint"] * (STEPS // EVERY)
    rows["start and first step"] = measured["start"] + measured["first_step"]
    if "first_step_s" in step:
        rows["compiling"] = max(0.0, step["first_step_s"] - measured["first_step"])
    total = sum(rows.values())
    found: dict[str, Any] = {"rows_s": rows, "total_s": total, "goal_s": GOAL, "total_over_goal": total / GOAL}
    if known and (fastest := fastest_variant(breakdown)):
        saved = (step["bare_ms"] - fastest[1]) / 1e3 * STEPS
        found |= {"fastest_variant": fastest[0], "total_with_fastest_s": total - max(0.0, saved)}
    return found


def fastest_variant(breakdown: Mapping[str, Any]) -> tuple[str, float] | None:
    """Name and milliseconds of the fastest variant; None if none was measured."""
    times = {name: values["ms"] for name, values in breakdown.items() if isinstance(values, dict) and "ms" in values}
    return min(times.items(), key=lambda item: item[1]) if times else None
