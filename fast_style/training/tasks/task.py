"""Base class of training tasks, and what they share: data, scaled learning rate, recipe for the network file."""

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

#: Settings with paths on this machine. A network file keeps only the last part of these paths.
_PLACES = frozenset(
    [
        *("image", "texture", "cache", "init_from", "root", "roots", "urls", "held_out_root", "a", "b"),
        *("test_a", "test_b", "weights", "shallow", "deep"),
    ]
)


class Task(ABC):
    """One kind of training, used by `training.run`.

    Attributes:
        chosen_by: the setting or script that chooses the task, for error messages.
        unused: settings and groups that the task does not use; overrides of them are refused.
        named_by: settings that determine what is learnt and the run's name.
        name: name of the run's folder.
        network_files: files of the result.
        data: data module. The task opens it before it builds networks, so a bad folder fails at once.
        watchers: callbacks that show progress, such as image grids.
        per_process_state: what each process keeps for itself (see `BatchSizeCheck`); empty if nothing.
    """

    per_process_state: str = ""
    chosen_by: ClassVar[str]
    unused: ClassVar[Sequence[str]]
    named_by: ClassVar[Sequence[str]]
    name: str
    network_files: Sequence[Path]
    data: InfiniteDataModule
    watchers: list[pl.Callback]

    @abstractmethod
    def __init__(self, cfg: DictConfig) -> None:
        """Check the settings and open the data; raise ValueError for invalid ones."""

    @staticmethod
    @abstractmethod
    def run_name(cfg: DictConfig) -> str:
        """Name of the run and of its network file; raise ValueError if the settings give none."""

    @abstractmethod
    def method(self, batch: EffectiveBatch) -> pl.LightningModule:
        """Build the Lightning module to train."""

    @abstractmethod
    def compiled(self, method: Any) -> Sequence[nn.Module]:
        """Parts of the method to compile with torch.compile."""

    @abstractmethod
    def save(self, method: Any) -> None:
        """Write the network files."""


def opened_data(cfg: DictConfig) -> InfiniteDataModule:
    """Build the data module of the configuration and set it up."""
    data = instantiate(cfg.data, _convert_="all")
    data.setup()
    assert isinstance(data, InfiniteDataModule)
    return data


def photos(cfg: DictConfig) -> PhotoDataModule:
    """Like `opened_data`, for tasks that train on photos; raise ValueError for other data."""
    data = opened_data(cfg)
    if not isinstance(data, PhotoDataModule):
        raise ValueError(
            "This task trains on photos: take data=samples, folder or shards; data=unpaired is for method=cyclegan."
        )
    return data


def for_batch(cfg: DictConfig, batch: EffectiveBatch) -> DictConfig:
    """The configuration with the learning rate for this effective batch."""
    return cfg if batch.rule == "constant" else scaled(cfg, batch.factor)


def recipe_of(cfg: DictConfig, batch: EffectiveBatch, parts: Sequence[str]) -> str:
    """The settings that made the network, as JSON, with file names instead of full paths."""
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
    """Convert a setting to plain Python values."""
    return OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value
