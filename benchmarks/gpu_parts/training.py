"""Trainings of the parts: settings of johnson2016, a batch in the device's memory, and a call after the first step."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from hydra import compose, initialize_config_dir
from torch import Tensor

from fast_style.data.image_folder import ImageFolderDataModule
from fast_style.methods.perceptual import PerceptualMethod
from fast_style.training.run import TrainingResult, run
from gpu_parts.figures import Figures
from gpu_parts.running import CHECKOUT
from gpu_parts.sizes import Sizes


def settings(figures: Figures, photos: Path, *, batch: int, steps: int, **changes: Any) -> list[str]:
    """Overrides of scripts/train.py: johnson2016 in bfloat16 with a VGG-16 of random weights, which take as long."""
    folder = figures.folder / "training"
    values = {
        "experiment": "johnson2016",
        "loss_network.weights": "random",
        "precision": "bf16-mixed",
        "style": "starry_night",
        "data.root": photos,
        "data.size": figures.sizes.side,
        "data.batch_size": batch,
        "data.workers": 0,
        "steps": steps,
        "val_every": steps,
        "checkpoint_every": steps,
        "runs": folder / "runs",
        "network_file": folder / "network.safetensors",
        "style.cache": folder / "styles",
    } | changes
    return [*(f"{key}={value}" for key, value in values.items()), *figures.sizes.network, *accelerator(figures.sizes)]


def accelerator(sizes: Sizes) -> list[str]:
    """The override that keeps a dry run on the CPU, also where there is a GPU."""
    return ["trainer.accelerator=cpu"] if sizes.dry else []


def train(overrides: list[str], *callbacks: pl.Callback) -> TrainingResult:
    """Train as scripts/train.py does, with more callbacks."""
    # The bundled style images are named relative to the checkout.
    os.chdir(CHECKOUT)
    with initialize_config_dir(str(CHECKOUT / "conf"), version_base="1.3"):
        cfg = compose("train", overrides)
    return run(cfg, overrides, callbacks=callbacks)


#: Override that replaces the folder's loader by one batch in the device's memory.
RESIDENT = {"data._target_": "gpu_parts.training.ResidentFolder"}


class ResidentFolder(ImageFolderDataModule):
    """One batch of photos of a folder, again and again, from the device's memory: no loading and no copying."""

    def train_dataloader(self) -> Any:
        """Load the first batch and move it to the device."""
        batch = next(iter(super().train_dataloader()))
        assert self.trainer is not None
        return _Again(batch._replace(pixels=batch.pixels.to(self.trainer.strategy.root_device)))


class _Again:
    def __init__(self, batch: Any) -> None:
        self.batch = batch

    def __iter__(self) -> Iterator[Any]:
        while True:
            yield self.batch


class AfterFirstStep(pl.Callback):
    """Calls `act` with the method and its batch when the first step is done."""

    def __init__(self, act: Callable[[PerceptualMethod, Tensor], None]) -> None:
        self.act = act

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: object, batch: Tensor, batch_idx: int
    ) -> None:
        """Act once: the run has one step."""
        assert isinstance(pl_module, PerceptualMethod)
        self.act(pl_module, batch)
