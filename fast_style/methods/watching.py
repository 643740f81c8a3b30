"""What a person sees of a run: progress, speed and pictures."""

import math
import time
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import ProgressBar
from pytorch_lightning.loggers import TensorBoardLogger
from torch import Tensor
from torchvision.utils import make_grid
from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm


class Curves(TensorBoardLogger):
    """TensorBoard's file alone in a run's folder: `config.yaml` says all that Lightning's `hparams.yaml` would."""

    def __init__(self, folder: Path, **options: Any) -> None:
        super().__init__(folder, name="", version="", **options)

    def save(self) -> None:
        """Write what is buffered."""
        self.experiment.flush()


class StepProgress(ProgressBar):
    """One bar over all steps with the weighted losses by kind and the time left."""

    def __init__(self, *, refresh_seconds: float = 0.5) -> None:
        super().__init__()
        self.refresh_seconds = refresh_seconds
        self._bar: tqdm[Any] | None = None
        self._above = ExitStack()
        self._refreshed = -math.inf

    def disable(self) -> None:
        """Lightning's way to keep all but the first process quiet."""
        self.refresh_seconds = math.inf

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Open the bar where the run stands."""
        if math.isfinite(self.refresh_seconds):
            self._bar = tqdm(
                total=trainer.max_steps,
                initial=trainer.global_step,
                unit="step",
                dynamic_ncols=True,
                mininterval=self.refresh_seconds,
            )
            # What is logged meanwhile has lines of its own above the bar.
            self._above.enter_context(logging_redirect_tqdm())

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: object) -> None:
        """Advance; read the losses, which makes a GPU wait, only now and then."""
        if self._bar is None:
            return
        now = time.monotonic()
        last = trainer.global_step == trainer.max_steps
        if last or now - self._refreshed >= self.refresh_seconds:
            self._refreshed = now
            self._bar.set_postfix(_losses_by_kind(getattr(pl_module, "newest", {})), refresh=False)
        self._bar.update(trainer.global_step - self._bar.n)

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Close the bar before anything is said."""
        self._close()

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Close the bar."""
        self._close()

    def _close(self) -> None:
        if self._bar is not None:
            self._above.close()
            self._bar.close()
            self._bar = None


def _losses_by_kind(losses: Mapping[str, Tensor]) -> dict[str, str]:
    kinds: dict[str, float] = {}
    for name, value in losses.items():
        if name.startswith("train/"):
            kind = name.split("/")[1].split("_")[0]  # Of gan_AB and gan_BA one sum.
            kinds[kind] = kinds.get(kind, 0.0) + float(value)
    return {kind: f"{value:.3g}" for kind, value in kinds.items()}


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


class Panels(pl.Callback):
    """Puts a grid of the first held-out photos, content | painted | style a row, into TensorBoard at each validation.

    Args:
        style: `(1, 3, H, W)`.
        rows: photos to show.
    """

    def __init__(self, style: Tensor, *, rows: int = 4) -> None:
        self.style, self.rows = style, rows

    def on_validation_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Tensor,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Draw the grid of the first batch."""
        if batch_idx or trainer.sanity_checking or trainer.logger is None:
            return
        size = batch.shape[-2:]
        style = torch.nn.functional.interpolate(self.style, size=size, mode="bilinear", antialias=True)
        rows = [
            torch.stack([photo, painted, style[0].to(photo)])
            for photo, painted in zip(batch[: self.rows], outputs[: self.rows], strict=True)
        ]
        grid = make_grid(torch.cat(rows).float().cpu().nan_to_num(), nrow=3)
        # Lightning's numbers for the steps of the losses, from 0: what a killed run drew of later ones is drawn anew.
        step = max(trainer.global_step - 1, 0)
        trainer.logger.experiment.add_image("content_painted_style", grid, step)  # type: ignore[attr-defined]
