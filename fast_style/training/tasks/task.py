"""What every task has: its data opened, its learning rate for the batch, its recipe for the network file."""

import json
import os
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import pytorch_lightning as pl
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from torch import nn

from fast_style.data.datamodule import InfiniteDataModule, PhotoDataModule
from fast_style.training.config_checks import scaled
from fast_style.training.effective_batch import EffectiveBatch

#: Settings whose values are places on this machine; of those a network file keeps the last part.
_PLACES = frozenset(
    [
        *("image", "texture", "cache", "init_from", "root", "roots", "urls", "held_out_root", "a", "b"),
        *("test_a", "test_b", "weights", "shallow", "deep"),
    ]
)


class Task(ABC):
    """One training, as `training.run` goes through it.

    Attributes:
        chosen_by: how a person chooses it, for error messages.
        unused: settings and groups of the command line that it has no use for, and refuses.
        named_by: the settings that say what is learnt, and name the run.
        name: of the run's folder.
        network_files: where the result goes.
        data: batches. Opened with the task, before there are networks: what is wrong with a folder is said at once.
        watchers: callbacks that show what is learnt.
    """

    chosen_by: ClassVar[str]
    unused: ClassVar[Sequence[str]]
    named_by: ClassVar[Sequence[str]]
    name: str
    network_files: Sequence[Path]
    data: InfiniteDataModule
    watchers: list[pl.Callback]

    @abstractmethod
    def __init__(self, cfg: DictConfig) -> None:
        """Check the settings, and open the data; ValueError for what does not do."""

    @staticmethod
    @abstractmethod
    def run_name(cfg: DictConfig) -> str:
        """What a run of these settings is called, and with it the network's file; ValueError if nothing says it."""

    @abstractmethod
    def method(self, batch: EffectiveBatch) -> pl.LightningModule:
        """Build what learns."""

    @abstractmethod
    def compiled(self, method: Any) -> Sequence[nn.Module]:
        """The parts of the method that torch.compile repays."""

    @abstractmethod
    def save(self, method: Any) -> None:
        """Write the result."""


def opened_data(cfg: DictConfig) -> InfiniteDataModule:
    """The data that the configuration names, found."""
    data = instantiate(cfg.data, _convert_="all")
    data.setup()
    assert isinstance(data, InfiniteDataModule)
    return data


def photos(cfg: DictConfig) -> PhotoDataModule:
    """The same, where only photos will do; ValueError for other data."""
    data = opened_data(cfg)
    if not isinstance(data, PhotoDataModule):
        raise ValueError(
            "This learns from photos: take data=samples, folder or shards; data=unpaired is for method=cyclegan."
        )
    return data


def for_batch(cfg: DictConfig, batch: EffectiveBatch) -> DictConfig:
    """The configuration with the learning rate that is for this batch."""
    return cfg if batch.rule == "constant" else scaled(cfg, batch.factor)


def recipe_of(cfg: DictConfig, batch: EffectiveBatch, parts: Sequence[str]) -> str:
    """What made the network, as JSON, without the folders of the machine that made it."""
    recipe = {
        part: OmegaConf.to_container(cfg[part], resolve=True) if OmegaConf.is_config(cfg[part]) else cfg[part]
        for part in ("steps", "seed", "precision", *parts)
    }
    return json.dumps(_without_folders(recipe) | {"effective_batch": batch.as_recipe()})


def _without_folders(value: Any, key: str = "") -> Any:
    if isinstance(value, dict):
        return {name: _without_folders(item, name) for name, item in value.items()}
    if isinstance(value, list):
        return [_without_folders(item, key) for item in value]
    return os.path.basename(value.rstrip("/")) if isinstance(value, str) and key in _PLACES else value


def plain(value: Any) -> Any:
    """A setting as plain values."""
    return OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value
