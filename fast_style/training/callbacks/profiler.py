"""Profile of a few training steps, by Lightning's profiler."""

from contextlib import suppress
from pathlib import Path

import torch
from pytorch_lightning.profilers import PyTorchProfiler

WARM_UP, ACTIVE = 7, 3  # Steps. The first ones compile and allocate memory.


class EarlyStepsProfiler(PyTorchProfiler):
    """Lightning's `PyTorchProfiler`, which records three training steps early in a run.

    Writes `*.pt.trace.json`, for ui.perfetto.dev or chrome://tracing, and `fit-table.txt`, operations sorted by their
    total time. Lightning's profiler also counts steps of validations, and fails if a run ends before a recording.

    Args:
        folder: folder of both files.
        batches: batches of a step.
    """

    STEP_FUNCTIONS = {"training_step"}  # noqa: RUF012 - as in the class above

    def __init__(self, folder: Path, *, batches: int = 1) -> None:
        super().__init__(
            folder,
            "table",
            row_limit=60,
            record_module_names=False,  # Its hooks on modules stay for the whole run.
            table_kwargs={"max_name_column_width": 80},
            schedule=torch.profiler.schedule(wait=0, warmup=WARM_UP * batches, active=ACTIVE * batches, repeat=1),
        )

    def _delete_profilers(self) -> None:
        with suppress(AssertionError):  # Nothing was recorded.
            super()._delete_profilers()
        self.profiler = None


def check_length(steps: int) -> None:
    """Check that a run of `steps` steps is long enough.

    Raises:
        ValueError: it is too short.
    """
    needed = WARM_UP + ACTIVE
    if steps < needed:
        raise ValueError(f"profile=true needs the first {needed} steps of a run, but this run has fewer steps left.")
