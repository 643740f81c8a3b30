"""How fast a run is, how much memory it takes, and when it will be done."""

import logging
import time
from datetime import datetime, timedelta

import psutil
import pytorch_lightning as pl
import torch
from torch import Tensor

log = logging.getLogger(__name__)


class EtaCallback(pl.Callback):
    """Says before the first step what the weights take, and after `steps` steps how fast it goes and when it ends.

    Args:
        steps: after which the forecast is made, or fewer in a shorter training; the second half of them is what is
            timed, for the first ones compile, and fill caches.
        kept: bytes of what the method keeps besides, said with the weights.
    """

    def __init__(self, *, steps: int = 20, kept: int = 0) -> None:
        self.steps, self.kept = steps, kept
        self._first, self._until, self._images, self._started = 0, 0, 0, 0.0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Say what is known before."""
        self._first, self._images = trainer.global_step, 0
        self._until = min(self.steps, trainer.max_steps - trainer.global_step)
        numbers = sum(parameter.numel() for parameter in pl_module.parameters() if parameter.requires_grad)
        # In float32: themselves, their gradients, and the two moments of Adam.
        log.info(
            "%.1f M weights learn: %s with their gradients and Adam's moments%s; what a step takes besides is said "
            "after %d, with the end to be expected.",
            numbers / 1e6,
            _size(16 * numbers),
            f", and {_size(self.kept)} of pictures are kept" if self.kept else "",
            self._until,
        )

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: object, batch: Tensor, batch_idx: int
    ) -> None:
        """Count, and say it once."""
        done = trainer.global_step - self._first
        if done == self._until // 2:
            self._images, self._started = 0, _now(batch)
        elif done <= self._until and self._started:
            self._images += batch.shape[:-3].numel() * trainer.world_size  # Of both sides, where there are two.
        if done == self._until and self._images and self._started:
            self._say(trainer, _now(batch) - self._started)
            self._started = 0.0

    def _say(self, trainer: pl.Trainer, seconds: float) -> None:
        left = trainer.max_steps - trainer.global_step
        rest = timedelta(seconds=round(left * seconds / (self._until - self._until // 2)))
        log.info(
            "Step %d: %.3g images a second, %s of memory; the %d steps left take about %s and their validations, until "
            "about %s.",
            trainer.global_step,
            self._images / seconds,
            _size(memory_in_use()),
            left,
            rest,
            f"{datetime.now() + rest:%Y-%m-%d %H:%M}",
        )


def _now(batch: Tensor) -> float:
    """The time at which all that was asked for is done."""
    if batch.is_cuda:
        torch.cuda.synchronize()
    return time.monotonic()


def memory_in_use() -> int:
    """Bytes: of a GPU the most that tensors had at one time, else this process's own."""
    if torch.cuda.is_available() and torch.cuda.max_memory_allocated():
        return torch.cuda.max_memory_allocated()
    return int(psutil.Process().memory_info().rss)


def _size(count: float) -> str:
    return f"{count / 2**30:.1f} GiB" if count >= 2**30 else f"{count / 2**20:.0f} MiB"


class Throughput(pl.Callback):
    """Logs `images_per_second`, all processes together, over every `every` steps; validation is not counted."""

    def __init__(self, every: int) -> None:
        self.every = every
        self._seconds, self._images, self._started, self._step = 0.0, 0, 0.0, 0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Begin where the run stands."""
        self._step = trainer.global_step

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Tensor, batch_idx: int
    ) -> None:
        """Start the clock after a pause."""
        self._started = self._started or time.monotonic()

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: object,
        batch: Tensor,
        batch_idx: int,
    ) -> None:
        """Count, and log at the interval."""
        now = time.monotonic()
        self._seconds += now - self._started
        self._started = now  # The next step's wait for data counts too.
        self._images += batch.shape[:-3].numel() * trainer.world_size
        # A step that accumulates gradients has several batches.
        if trainer.global_step != self._step and trainer.global_step % self.every == 0:
            pl_module.log("images_per_second", self._images / self._seconds)
            self._seconds, self._images = 0.0, 0
        self._step = trainer.global_step

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Stop the clock."""
        self._started = 0.0
