"""Speed and memory use of a run."""

import time

import psutil
import pytorch_lightning as pl
import torch
from torch import Tensor


def memory_in_use() -> int:
    """Bytes: on a GPU the peak of allocated tensors, else the resident memory of this process."""
    if torch.cuda.is_available() and torch.cuda.max_memory_allocated():
        return torch.cuda.max_memory_allocated()
    return int(psutil.Process().memory_info().rss)


class Throughput(pl.Callback):
    """Logs `images_per_second` of all processes together, without validations, and `memory_gib` every `every` steps.

    Lightning's `ThroughputMonitor` waits for the GPU after each batch, and reports no speed before 100 batches. Its
    `DeviceStatsMonitor` logs a hundred counters of a GPU; on a CPU it logs the load of the whole machine.
    """

    def __init__(self, every: int) -> None:
        self.every = every
        self._seconds, self._images, self._started, self._step = 0.0, 0, 0.0, 0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start from the current step."""
        self._step = trainer.global_step

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Tensor, batch_idx: int
    ) -> None:
        """Restart the clock after a pause."""
        self._started = self._started or time.monotonic()

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: object,
        batch: Tensor,
        batch_idx: int,
    ) -> None:
        """Count images, and log at the interval."""
        now = time.monotonic()
        self._seconds += now - self._started
        self._started = now  # The wait for the next batch counts too.
        self._images += batch.shape[:-3].numel() * trainer.world_size
        # A step that accumulates gradients has several batches.
        if trainer.global_step != self._step and trainer.global_step % self.every == 0:
            pl_module.log("images_per_second", self._images / self._seconds)
            pl_module.log("memory_gib", memory_in_use() / 2**30)
            self._seconds, self._images = 0.0, 0
        self._step = trainer.global_step

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Stop the clock."""
        self._started = 0.0
