"""Task: train a generator for one style."""

from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path

import pytorch_lightning as pl
import torch
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from torch import Tensor, nn

from fast_style.data.bundled_files import find_bundled
from fast_style.data.datamodule import InfiniteDataModule
from fast_style.data.style_images import load_style, pictures_of
from fast_style.losses.presets import BRUSHES, STRENGTHS, preset_factor
from fast_style.methods.perceptual import PerceptualMethod
from fast_style.networks.generator import Generator
from fast_style.networks.serialization import load_network, save_network
from fast_style.training.callbacks.image_grids import ImageGridCallback
from fast_style.training.config_checks import check_settings, name_of_style, network_file_of
from fast_style.training.effective_batch import EffectiveBatch
from fast_style.training.tasks.task import Task, for_batch, photos, plain, recipe_of
from fast_style.version import __version__


class StyleTask(Task):
    """Train a generator for one style (`conf/train.yaml`).

    Raises:
        ValueError: an invalid setting, an unreadable style image, or a folder without photos.
    """

    chosen_by, unused = "method=perceptual", ("name", "discriminator")
    named_by = ("style", "style.image")
    run_name = staticmethod(name_of_style)

    def __init__(self, cfg: DictConfig) -> None:
        self.cfg = cfg
        self.name = self.run_name(cfg)
        self.network_files: Sequence[Path] = [network_file_of(cfg, self.name)]
        check_settings(cfg, self.network_files[0])
        self.cfg_with_strength = with_strength(cfg)
        self.style = style_of(cfg)
        self.data: InfiniteDataModule = photos(self.cfg)
        self.watchers: list[pl.Callback] = [ImageGridCallback(self.style[0])]

    def method(self, batch: EffectiveBatch) -> PerceptualMethod:
        """Build the generator with its loss."""
        cfg = for_batch(self.cfg_with_strength, batch)
        loss = loss_of(cfg, self.style)
        recipe = recipe_of(
            self.cfg, batch, ("init_from", "style", "generator", "loss", "loss_network", "method", "data")
        )
        generator = instantiate(cfg.generator, _convert_="all")
        if cfg.init_from and not cfg.resume:
            load_init_weights(cfg.init_from, generator)
        method = instantiate(cfg.method, _convert_="all")(
            generator=generator,
            loss=loss,
            origin={"style": self.name, "recipe": recipe, "version": __version__},
        )
        assert isinstance(method, PerceptualMethod)
        return method.to(memory_format=torch.channels_last)

    def compiled(self, method: PerceptualMethod) -> Sequence[nn.Module]:
        """Generator and loss, the two halves of a step."""
        return method.generator, method.loss

    def save(self, method: PerceptualMethod) -> None:
        """Write the averaged generator."""
        save_network(self.network_files[0], method.network, origin=method.origin, precision=self.cfg.save_as)


def style_of(cfg: DictConfig) -> list[Tensor]:
    """Load the style image in all sizes and crops of a configuration."""
    (picture,) = pictures_of(plain(cfg.style))
    brush = preset_factor(BRUSHES, preset_of(cfg, "brush"), setting="style.brush")
    return load_style(picture, size=plain(cfg.style.size), crops=cfg.style.crops, brush=brush)


def loss_of(cfg: DictConfig, style: Sequence[Tensor]) -> nn.Module:
    """Build the loss of a configuration (see `with_strength`)."""
    loss: nn.Module = instantiate(cfg.loss, _convert_="all")(
        loss_network=instantiate(cfg.loss_network, _convert_="all"), style=style
    )
    return loss


def preset_of(cfg: DictConfig, name: str) -> str | float:
    """The setting `style.NAME`; older runs have no presets."""
    found: str | float = OmegaConf.select(cfg, f"style.{name}", default="medium")
    return found


def with_strength(cfg: DictConfig) -> DictConfig:
    """Return the configuration with `loss.style_weight` multiplied by `style.strength`.

    Raises:
        ValueError: an unknown preset, or a loss without `style_weight`.
    """
    strength = preset_of(cfg, "strength")
    factor = preset_factor(STRENGTHS, strength, setting="style.strength")
    if factor == 1:
        return cfg
    if "style_weight" not in cfg.loss:
        raise ValueError(f"style.strength={strength} scales loss.style_weight, which this loss lacks.")
    cfg = deepcopy(cfg)
    cfg.loss.style_weight *= factor
    return cfg


def load_init_weights(file: str, generator: Generator) -> None:
    """Load weights from a network file, or those of the averaged generator from a checkpoint.

    A file in `checkpoints/` is also found from another folder than the checkout (`find_bundled`).

    Raises:
        ValueError: not such a file, or a network of another architecture.
    """
    network, _ = load_network(find_bundled(file))
    if network.architecture != generator.architecture:
        raise ValueError(
            f"init_from={file} holds another generator ({network.architecture}) than this run's "
            f"({generator.architecture}); use the generator settings of that file, or init_from=null."
        )
    generator.load_state_dict(network.state_dict())
