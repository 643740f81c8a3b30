"""Nothing lost: whole checkpoints, random states, and a stop that saves first."""

import os
import pickle
import random
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from lightning_fabric.plugins.io.torch_io import TorchCheckpointIO

from fast_style.stopping import Interrupted, StopRequest
from fast_style.whole_files import whole_file


class WholeFiles(TorchCheckpointIO):
    """Checkpoints that are written next to their place and renamed, and read as data that can run no code."""

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | os.PathLike[str], storage_options: Any = None
    ) -> None:
        """Write a checkpoint: under its name there is always a whole file or none."""
        with whole_file(path) as file:
            torch.save(checkpoint, file)

    def load_checkpoint(
        self,
        path: str | os.PathLike[str],
        map_location: Any = "cpu",
        weights_only: bool | None = True,
    ) -> dict[str, Any]:
        """Read a checkpoint; a pickle that wants more than tensors and plain values is refused."""
        try:
            content: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
            raise ValueError(f"{path} is no whole checkpoint; resume from another one in its folder.") from error
        return content


class RandomState(pl.Callback):
    """Puts the random generators' states into the checkpoint, and back when the training goes on."""

    def __init__(self) -> None:
        self._restored: Mapping[str, Any] | None = None

    def state_dict(self) -> dict[str, Any]:
        """States of Python's, torch's and every GPU's generator."""
        cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
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
        if torch.cuda.is_available() and len(self._restored["cuda"]) == torch.cuda.device_count():
            torch.cuda.set_rng_state_all(self._restored["cuda"])
        self._restored = None


class StopAndSave(pl.Callback):
    """On Ctrl-C or SIGTERM, finish the step, save, and raise `Interrupted`; a second signal stops at once.

    Args:
        folder: for the checkpoint.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._request = StopRequest()
        self._listening = ExitStack()

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Listen."""
        self._listening.enter_context(self._request)

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: object) -> None:
        """Stop here, between two steps, if somebody asked."""
        number = self._request.signal_number
        if number is None:
            return
        path = self.folder / f"step-{trainer.global_step:06d}.ckpt"
        trainer.save_checkpoint(path, weights_only=False)
        message = f"Stopped at step {trainer.global_step}; everything is saved in {path}. Go on with resume={path}"
        raise Interrupted(message, number, saved=path)

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Give the signals back."""
        self._listening.close()

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Give the signals back."""
        self._listening.close()
