"""Tiny trainings: small loss network, random photos, few steps, few pixels."""

from pathlib import Path
from typing import Any

import torch
from checkout import CONF
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

from fast_style import save_image
from fast_style.training.run import TrainingResult, run


def photos(folder: Path, count: int = 6) -> Path:
    generator = torch.Generator().manual_seed(1)
    for index in range(count):
        small = torch.rand(1, 3, 6, 8, generator=generator)
        picture = torch.nn.functional.interpolate(small, size=(36, 48), mode="bilinear")
        save_image(picture, folder / f"{index}.png")
    return folder


def settings(folder: Path, **changes: Any) -> list[str]:
    if not (folder / "photos").exists():
        photos(folder / "photos")
        save_image(torch.rand(1, 3, 40, 40, generator=torch.Generator().manual_seed(2)), folder / "dots.png")
    values = {
        "style.image": folder / "dots.png",
        "style.size": 32,
        "data": "folder",
        "data.root": folder / "photos",
        "data.size": 32,
        "data.batch_size": 2,
        "data.workers": 0,
        "data.held_out": 2,
        "loss_network": "builtin",
        "loss.content_layers": "[relu2_1]",
        "loss.style_layers": "[relu1_1,relu2_1]",
        "generator.width": 4,
        "generator.blocks": 1,
        "optimizer@method.optimizer": "fused_adam",
        "steps": 4,
        "val_every": 4,
        "checkpoint_every": 2,
        "precision": "32-true",
        "runs": folder / "runs",
        "network_file": folder / "network.safetensors",
        "trainer.accelerator": "cpu",
    } | changes
    # None removes a setting that the chosen groups do not have.
    return [f"{key}={value}" for key, value in values.items() if value is not None]


def composed(overrides: list[str]) -> DictConfig:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose("train", overrides)


def train(folder: Path, **changes: Any) -> TrainingResult:
    overrides = settings(folder, **changes)
    return run(composed(overrides), overrides)
