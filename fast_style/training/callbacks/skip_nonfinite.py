"""Non-finite steps are skipped, logged and counted; too many in a row end the run."""

import logging
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from fast_style.training.checkpoint_io import latest_valid

log = logging.getLogger(__name__)


class StepRecord(NamedTuple):
    """A step: its number, whether it was finite, and the losses of its batches, still on the device."""

    number: int
    finite: Tensor
    losses: tuple[Tensor, ...]


class SkipNonFinite(pl.Callback):
    """Logs the skipped steps of a method that sets `finite` in each step, and ends the run after too many in a row.

    Lightning skips no steps: `EarlyStopping(check_finite=True)` ends the run at the first value that is not finite.

    Only steps in a row count. Weights do not change while steps are skipped. So if many different batches fail in a
    row, the weights are the cause, and more batches will not help. A single bad batch now and then does a long run no
    harm. The learning rate schedule advances at skipped steps too, so the number of steps stays the same.

    On a GPU the result is read only every `every` steps, because reading makes the GPU wait. So a run on a GPU may end
    up to `every` steps late, with unchanged weights.

    At the end of a run two skipped steps in a row are too many, and so are skipped steps only, because no later step
    can show that the weights are good.

    Args:
        folder: folder of the checkpoints.
        files_of: returns the image files of the n-th batch before the last one; 0 is the last.
        max_skips: number of steps in a row that may be skipped; one more ends the run.
        every: steps between reads on a GPU.

    Raises:
        ValueError: max_skips below 0.
    """

    def __init__(self, folder: Path, *, files_of: Callable[[int], Sequence[str]], max_skips: int, every: int) -> None:
        if max_skips < 0:
            raise ValueError(f"max_skips is at least 0; got {max_skips}.")
        self.folder, self.files_of, self.max_skips, self.every = folder, files_of, max_skips, every
        self.skipped, self.in_a_row = 0, 0
        self._first, self._step = 0, 0
        self._losses: list[Tensor] = []
        self._unread: list[StepRecord] = []
        self._process: int | None = None  # None with a single process.

    def state_dict(self) -> dict[str, Any]:
        """Numbers of skipped steps."""
        self._read()
        return {"skipped": self.skipped, "in_a_row": self.in_a_row}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the numbers."""
        self.skipped, self.in_a_row = state_dict["skipped"], state_dict["in_a_row"]

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start from the current step."""
        self._first = self._step = trainer.global_step
        self._process = trainer.global_rank if trainer.world_size > 1 else None

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Record whether the step was finite. On a CPU, check it at once."""
        assert isinstance(outputs, Mapping)
        self._losses.append(outputs["loss"])
        if trainer.global_step == self._step:
            return  # Gradients are still being accumulated.
        self._step = trainer.global_step
        finite = self._is_finite(trainer, pl_module)
        self._unread.append(StepRecord(self._step, finite, tuple(self._losses)))
        self._losses.clear()
        if finite.device.type == "cpu" or self._step % self.every == 0:
            self._read()
            self._raise_if_too_many()

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Check the last steps, so that a broken network never overwrites a good one.

        Raises:
            ValueError: the last steps were skipped.
        """
        self._read()
        self._raise_if_too_many()
        if self.in_a_row > 1 or 0 < self._step - self._first == self.in_a_row:
            raise ValueError(
                f"The loss or its gradient was not finite in the last steps ({self.in_a_row} in a row, up to step "
                f"{self._step}), so no network is written: {restart_advice(self.folder)}"
            )

    def _is_finite(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> Tensor:
        finite = pl_module.finite
        assert isinstance(finite, Tensor)
        scaler = getattr(trainer.precision_plugin, "scaler", None)
        if scaler is not None and scaler.get_scale() >= 1:
            # With 16-mixed, gradients overflow and steps are skipped while the scaler searches its scale.
            return torch.stack(self._losses).isfinite().all()
        return finite

    def _read(self) -> None:
        unread, self._unread = self._unread, []
        if not unread:
            return
        after = sum(len(step.losses) for step in unread)
        for step, finite in zip(unread, torch.stack([step.finite for step in unread]).tolist(), strict=True):
            after -= len(step.losses)
            self.in_a_row = 0 if finite else self.in_a_row + 1
            self.skipped += not finite
            if not finite:
                self._warn(step, after)

    def _warn(self, step: StepRecord, after: int) -> None:
        """Log the photos of a skipped step. `after` is the number of batches since then."""
        to_blame = [back for back, loss in enumerate(reversed(step.losses)) if not loss.isfinite()]
        if self._process is not None and not to_blame:
            if self._process == 0:
                log.warning("Step %d is skipped: a gradient, or another process's loss, is not finite.", step.number)
            return
        batches = reversed(to_blame or range(len(step.losses)))
        files = ", ".join(self._files(after + back for back in batches)) or "no longer known"
        log.warning("Step %d is skipped: its loss or gradient is not finite. Its photos: %s.", step.number, files)

    def _files(self, batches_back: Iterator[int]) -> Iterator[str]:
        for back in batches_back:
            yield from self.files_of(back)

    def _raise_if_too_many(self) -> None:
        if self.in_a_row <= self.max_skips:
            return
        raise ValueError(
            f"The loss or its gradient was not finite in {self.in_a_row} steps in a row, up to step {self._step}, and "
            f"max_skips={self.max_skips}: {restart_advice(self.folder)}"
        )


def restart_advice(checkpoints: Path, *, but: Path | None = None) -> str:
    """Advice for a diverged run; `but` is a checkpoint with broken weights."""
    good = latest_valid(path for path in checkpoints.glob("*.ckpt") if path != but)
    otherwise = f", or resume from the last good checkpoint with resume={good}" if good else ""
    return f"start again with a lower method.optimizer.lr or precision=32-true{otherwise}."


def has_finite_weights(method: nn.Module) -> bool:
    """Whether all weights that a checkpoint would save are finite."""
    learnt = dict(method.named_parameters()).keys()
    finite = [tensor.isfinite().all() for name, tensor in method.state_dict().items() if name in learnt]
    return not finite or bool(torch.stack(finite).all())


def require_finite(method: nn.Module, losses: Mapping[str, float], *, checkpoints: Path, step: int) -> None:
    """Refuse a network with non-finite weights or validation losses, before it overwrites a good file.

    Args:
        method: the trained method.
        losses: losses by name; only those of the validation count.
        checkpoints: folder of the run's checkpoints.
        step: current step.

    Raises:
        ValueError: a weight or a validation loss is not finite.
    """
    flawed = [name for name, value in losses.items() if name.startswith("val") and not math.isfinite(value)]
    if not has_finite_weights(method):
        what = "Some weights are not finite"
    elif flawed:
        what = f"The validation is not finite ({', '.join(flawed)})"
    else:
        return
    advice = restart_advice(checkpoints, but=checkpoints / f"step-{step:06d}.ckpt")
    raise ValueError(f"{what} after step {step}, so no network is written: {advice}")
