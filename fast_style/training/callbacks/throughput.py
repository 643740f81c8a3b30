"""Speed, memory use and expected end of a run."""

import logging
import time
from datetime import datetime, timedelta

import psutil
import pytorch_lightning as pl
import torch
from torch import Tensor

log = logging.getLogger(__name__)


class EtaCallback(pl.Callback):
    """Logs the memory of the weights before the first step, and speed and expected end after `steps` steps.

    Args:
        steps: steps before the forecast; fewer in a shorter training. Only the second half of them is timed, because
            the first steps compile and fill caches.
        kept: bytes of images that the method keeps, logged with the weights.
    """

    def __init__(self, *, steps: int = 20, kept: int = 0) -> None:
        self.steps, self.kept = steps, kept
        self._first, self._until, self._images, self._started = 0, 0, 0, 0.0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Log the memory of weights and kept images."""
        self._first, self._images = trainer.global_step, 0
        self._until = min(self.steps, trainer.max_steps - trainer.global_step)
        numbers = sum(parameter.numel() for parameter in pl_module.parameters() if parameter.requires_grad)
        # Float32: weights, gradients, and Adam's two moments.
        log.info(
            "%.1f M trainable weights: %s with gradients and Adam's moments%s. Speed, memory and expected end follow "
            "after %d steps.",
            numbers / 1e6,
            _size(16 * numbers),
            f", plus {_size(self.kept)} of kept images" if self.kept else "",
            self._until,
        )

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: object, batch: Tensor, batch_idx: int
    ) -> None:
        """Count images, and log the forecast once."""
        done = trainer.global_step - self._first
        if done == self._until // 2:
            self._images, self._started = 0, _now(batch)
        elif done <= self._until and self._started:
            self._images += batch.shape[:-3].numel() * trainer.world_size  # Both sides of a translation.
        if done == self._until and self._images and self._started:
            self._say(trainer, _now(batch) - self._started)
            self._started = 0.0

    def _say(self, trainer: pl.Trainer, seconds: float) -> None:
        left = trainer.max_steps - trainer.global_step
        rest = timedelta(seconds=round(left * seconds / (self._until - self._until // 2)))
        log.info(
            "Step %d: %.3g images a second, %s of memory; the %d steps left take about %s plus validations, until "
            "about %s.",
            trainer.global_step,
            self._images / seconds,
            _size(memory_in_use()),
            left,
            rest,
            f"{datetime.now() + rest:%Y-%m-%d %H:%M}",
        )


def _now(batch: Tensor) -> float:
    """The time after all pending work on the GPU is done."""
    if batch.is_cuda:
        torch.cuda.synchronize()
    return time.monotonic()


def memory_in_use() -> int:
    """Bytes: on a GPU the peak of allocated tensors, else the resident memory of this process."""
    if torch.cuda.is_available() and torch.cuda.max_memory_allocated():
        return torch.cuda.max_memory_allocated()
    return int(psutil.Process().memory_info().rss)


def _size(count: float) -> str:
    return f"{count / 2**30:.1f} GiB" if count >= 2**30 else f"{count / 2**20:.0f} MiB"


class Throughput(pl.Callback):
    """Logs `images_per_second` of all processes together, every `every` steps, without validations."""

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
            self._seconds, self._images = 0.0, 0
        self._step = trainer.global_step

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Stop the clock."""
        self._started = 0.0
