"""Task: train a translation between two image collections."""

from collections.abc import Sequence
from pathlib import Path

import pytorch_lightning as pl
import torch
from hydra.utils import instantiate
from omegaconf import DictConfig
from torch import nn

from fast_style.data.datamodule import InfiniteDataModule
from fast_style.methods.cyclegan import CycleGanMethod
from fast_style.networks.patch_discriminator import SMALLEST_JUDGED
from fast_style.networks.serialization import save_network
from fast_style.training.callbacks.image_grids import TranslationGridCallback
from fast_style.training.config_checks import check_settings, check_two_optimizers, name_of_collections, network_file_of
from fast_style.training.effective_batch import EffectiveBatch
from fast_style.training.tasks.task import Task, for_batch, opened_data, recipe_of
from fast_style.version import __version__


class TranslationTask(Task):
    """Train two generators, from A to B and from B to A (`conf/method/cyclegan.yaml`).

    Raises:
        ValueError: an invalid setting, or unreadable collections.
    """

    per_process_state = "image pools"
    chosen_by, unused = "method=cyclegan", ("style", "loss_network", "loss", "sweep")
    named_by = ("name", "data")
    run_name = staticmethod(name_of_collections)

    def __init__(self, cfg: DictConfig) -> None:
        self.cfg = cfg
        self.name = self.run_name(cfg)
        file = network_file_of(cfg, self.name)
        check_settings(cfg, file)
        check_two_optimizers(cfg)
        _check_start(cfg)
        self.network_files: Sequence[Path] = [
            file.with_stem(f"{file.stem}_{direction}") for direction in ("A2B", "B2A")
        ]
        self.data: InfiniteDataModule = opened_data(cfg)
        self.watchers: list[pl.Callback] = [TranslationGridCallback()]

    def method(self, batch: EffectiveBatch) -> CycleGanMethod:
        """Build two generators and two discriminators."""
        cfg = for_batch(self.cfg, batch)
        recipe = recipe_of(self.cfg, batch, ("generator", "discriminator", "method", "data"))
        method = instantiate(cfg.method, _convert_="all")(
            generators=[instantiate(cfg.generator, _convert_="all") for _ in range(2)],
            discriminators=[instantiate(cfg.discriminator, _convert_="all") for _ in range(2)],
            origin={"style": self.name, "recipe": recipe, "version": __version__},
        )
        assert isinstance(method, CycleGanMethod)
        # On a CPU, channels_last makes a step a sixth slower: the uncompiled norms are faster with channels first.
        return method.to(memory_format=torch.channels_last) if torch.cuda.is_available() else method

    def compiled(self, method: CycleGanMethod) -> Sequence[nn.Module]:
        """Both generators and both discriminators."""
        return method.a2b, method.b2a, method.disc_a, method.disc_b

    def save(self, method: CycleGanMethod) -> None:
        """Write one network file per direction."""
        for file, (direction, network) in zip(self.network_files, method.networks.items(), strict=True):
            save_network(file, network, origin=method.origin_of(direction), precision=self.cfg.save_as)


def _check_start(cfg: DictConfig) -> None:
    if "loss" in cfg:
        raise ValueError(
            "The recipe (experiment=...) sets loss, which method=cyclegan does not use: leave one of them out."
        )
    if cfg.init_from:
        raise ValueError(
            "init_from=FILE is one network, but method=cyclegan trains two from random init: leave init_from at null."
        )
    with torch.device("meta"):  # Built only to read its smallest image size.
        generator = instantiate(cfg.generator, _convert_="all")
    smallest = max(generator.smallest, SMALLEST_JUDGED * 2 ** int(cfg.discriminator.layers))
    if "size" in cfg.data and cfg.data.size < smallest:
        raise ValueError(
            f"With discriminator.layers={cfg.discriminator.layers}, data.size is at least {smallest}; got "
            f"{cfg.data.size}."
        )
