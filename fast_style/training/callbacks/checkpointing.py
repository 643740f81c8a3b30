"""Checkpoints: atomic files, periodic saving, random states, and saving on a signal."""

import os
import random
import signal
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from lightning_fabric.plugins.io.torch_io import TorchCheckpointIO
from pytorch_lightning.callbacks import Checkpoint

from fast_style.atomic_files import remove_leftovers
from fast_style.interrupts import Interrupted, SignalHandler
from fast_style.training.callbacks.skip_nonfinite import has_finite_weights
from fast_style.training.checkpoint_io import latest_valid, read_checkpoint, write_checkpoint
from fast_style.training.distributed.process_group import Processes


class AtomicCheckpointIO(TorchCheckpointIO):
    """Lightning's checkpoint reader and writer: atomic writes, and reads that run no code."""

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | os.PathLike[str], storage_options: Any = None
    ) -> None:
        """Write a checkpoint atomically."""
        write_checkpoint(checkpoint, path)

    def load_checkpoint(
        self,
        path: str | os.PathLike[str],
        map_location: Any = "cpu",
        weights_only: bool | None = True,
    ) -> dict[str, Any]:
        """Read a checkpoint to the CPU; raise ValueError for a damaged one."""
        return read_checkpoint(path)


class PeriodicCheckpoint(Checkpoint):
    """Saves every `every` steps and keeps two checkpoints: the new one and the newest undamaged one before it.

    Lightning's `ModelCheckpoint` neither verifies the older checkpoint before it removes others, nor waits for finite
    weights.

    If a checkpoint cannot be written, the run ends. Otherwise it would lose all later steps: a full disk seldom frees
    space without help, and TensorBoard cannot write either. This way at most one interval is lost, and a scheduler sees
    the failure.

    After a skipped step (`skip_nonfinite.py`) the checkpoint waits for the next finite step. It also waits while any
    weight is not finite, so that broken weights never replace good ones.

    Args:
        folder: folder of this run's checkpoints only.
        every: steps between checkpoints.
    """

    def __init__(self, folder: Path, *, every: int) -> None:
        self.folder, self.every = folder, every
        self._step, self._due = 0, False
        self._saved: Path | None = None
        self._flush_next = False

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Remove temporary files of a killed run."""
        if trainer.is_global_zero:
            remove_leftovers(self.folder)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start from the current step."""
        self._step = trainer.global_step

    def on_train_batch_start(self, trainer: pl.Trainer, *_: object) -> None:
        """Write the curves of the saved step, validation included, because a resumed run does not repeat that step."""
        if self._flush_next:
            self._flush(trainer)
        self._flush_next = False

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: object) -> None:
        """Save at the interval. A step may have several batches."""
        if trainer.global_step == self._step:
            return
        self._step = trainer.global_step
        self._due |= self._step % self.every == 0
        if self._due and getattr(pl_module, "finite", True) and has_finite_weights(pl_module):
            self.save(trainer)
            self._due, self._flush_next = False, True

    def save(self, trainer: pl.Trainer) -> None:
        """Save the current step. All processes must call this."""
        path = self.folder / f"step-{trainer.global_step:06d}.ckpt"
        self._flush(trainer)
        trainer.save_checkpoint(path, weights_only=False)
        if trainer.is_global_zero:
            keep_two(self.folder, path, whole=self._saved)
        self._saved = path

    def _flush(self, trainer: pl.Trainer) -> None:
        if trainer.is_global_zero and trainer.logger is not None:
            trainer.logger.save()


def keep_two(folder: Path, newest: Path, *, whole: Path | None = None) -> None:
    """Remove all checkpoints of a run except the newest and an undamaged one before it.

    Args:
        folder: folder of this run's checkpoints only.
        newest: the checkpoint that was just written.
        whole: a checkpoint known to be undamaged, such as the last one this run wrote. Checking a file takes as long as
            writing it.
    """
    older = [path for path in folder.glob("step-*.ckpt") if path != newest]
    kept = whole if whole in older else latest_valid(older)
    for path in older:
        if path != kept:
            path.unlink(missing_ok=True)


class RNGStateCallback(pl.Callback):
    """Saves the states of the random number generators, which Lightning's checkpoints lack, and restores them."""

    def __init__(self) -> None:
        self._restored: Mapping[str, Any] | None = None

    def state_dict(self) -> dict[str, Any]:
        """States of the generators of Python, torch, and this process's GPU."""
        cuda = [torch.cuda.get_rng_state()] if torch.cuda.is_available() else []
        return {"python": random.getstate(), "torch": torch.get_rng_state(), "cuda": cuda}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Keep the states until training starts, because the set-up draws random numbers too."""
        self._restored = state_dict

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Restore the states."""
        if self._restored is None:
            return
        random.setstate(self._restored["python"])
        torch.set_rng_state(self._restored["torch"])
        if torch.cuda.is_available() and self._restored["cuda"]:
            torch.cuda.set_rng_state(self._restored["cuda"][0])
        self._restored = None


class SignalCheckpoint(pl.Callback):
    """On Ctrl-C or SIGTERM, finish the step, save, and raise `Interrupted`. A second signal stops at once.

    With several processes, a signal to one of them stops all of them, one step later. Lightning saves on a signal only
    in SLURM, and its `OnExceptionCheckpoint` saves in the middle of a step.

    Args:
        folder: folder for the checkpoint.
        processes: the processes of the run.
    """

    def __init__(self, folder: Path, processes: Processes) -> None:
        self.folder, self.processes = folder, processes
        self._request = SignalHandler()
        self._listening = ExitStack()
        self._step = 0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start to listen for signals."""
        self._step = trainer.global_step
        if self.processes.count > 1:
            # Lightning's SIGTERM handler and its check before every step are collectives. The handler hangs inside a
            # signal handler, and the check makes a GPU wait.
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            trainer.fit_loop.epoch_loop._broadcast_sigterm_tensor = _nothing  # type: ignore[method-assign]
        self._listening.enter_context(self._request)

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: object) -> None:
        """Stop between two steps if a signal came."""
        if trainer.global_step == self._step:
            return  # Gradients are still being accumulated.
        self._step = trainer.global_step
        number = self.processes.lagged_max(self._request.signal_number or 0)
        if not number:
            return
        path = self.folder / f"step-{trainer.global_step:06d}.ckpt"
        trainer.save_checkpoint(path, weights_only=False)
        if trainer.is_global_zero:
            keep_two(self.folder, path)
        message = f"Stopped at step {trainer.global_step} and saved a checkpoint. Resume with resume={path}"
        raise Interrupted(message if self.processes.first else "", number, saved=path)

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Restore the previous signal handlers."""
        self._listening.close()

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Restore the previous signal handlers; one of several processes ignores SIGTERM from here on.

        A launcher that lost a process sends SIGTERM to the others. It must not cut off their error messages.
        """
        self._listening.close()
        if self.processes.count > 1:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)


def _nothing() -> None:
    pass
