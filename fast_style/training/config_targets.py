"""What a saved configuration may build: a closed list, since the file may come from somebody else."""

import inspect
import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from omegaconf import DictConfig, OmegaConf

import fast_style

TARGET_KEY = "_target_"

#: Where this package's own targets are defined: nothing else of it is imported to find out.
OWN_PARTS = ("data", "losses", "methods", "networks", "training")
#: What may be built of a class there, and the files whose public functions may be called.
KINDS = (torch.nn.Module, pl.LightningDataModule, torch.optim.Optimizer)
FACTORIES = ("fast_style.networks.pretrained", "fast_style.training.lr_schedules")
LIGHTNING_TARGETS = frozenset(["pytorch_lightning.Trainer", "pytorch_lightning.strategies.DDPStrategy"])


def check_targets(saved: DictConfig, said: DictConfig, *, source: object) -> None:
    """Refuse a saved configuration that would build something unknown; nothing is built to find out.

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
    if target in LIGHTNING_TARGETS:
        return True
    module, _, name = target.rpartition(".")
    if not name.isidentifier() or name.startswith("_"):
        return False
    if module.startswith("fast_style."):
        return _is_own(module, name)
    if module == "torch.optim":
        return _is_subclass(getattr(torch.optim, name, None), torch.optim.Optimizer)
    if module == "torch.optim.lr_scheduler":
        return _is_subclass(getattr(torch.optim.lr_scheduler, name, None), torch.optim.lr_scheduler.LRScheduler)
    return False


def _is_own(module: str, name: str) -> bool:
    """Whether a module of this package defines a network, data, a loss, a method or an optimiser of that name."""
    if not re.fullmatch(rf"fast_style\.({'|'.join(OWN_PARTS)})(\.[a-z_0-9]+)+", module) or not _exists(module):
        return False
    found = getattr(import_module(module), name, None)
    if getattr(found, "__module__", None) != module:  # Not what it has imported itself.
        return False
    return _is_subclass(found, KINDS) or (module in FACTORIES and inspect.isfunction(found))


def _exists(module: str) -> bool:
    return (Path(fast_style.__file__).parent / Path(*module.split(".")[1:])).with_suffix(".py").is_file()


def _is_subclass(found: object, kind: type | tuple[type, ...]) -> bool:
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
