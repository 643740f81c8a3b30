"""Profile of a few training steps."""

import logging
from pathlib import Path

import pytorch_lightning as pl
import torch
from torch.profiler import ProfilerActivity, profile, schedule

log = logging.getLogger(__name__)

WAIT, WARM_UP, ACTIVE = 6, 1, 3  # Steps. The first ones compile and allocate memory.


class Profile(pl.Callback):
    """Profiles three steps early in the run.

    Writes `trace.json`, for chrome://tracing or ui.perfetto.dev, and `table.txt`, operations sorted by their own time.

    Args:
        folder: folder of both files.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._profile: profile | None = None

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the profiler.

        Raises:
            ValueError: the run has too few steps left.
        """
        needed = WAIT + WARM_UP + ACTIVE
        if trainer.max_steps - trainer.global_step < needed:
            raise ValueError(
                f"profile=true needs the first {needed} steps of a run, but this run has fewer steps left."
            )
        if not trainer.is_global_zero:
            return
        self._profile = profile(
            activities=[ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if torch.cuda.is_available() else [])],
            schedule=schedule(wait=WAIT, warmup=WARM_UP, active=ACTIVE, repeat=1),
            on_trace_ready=self._write,
            record_shapes=True,
        )
        self._profile.start()

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: object, batch: object, batch_idx: int
    ) -> None:
        """Advance the profiler if this batch completes a step."""
        if self._profile is not None and (batch_idx + 1) % trainer.accumulate_grad_batches == 0:
            self._profile.step()

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Stop the profiler if it still runs."""
        self._close()

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Stop the profiler if it still runs."""
        self._close()

    def _write(self, recorded: profile) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        recorded.export_chrome_trace(str(self.folder / "trace.json"))
        by = "self_cuda_time_total" if torch.cuda.is_available() else "self_cpu_time_total"
        table = recorded.key_averages().table(sort_by=by, row_limit=60, max_name_column_width=80)
        (self.folder / "table.txt").write_text(f"{ACTIVE} steps\n{table}\n")
        log.info("Profile of %d steps: %s; trace.json is beside it.", ACTIVE, self.folder / "table.txt")

    def _close(self) -> None:
        if self._profile is not None:
            self._profile.stop()
            self._profile = None
