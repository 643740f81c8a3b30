"""Progress bar and TensorBoard logger of a run."""

import math
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import ProgressBar
from pytorch_lightning.loggers import TensorBoardLogger
from torch import Tensor
from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

#: A refresh without a terminal.
LINE = "{percentage:3.0f}% {n_fmt}/{total_fmt} [{elapsed}<{remaining}, {rate_fmt}{postfix}]\n"


class RunLogger(TensorBoardLogger):
    """TensorBoard logger without Lightning's `hparams.yaml`, which `config.yaml` replaces."""

    def __init__(self, folder: Path, **options: Any) -> None:
        super().__init__(folder, name="", version="", **options)

    def save(self) -> None:
        """Write buffered points to the disk."""
        self.experiment.flush()


class StepProgress(ProgressBar):
    """One progress bar over all steps, with the weighted losses by kind and the time left.

    Lightning's `TQDMProgressBar` counts the batches of an epoch. An endless epoch has no number of batches, so that bar
    knows no time left. Without a terminal, as in the log file of a cluster, every refresh is a line of its own.

    Args:
        refresh_seconds: seconds between two refreshes; None: 0.5 in a terminal, 30 in a file.
    """

    def __init__(self, *, refresh_seconds: float | None = None) -> None:
        super().__init__()
        self._lines = not sys.stderr.isatty()
        self.refresh_seconds = (30 if self._lines else 0.5) if refresh_seconds is None else refresh_seconds
        self._bar: tqdm[Any] | None = None
        self._above = ExitStack()
        self._refreshed = -math.inf

    def disable(self) -> None:
        """Disable the bar. Lightning calls this in all processes but the first."""
        self.refresh_seconds = math.inf

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Open the bar at the current step."""
        if math.isfinite(self.refresh_seconds):
            self._bar = tqdm(
                total=trainer.max_steps,
                initial=trainer.global_step,
                unit="step",
                dynamic_ncols=True,
                mininterval=self.refresh_seconds,
                bar_format=LINE if self._lines else None,
            )
            # Log messages get their own lines above the bar.
            self._above.enter_context(logging_redirect_tqdm())

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: object) -> None:
        """Advance. Losses are read only every `refresh_seconds`, because reading makes a GPU wait."""
        if self._bar is None:
            return
        now = time.monotonic()
        last = trainer.global_step == trainer.max_steps
        if last or now - self._refreshed >= self.refresh_seconds:
            self._refreshed = now
            self._bar.set_postfix(_losses_by_kind(getattr(pl_module, "newest", {})), refresh=False)
        self._bar.update(trainer.global_step - self._bar.n)

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Close the bar before the error is printed."""
        self.close()

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Close the bar."""
        self.close()

    def close(self) -> None:
        """Close the bar, if it is open, and stop redirecting the log."""
        if self._bar is not None:
            bar, self._bar = self._bar, None
            with self._above:
                bar.close()


@contextmanager
def closed_bar(trainer: pl.Trainer) -> Iterator[None]:
    """Close the trainer's bar at the end, even if an error keeps Lightning from calling its callbacks."""
    try:
        yield
    finally:
        if isinstance(trainer.progress_bar_callback, StepProgress):
            trainer.progress_bar_callback.close()


def _losses_by_kind(losses: Mapping[str, Tensor]) -> dict[str, str]:
    kinds: dict[str, float] = {}
    for name, value in losses.items():
        if name.startswith("train/"):
            kind = name.split("/")[1].split("_")[0]  # gan_AB and gan_BA become one sum.
            kinds[kind] = kinds.get(kind, 0.0) + float(value)
    return {kind: f"{value:.3g}" for kind, value in kinds.items()}
