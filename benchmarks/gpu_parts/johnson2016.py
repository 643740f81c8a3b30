"""The recipe johnson2016: a real training of some steps from the folder, and its 40,000 steps explained."""

import os
import time
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor

from gpu_parts.clock import chosen_device, wait
from gpu_parts.extrapolation import explained
from gpu_parts.figures import Figures
from gpu_parts.photos import photo_folder
from gpu_parts.training import settings, train

WARM_UP = 20  # Steps.


class Timeline(pl.Callback):
    """Times the start, the first step, the steps after the warm-up, a validation and a checkpoint.

    Args:
        figures: of the part; they know when its process started.
        device: of the training.
        untimed: seconds of this process that belong to no training.
    """

    def __init__(self, figures: Figures, device: torch.device, *, untimed: float) -> None:
        self.figures, self.device, self.untimed = figures, device, untimed
        self.steps = figures.sizes.run_steps
        self.seconds: dict[str, float] = {}
        self._started = 0.0

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Tensor, batch_idx: int
    ) -> None:
        """Take the time of the start."""
        if "start" not in self.seconds:
            wait(self.device)
            self.seconds["start"] = self.figures.passed() - self.untimed
            self._started = time.perf_counter()

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: object, batch: Tensor, batch_idx: int
    ) -> None:
        """Take the times."""
        step = trainer.global_step
        if step == 1:
            wait(self.device)
            self.seconds["first_step"] = time.perf_counter() - self._started
        if step == trainer.max_steps - self.steps:
            wait(self.device)
            self._started = time.perf_counter()
        if step == trainer.max_steps:
            wait(self.device)
            self.seconds["step"] = (time.perf_counter() - self._started) / self.steps

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the clock."""
        wait(self.device)
        self._started = time.perf_counter()

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Stop the clock."""
        wait(self.device)
        self.seconds["validation"] = time.perf_counter() - self._started

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write a checkpoint as the run does."""
        started = time.perf_counter()
        trainer.save_checkpoint(self.figures.folder / "timed.ckpt", weights_only=False)
        self.seconds["checkpoint"] = time.perf_counter() - started


def measure(figures: Figures) -> None:
    """Note the measured seconds, then the table of the whole recipe."""
    sizes = figures.sizes
    device = chosen_device(sizes)
    batch = sizes.batches[0]
    making = time.monotonic()
    photos = photo_folder(figures)
    untimed = time.monotonic() - making
    timeline = Timeline(figures, device, untimed=untimed)
    workers = 1 if sizes.dry else os.cpu_count()
    overrides = settings(
        figures,
        photos,
        batch=batch,
        steps=WARM_UP + sizes.run_steps,
        **{"compile": "true", "data.workers": workers},
    )
    train(overrides, timeline)
    figures.note("batch", batch)
    figures.note("measured_s", timeline.seconds)
    if device.type == "cuda":
        figures.note("peak_memory_mib", torch.cuda.max_memory_allocated() / 2**20)
    found: dict[str, Any] = explained(timeline.seconds, figures.earlier, batch)
    for name, value in found.items():
        figures.note(name, value)
