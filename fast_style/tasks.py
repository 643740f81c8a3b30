"""What can be learnt: from a configuration to the data, the method and the file of each kind of training."""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import pytorch_lightning as pl
import torch
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from torch import Tensor, nn

from fast_style.checking import check_settings, name_of_style, network_file_of, scaled
from fast_style.data.datamodule import EndlessBatches, PhotoBatches
from fast_style.data.style_images import load_style, pictures_of
from fast_style.methods.checkpoint_files import read_checkpoint
from fast_style.methods.distillation.method import DistillationMethod
from fast_style.methods.perceptual import PerceptualMethod
from fast_style.methods.watching import Panels
from fast_style.networks.serialization import load_network, save_network
from fast_style.networks.student import save_student
from fast_style.networks.transform_net import TransformNet
from fast_style.processes.effective_batch import EffectiveBatch
from fast_style.version import __version__

#: Settings whose values are places on this machine; of those a network file keeps the last part.
_PLACES = frozenset(
    [
        *("image", "swatch", "cache", "start", "root", "roots", "urls", "held_out_root", "weights", "shallow", "deep"),
        *("a", "b", "test_a", "test_b"),
    ]
)


class Task(Protocol):
    """One training, as `training.run` goes through it.

    Attributes:
        name: of the run's folder.
        network_files: where the result goes.
        data: batches. Opened with the task, before there are networks: what is wrong with a folder is said at once.
        watchers: callbacks that show what is learnt.
    """

    name: str
    network_files: Sequence[Path]
    data: EndlessBatches
    watchers: list[pl.Callback]

    def method(self, batch: EffectiveBatch) -> pl.LightningModule:
        """Build what learns."""

    def compiled(self, method: Any) -> Sequence[nn.Module]:
        """The parts of the method that torch.compile repays."""

    def save(self, method: Any) -> None:
        """Write the result."""


class LearnStyle:
    """A generator that paints in one style (`conf/train.yaml`).

    Raises:
        ValueError: a setting that does not do, a style that can't be loaded, a folder without photos.
    """

    def __init__(self, cfg: DictConfig) -> None:
        self.cfg = cfg
        self.name = name_of_style(cfg)
        self.network_files: Sequence[Path] = [network_file_of(cfg, self.name)]
        check_settings(cfg, self.network_files[0])
        (picture,) = pictures_of(_plain(self.cfg.style))
        self.style = load_style(picture, size=_plain(self.cfg.style.size), crops=self.cfg.style.crops)
        self.data: EndlessBatches = _photos(self.cfg)
        self.watchers: list[pl.Callback] = [Panels(self.style[0])]

    def method(self, batch: EffectiveBatch) -> PerceptualMethod:
        """The generator under its loss."""
        cfg = for_batch(self.cfg, batch)
        loss = instantiate(cfg.loss, _convert_="all")(
            loss_network=instantiate(cfg.loss_network, _convert_="all"), style=self.style
        )
        recipe = recipe_of(self.cfg, batch, ("start", "style", "generator", "loss", "loss_network", "method", "data"))
        generator = instantiate(cfg.generator, _convert_="all")
        if cfg.start and not cfg.resume:
            take_weights(cfg.start, generator)
        method = instantiate(cfg.method, _convert_="all")(
            generator=generator,
            loss=loss,
            origin={"style": self.name, "recipe": recipe, "version": __version__},
        )
        assert isinstance(method, PerceptualMethod)
        return method.to(memory_format=torch.channels_last)

    def compiled(self, method: PerceptualMethod) -> Sequence[nn.Module]:
        """Both halves of a step."""
        return method.generator, method.loss

    def save(self, method: PerceptualMethod) -> None:
        """The slim file of the averaged generator."""
        save_network(self.network_files[0], method.network, origin=method.origin, precision=self.cfg.save_as)


class LearnFeatures:
    """A small loss network that sees what a large one sees (`conf/distill.yaml`).

    Raises:
        ValueError: a setting that does not do, a folder without pictures.
    """

    def __init__(self, cfg: DictConfig) -> None:
        self.cfg = cfg
        self.name: str = cfg.name
        self.network_files: Sequence[Path] = [Path(cfg.network_file or f"checkpoints/students/{self.name}.safetensors")]
        check_settings(cfg, self.network_files[0])
        self.data: EndlessBatches = _photos(self.cfg)
        self.watchers: list[pl.Callback] = []

    def method(self, batch: EffectiveBatch) -> DistillationMethod:
        """The student before its teacher."""
        cfg = for_batch(self.cfg, batch)
        student = instantiate(cfg.student, _convert_="all")
        loss = instantiate(cfg.loss, _convert_="all")(
            teacher=instantiate(cfg.loss_network, _convert_="all"), student=student, examples=_examples(self.data)
        )
        recipe = recipe_of(self.cfg, batch, ("start", "student", "loss", "loss_network", "method", "data"))
        method = instantiate(cfg.method, _convert_="all")(
            student=student, loss=loss, origin={"recipe": recipe, "version": __version__}
        )
        assert isinstance(method, DistillationMethod)
        if cfg.start and not cfg.resume:
            start_from(cfg.start, method)
        return method.to(memory_format=torch.channels_last)

    def compiled(self, method: DistillationMethod) -> Sequence[nn.Module]:
        """Teacher, student and loss are one graph."""
        return (method.lesson,)

    def save(self, method: DistillationMethod) -> None:
        """The chain of the averaged student."""
        heads = {name: head.weight.flatten(1) for name, head in method.heads.items()}
        save_student(
            self.network_files[0],
            method.network,
            heads=heads,
            scales=method.lesson.loss.scales,  # The teacher's own magnitudes, that weights of losses carry over.
            origin=method.origin,
            precision=self.cfg.save_as,
        )


def take_weights(file: str, generator: TransformNet) -> None:
    """Give a generator the weights of a network file, or of a checkpoint's averaged generator.

    Raises:
        ValueError: not such a file, or a network of another architecture.
    """
    network, _ = load_network(file)
    if network.architecture != generator.architecture:
        raise ValueError(
            f"start={file} holds another generator ({network.architecture}) than this run's "
            f"({generator.architecture}); give generator= the one's settings."
        )
    generator.load_state_dict(network.state_dict())


def start_from(checkpoint: str, method: pl.LightningModule) -> None:
    """Give a method the weights of another run's checkpoint, and nothing else of it.

    Raises:
        ValueError: not such a file, or not the same networks.
    """
    state = _learnt(read_checkpoint(Path(checkpoint)).get("state_dict", {}))
    fitting = _learnt(method.state_dict())
    strange = [name for name in fitting.keys() | state.keys() if _shape(fitting, name) != _shape(state, name)]
    if strange:
        raise ValueError(
            f"start={checkpoint} holds other networks than this run's (in {len(strange)} weights, as {min(strange)}); "
            "give the settings that it was made with."
        )
    method.load_state_dict(state, strict=False)


def _learnt(state: Mapping[str, Any]) -> dict[str, Any]:
    # The chains of provocations are of that run's pictures, and of its own size and number.
    return {name: value for name, value in state.items() if not name.startswith("provocations.")}


def _shape(state: Mapping[str, Any], name: str) -> tuple[int, ...] | None:
    return tuple(state[name].shape) if name in state else None


def opened_data(cfg: DictConfig) -> EndlessBatches:
    """The data that the configuration names, found."""
    data = instantiate(cfg.data, _convert_="all")
    data.setup()
    assert isinstance(data, EndlessBatches)
    return data


def _photos(cfg: DictConfig) -> PhotoBatches:
    data = opened_data(cfg)
    if not isinstance(data, PhotoBatches):
        raise ValueError(
            "This learns from photos: take data=samples, folder or shards; data=unpaired is for method=cyclegan."
        )
    return data


def _examples(data: EndlessBatches) -> Tensor:
    """The held-out pictures, as validation sees them."""
    pixels = [data.validation[index, index].pixels for index in range(len(data.validation))]
    return torch.stack(pixels).float() / 255


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


def _plain(value: Any) -> Any:
    return OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value
