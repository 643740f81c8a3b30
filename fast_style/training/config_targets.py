"""What a saved configuration may build: a closed list, since the file may come from somebody else."""

import inspect
from collections.abc import Iterator
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf

TARGET_KEY = "_target_"

#: This package's own classes and functions that the configurations of a training name.
OWN_TARGETS = frozenset(
    [
        "fast_style.data.image_folder.ImageFolderDataModule",
        "fast_style.data.sample_photos.SkimagePhotos",
        "fast_style.data.shards.datamodule.ShardDataModule",
        "fast_style.data.unpaired.UnpairedDataModule",
        "fast_style.losses.perceptual.PerceptualLoss",
        "fast_style.losses.stability.Stability",
        "fast_style.methods.cyclegan.CycleGanMethod",
        "fast_style.methods.distillation.data.DistillationData",
        "fast_style.methods.distillation.hard_examples.HardExamples",
        "fast_style.methods.distillation.loss.DistillationLoss",
        "fast_style.methods.distillation.method.DistillationMethod",
        "fast_style.methods.perceptual.PerceptualMethod",
        "fast_style.networks.patch_discriminator.PatchDiscriminator",
        "fast_style.networks.pretrained.builtin",
        "fast_style.networks.pretrained.squeezenet",
        "fast_style.networks.pretrained.vgg",
        "fast_style.networks.pretrained.vgg_from_file",
        "fast_style.networks.pretrained.vgg_mix",
        "fast_style.networks.student.Student",
        "fast_style.networks.transform_net.TransformNet",
        "fast_style.training.lr_schedules.constant_then_linear",
        "fast_style.training.muon.Muon",
    ]
)
LIGHTNING_TARGETS = frozenset(["pytorch_lightning.Trainer", "pytorch_lightning.strategies.DDPStrategy"])


def check_targets(saved: DictConfig, said: DictConfig, *, source: object) -> None:
    """Refuse a saved configuration that would build something unknown; nothing is imported or built to find out.

    Args:
        saved: read from a file. Values are plain: see `check_plain`.
        said: what this command line composes to. What it names itself, at the same place, is taken.
        source: the file, for the error.

    Raises:
        ValueError: a target that is neither on the list nor named on the command line.
    """
    named = dict(_targets(OmegaConf.to_container(said, resolve=False)))
    for place, target in _targets(OmegaConf.to_container(saved, resolve=False)):
        if is_known(target) or (isinstance(target, str) and named.get(place) == target):
            continue
        raise ValueError(
            f"{source} wants to build {place}={target!r}, which could run any code: a saved configuration may build "
            "what fast_style, torch.optim and Lightning's Trainer offer. If the class is your own, name it again with "
            f"{place}={target}; otherwise leave resume out."
        )


def check_plain(saved: DictConfig, *, source: object) -> None:
    """Refuse references such as ${oc.env:HOME}: a run saves plain values, and resolving a reference may run code.

    Raises:
        ValueError: a reference.
    """
    for place, value in _leaves(OmegaConf.to_container(saved, resolve=False)):
        if isinstance(value, str) and "${" in value:
            raise ValueError(
                f"{source} refers to something else in {place}={value!r}, and a run saves plain values: write the "
                "value itself there, or leave resume out."
            )


def is_known(target: object) -> bool:
    """Whether a target is on the closed list: of this package, torch's optimisers and schedules, or Lightning."""
    if not isinstance(target, str):
        return False
    if target in OWN_TARGETS | LIGHTNING_TARGETS:
        return True
    module, _, name = target.rpartition(".")
    if not name.isidentifier() or name.startswith("_"):
        return False
    if module == "torch.optim":
        return _is_subclass(getattr(torch.optim, name, None), torch.optim.Optimizer)
    if module == "torch.optim.lr_scheduler":
        return _is_subclass(getattr(torch.optim.lr_scheduler, name, None), torch.optim.lr_scheduler.LRScheduler)
    return False


def _is_subclass(found: object, kind: type) -> bool:
    return inspect.isclass(found) and issubclass(found, kind)


def _targets(value: Any) -> Iterator[tuple[str, Any]]:
    """The place and value of every `_target_`, in lists too."""
    return ((place, found) for place, found in _leaves(value) if place.split(".")[-1] == TARGET_KEY)


def _leaves(value: Any, place: str = "") -> Iterator[tuple[str, Any]]:
    """The place and value of all that is no mapping and no list; whatever a `_target_` is, it is a leaf."""
    if isinstance(value, dict):
        for key, item in value.items():
            inner = f"{place}.{key}" if place else str(key)
            if key == TARGET_KEY:
                yield inner, item
            else:
                yield from _leaves(item, inner)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _leaves(item, f"{place}[{index}]")
    else:
        yield place, value
