"""Pictures of a translation, for TensorBoard."""

from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor
from torchvision.utils import make_grid


class TranslationPanels(pl.Callback):
    """Puts a grid of the first held-out pictures of either side into TensorBoard at each validation.

    A row is what a method's `validation_step` returns by side: a picture, translated, back, and left as it is.

    Args:
        rows: pictures to show of either side.
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
        """Collect rows from as many batches as it takes, and draw them with the last one."""
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
        """Draw."""
        if trainer.sanity_checking or trainer.logger is None:
            return
        # Lightning's numbers for the steps of the losses, as in watching.py.
        step = max(trainer.global_step - 1, 0)
        for side, parts in self._columns.items():
            columns = [torch.cat(column) for column in zip(*parts, strict=True)]
            rows = torch.stack(columns, 1).flatten(0, 1).nan_to_num()
            grid = make_grid(rows, nrow=len(columns))
            trainer.logger.experiment.add_image(self.NAMES[side], grid, step)  # type: ignore[attr-defined]
