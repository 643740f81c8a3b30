"""A compiled training whose first steps are not finite goes on without the compiler."""

import logging
from typing import Any

import pytorch_lightning as pl
import torch

log = logging.getLogger(__name__)

#: Steps at the start of a run that must all be non-finite before the compiler is blamed.
_PATIENCE = 2


class EagerFallback(pl.Callback):
    """Turns torch.compile off for the rest of a run on a CPU whose first steps are not finite.

    On some CPUs compiled code gives gradients that are not finite, where the same step without the compiler has finite
    ones: seen with torch 2.14 and `bf16-mixed` on an Intel Xeon that has AVX-512 bf16 and no AMX. Every step is then
    skipped, so no weight has changed. If later steps are not finite either, the weights are the cause, and
    `SkipNonFinite` ends the run as usual.

    A GPU is left alone: with `16-mixed` its first steps overflow until the scale of the loss is found.
    """

    def __init__(self) -> None:
        self._failed, self._watching, self._eager = 0, True, False

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Count the non-finite steps before the first finite one."""
        if not self._watching or pl_module.device.type != "cpu":
            return
        if (batch_idx + 1) % trainer.accumulate_grad_batches:
            return  # Gradients are still being accumulated.
        if bool(pl_module.finite):
            self._watching = False
            return
        self._failed += 1
        if self._failed == _PATIENCE:
            self._watching, self._eager = False, True
            torch.compiler.set_stance("force_eager")
            log.warning(
                "The first %d compiled steps were not finite, so the training goes on without torch.compile. "
                "If it fails on this machine each time, set compile=false.",
                _PATIENCE,
            )

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Let the next run of this process compile again."""
        self._restore()

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Let the next run of this process compile again."""
        self._restore()

    def _restore(self) -> None:
        if self._eager:
            torch.compiler.set_stance("default")
            self._eager = False
