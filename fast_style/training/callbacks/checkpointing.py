"""Nothing lost: whole checkpoints, random states, and a stop that saves first."""

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
    """Checkpoints that are written next to their place and renamed, and read as data that can run no code."""

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | os.PathLike[str], storage_options: Any = None
    ) -> None:
        """Write a checkpoint: under its name there is always a whole file or none."""
        write_checkpoint(checkpoint, path)

    def load_checkpoint(
        self,
        path: str | os.PathLike[str],
        map_location: Any = "cpu",
        weights_only: bool | None = True,
    ) -> dict[str, Any]:
        """Read a checkpoint, to the CPU; a damaged one is refused."""
        return read_checkpoint(path)


class PeriodicCheckpoint(Checkpoint):
    """Saves after every so many steps, and keeps two: the new one, and the newest whole one before it.

    A run that can't save ends. It would lose all that it does from then on; a full disk seldom empties by itself, and
    the curves can't be written either. So no more than one interval is lost, and a scheduler sees it fail.

    After a step that was skipped (`skip_nonfinite.py`) saving waits for the next good one, and it waits while a weight
    is not finite: broken weights must not take the place of those from before.

    Args:
        folder: of this run's checkpoints alone.
        every: steps from one to the next.
    """

    def __init__(self, folder: Path, *, every: int) -> None:
        self.folder, self.every = folder, every
        self._step, self._due = 0, False
        self._saved: Path | None = None
        self._flush_next = False

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Remove what a killed run was writing."""
        if trainer.is_global_zero:
            remove_leftovers(self.folder)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Begin where the run stands."""
        self._step = trainer.global_step

    def on_train_batch_start(self, trainer: pl.Trainer, *_: object) -> None:
        """Write the curves of the step that was saved, validation included: a resumed run does not repeat it."""
        if self._flush_next:
            self._flush(trainer)
        self._flush_next = False

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: object) -> None:
        """Save where it is time to; several batches may make a step."""
        if trainer.global_step == self._step:
            return
        self._step = trainer.global_step
        self._due |= self._step % self.every == 0
        if self._due and getattr(pl_module, "finite", True) and has_finite_weights(pl_module):
            self.save(trainer)
            self._due, self._flush_next = False, True

    def save(self, trainer: pl.Trainer) -> None:
        """Save the step that the trainer stands at; all processes call it."""
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
    """Remove all of a run's checkpoints but the newest and one whole one before it.

    Args:
        folder: of this run's checkpoints alone.
        newest: has just been written.
        whole: one that is known to be whole. Reading takes as long as writing, and what this run wrote needs no look.
    """
    older = [path for path in folder.glob("step-*.ckpt") if path != newest]
    kept = whole if whole in older else latest_valid(older)
    for path in older:
        if path != kept:
            path.unlink(missing_ok=True)


class RNGStateCallback(pl.Callback):
    """Puts the random generators' states into the checkpoint, and back when the training goes on."""

    def __init__(self) -> None:
        self._restored: Mapping[str, Any] | None = None

    def state_dict(self) -> dict[str, Any]:
        """States of Python's, torch's and this process's GPU's generator."""
        cuda = [torch.cuda.get_rng_state()] if torch.cuda.is_available() else []
        return {"python": random.getstate(), "torch": torch.get_rng_state(), "cuda": cuda}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Keep the states until the set-up, which draws numbers of its own, is over."""
        self._restored = state_dict

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Set the states."""
        if self._restored is None:
            return
        random.setstate(self._restored["python"])
        torch.set_rng_state(self._restored["torch"])
        if torch.cuda.is_available() and self._restored["cuda"]:
            torch.cuda.set_rng_state(self._restored["cuda"][0])
        self._restored = None


class SignalCheckpoint(pl.Callback):
    """On Ctrl-C or SIGTERM, finish the step, save, and raise `Interrupted`; a second signal stops at once.

    Of many processes, those that were not asked stop with the one that was, a step later.

    Args:
        folder: for the checkpoint.
        processes: of the run.
    """

    def __init__(self, folder: Path, processes: Processes) -> None:
        self.folder, self.processes = folder, processes
        self._request = SignalHandler()
        self._listening = ExitStack()
        self._step = 0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Listen."""
        self._step = trainer.global_step
        if self.processes.count > 1:
            # Lightning's answer to SIGTERM, and its question before every step whether there was one, are collectives:
            # the one hangs within a signal handler, the other makes a GPU wait.
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            trainer.fit_loop.epoch_loop._broadcast_sigterm_tensor = _nothing  # type: ignore[method-assign]
        self._listening.enter_context(self._request)

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: object) -> None:
        """Stop here, between two steps, if somebody asked."""
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
        message = f"Stopped at step {trainer.global_step}; everything is saved in {path}. Go on with resume={path}"
        raise Interrupted(message if self.processes.first else "", number, saved=path)

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Give the signals back."""
        self._listening.close()

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Give the signals back."""
        self._listening.close()


def _nothing() -> None:
    pass
