"""TensorBoard image grids of the validation images."""

from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor
from torchvision.utils import make_grid


class TranslationGridCallback(pl.Callback):
    """Logs a grid of the first validation images of each side at each validation.

    A row is what the method's `validation_step` returns per side: an image, its translation, the translation back, and
    the image through the other generator, which should leave it unchanged.

    Args:
        rows: images per side.
    """

    NAMES = {"A": "A_to_B_and_back", "B": "B_to_A_and_back"}  # noqa: RUF012 - never changed.

    def __init__(self, *, rows: int = 4) -> None:
        self.rows = rows

    def on_validation_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Tensor,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Collect rows until there are enough."""
        if trainer.sanity_checking or trainer.logger is None:
            return
        if batch_idx == 0:
            self._columns: dict[str, list[list[Tensor]]] = {side: [] for side in self.NAMES}
        shown = sum(len(columns[0]) for columns in self._columns["A"])
        if shown >= self.rows:
            return
        for side, columns in outputs.items():
            self._columns[side].append([column[: self.rows - shown].float().cpu() for column in columns])

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Log one grid per side."""
        if trainer.sanity_checking or trainer.logger is None:
            return
        # The same step number as Lightning's losses, as in `ImageGridCallback`.
        step = max(trainer.global_step - 1, 0)
        for side, parts in self._columns.items():
            columns = [torch.cat(column) for column in zip(*parts, strict=True)]
            rows = torch.stack(columns, 1).flatten(0, 1).nan_to_num()
            grid = make_grid(rows, nrow=len(columns))
            trainer.logger.experiment.add_image(self.NAMES[side], grid, step)  # type: ignore[attr-defined]


class ImageGridCallback(pl.Callback):
    """Logs a grid of the first validation photos at each validation; a row is content, stylized, style image.

    Args:
        style: the style image, `(1, 3, H, W)` in 0 to 1.
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
        """Log the grid of the first batch."""
        if batch_idx or trainer.sanity_checking or trainer.logger is None:
            return
        size = batch.shape[-2:]
        style = torch.nn.functional.interpolate(self.style, size=size, mode="bilinear", antialias=True)
        rows = [
            torch.stack([photo, painted, style[0].to(photo)])
            for photo, painted in zip(batch[: self.rows], outputs[: self.rows], strict=True)
        ]
        grid = make_grid(torch.cat(rows).float().cpu().nan_to_num(), nrow=3)
        # Lightning numbers the steps of losses from 0. With the same numbers, a resumed run replaces later grids too.
        step = max(trainer.global_step - 1, 0)
        trainer.logger.experiment.add_image("content_painted_style", grid, step)  # type: ignore[attr-defined]
