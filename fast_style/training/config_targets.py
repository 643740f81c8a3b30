"""A closed list of classes that a saved configuration may build, because the file may come from somebody else.

Hydra refuses known dangerous targets from 1.3.8 on. Its authors call this no complete protection, so everything that is
not on this list is refused.
"""

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

#: Subpackages that define this package's targets. The check imports no others.
OWN_PARTS = ("data", "losses", "methods", "networks", "training")
#: Base classes of allowed targets, and the modules whose public functions may be called.
KINDS = (torch.nn.Module, pl.LightningDataModule, torch.optim.Optimizer)
FACTORIES = ("fast_style.networks.pretrained", "fast_style.training.lr_schedules")
#: Targets for the trainer, from other packages.
TRAINER_TARGETS = frozenset(
    ["pytorch_lightning.Trainer", "pytorch_lightning.strategies.DDPStrategy", "datetime.timedelta"]
)


def check_targets(saved: DictConfig, said: DictConfig, *, source: object) -> None:
    """Refuse a saved configuration with unknown targets. The check builds nothing.

    Args:
        saved: configuration read from a file, with plain values (see `check_plain`).
        said: composed configuration of this command. A target that it has at the same place is allowed.
        source: the file, for the error message.

    Raises:
        ValueError: a target that is neither on the list nor in `said`.
    """
    named = dict(_targets(OmegaConf.to_container(said, resolve=False)))
    for place, target in _targets(OmegaConf.to_container(saved, resolve=False)):
        if is_known(target) or (isinstance(target, str) and named.get(place) == target):
            continue
        raise ValueError(
            f"{source} wants to build {place}={target!r}, which could run any code. A saved configuration may build "
            "only classes of fast_style, torch.optim and Lightning's Trainer. If the class is your own, name it again "
            f"with {place}={target}; otherwise leave resume out."
        )


def check_plain(saved: DictConfig, *, source: object) -> None:
    """Refuse references such as ${oc.env:HOME}, because resolving a reference may run code. Runs save plain values.

    Raises:
        ValueError: a reference.
    """
    for place, value in _leaves(OmegaConf.to_container(saved, resolve=False)):
        if isinstance(value, str) and "${" in value:
            raise ValueError(
                f"{source} has a reference, {place}={value!r}, but a saved configuration may have plain values only: "
                "write the value itself there, or leave resume out."
            )


def is_known(target: object) -> bool:
    """Whether a target is on the closed list: this package's classes, torch's optimisers and schedules, Lightning."""
    if not isinstance(target, str):
        return False
    if target in TRAINER_TARGETS:
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
    """Whether a module of this package defines a network, loss, data module, method or optimiser of that name."""
    if not re.fullmatch(rf"fast_style\.({'|'.join(OWN_PARTS)})(\.[a-z_0-9]+)+", module) or not _exists(module):
        return False
    found = getattr(import_module(module), name, None)
    if getattr(found, "__module__", None) != module:  # The module only imports it.
        return False
    return _is_subclass(found, KINDS) or (module in FACTORIES and inspect.isfunction(found))


def _exists(module: str) -> bool:
    return (Path(fast_style.__file__).parent / Path(*module.split(".")[1:])).with_suffix(".py").is_file()


def _is_subclass(found: object, kind: type | tuple[type, ...]) -> bool:
    return inspect.isclass(found) and issubclass(found, kind)


def _targets(value: Any) -> Iterator[tuple[str, Any]]:
    """Yield place and value of every `_target_`, also inside lists."""
    return ((place, found) for place, found in _leaves(value) if place.split(".")[-1] == TARGET_KEY)


def _leaves(value: Any, place: str = "") -> Iterator[tuple[str, Any]]:
    """Yield place and value of every leaf. The value of a `_target_` counts as a leaf, whatever its type."""
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
