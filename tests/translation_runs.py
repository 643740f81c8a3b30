"""Tiny CycleGAN trainings: two synthetic collections, small networks, few steps, few pixels."""

from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from torch import Tensor
from training_runs import composed

from fast_style import save_image
from fast_style.training.run import TrainingResult, run


def drawn(seed: int, size: tuple[int, int]) -> Tensor:
    """Draw a smooth image `(1, 3, H, W)`: much red, some green, little blue."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(1, 3, 5, 6, generator=generator)
    picture = F.interpolate(coarse, size=size, mode="bilinear")
    return picture * torch.tensor([0.4, 0.4, 0.3]).view(1, 3, 1, 1) + torch.tensor([0.55, 0.3, 0.05]).view(1, 3, 1, 1)


def collections(root: Path, *, a: int = 5, b: int = 4, size: tuple[int, int] = (30, 36)) -> Path:
    """Collection A has warm images, collection B their negatives."""
    for number in range(a):
        save_image(drawn(number, size), root / "trainA" / f"{number}.png")
    for number in range(b):
        save_image(1 - drawn(100 + number, size), root / "trainB" / f"{number}.png")
    for number in range(2):
        save_image(drawn(200 + number, size), root / "testA" / f"{number}.png")
        save_image(1 - drawn(300 + number, size), root / "testB" / f"{number}.png")
    return root


def settings(folder: Path, **changes: Any) -> list[str]:
    if not (folder / "warm2cold").exists():
        collections(folder / "warm2cold")
    values = {
        "method": "cyclegan",
        "data.root": folder / "warm2cold",
        "data.size": 24,
        "data.load_size": 28,
        "data.held_out": 2,
        "data.workers": 0,
        "generator.width": 3,
        "generator.blocks": 1,
        "discriminator.width": 3,
        "method.pool_size": 3,
        "steps": 8,
        "val_every": 8,
        "checkpoint_every": 4,
        "precision": "32-true",
        "runs": folder / "runs",
        "network_file": folder / "network.safetensors",
        "trainer.accelerator": "cpu",
    } | changes
    return [f"{key}={value}" for key, value in values.items() if value is not None]


def translate(folder: Path, *, callbacks: tuple[pl.Callback, ...] = (), **changes: Any) -> TrainingResult:
    overrides = settings(folder, **changes)
    return run(composed(overrides), overrides, callbacks=callbacks)


def checkpoint(folder: Path, step: int) -> Path:
    (found,) = folder.glob(f"runs/*/*/checkpoints/step-{step:06d}.ckpt")
    return found
