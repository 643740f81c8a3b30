"""How much memory a training takes, and when it will be done: said once, early."""

import logging
import time
from datetime import datetime, timedelta

import psutil
import pytorch_lightning as pl
import torch
from torch import Tensor

log = logging.getLogger(__name__)


class Forecast(pl.Callback):
    """Says before the first step what the weights take, and after `steps` steps how fast it goes and when it ends.

    Args:
        steps: after which the forecast is made; the second half of them is what is timed, for the first ones compile,
            and fill caches.
    """

    def __init__(self, *, steps: int = 20) -> None:
        self.steps = steps
        self._first, self._images, self._started = 0, 0, 0.0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Say what is known before."""
        self._first, self._images = trainer.global_step, 0
        numbers = sum(parameter.numel() for parameter in pl_module.parameters() if parameter.requires_grad)
        # In float32: themselves, their gradients, and the two moments of Adam.
        log.info(
            "%.1f M weights learn: %s with their gradients and Adam's moments; what pictures take besides is said "
            "after %d steps, with the end to be expected.",
            numbers / 1e6,
            _size(16 * numbers),
            self.steps,
        )

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: object, batch: Tensor, batch_idx: int
    ) -> None:
        """Count, and say it once."""
        done = trainer.global_step - self._first
        if done == (self.steps + 1) // 2:
            self._images, self._started = 0, time.monotonic()
        elif done <= self.steps and self._started:
            self._images += len(batch) * trainer.world_size
        if done == self.steps and self._images:
            self._say(trainer, time.monotonic() - self._started)
            self._started = 0.0

    def _say(self, trainer: pl.Trainer, seconds: float) -> None:
        left = trainer.max_steps - trainer.global_step
        rest = timedelta(seconds=round(left * seconds / (self.steps - (self.steps + 1) // 2)))
        log.info(
            "Step %d: %.3g images a second, %s of memory; the %d steps left take about %s, until about %s.",
            trainer.global_step,
            self._images / seconds,
            _size(memory_in_use()),
            left,
            rest,
            f"{datetime.now() + rest:%Y-%m-%d %H:%M}",
        )


def memory_in_use() -> int:
    """Bytes: of a GPU the most that tensors had at one time, else this process's own."""
    if torch.cuda.is_available() and torch.cuda.max_memory_allocated():
        return torch.cuda.max_memory_allocated()
    return int(psutil.Process().memory_info().rss)


def _size(count: float) -> str:
    return f"{count / 2**30:.1f} GiB" if count >= 2**30 else f"{count / 2**20:.0f} MiB"
