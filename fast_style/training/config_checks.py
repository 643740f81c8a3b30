"""Settings that contradict themselves or the machine, found before a run begins."""

import os
from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path
from typing import get_args

from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf

from fast_style.data.style_images import style_name
from fast_style.networks.metadata import read_header
from fast_style.networks.serialization import WeightPrecision
from fast_style.training.resume import PATH_KEYS


def name_of_style(cfg: DictConfig) -> str:
    """The name of the one style that was chosen.

    Raises:
        ValueError: there is none, or more than one.
    """
    image = OmegaConf.select(cfg, "style.image")
    if image is None:
        chosen = list(OmegaConf.select(cfg, "style.pictures") or [])
    else:
        chosen = list(image) if OmegaConf.is_list(image) else [image]
    if not chosen:
        raise ValueError("No style was named: give style.image=my.jpg, or style=NAME of conf/style/.")
    if len(chosen) > 1:
        raise ValueError(f"This takes one style; got {', '.join(chosen)}: take them one by one.")
    return style_name(chosen[0], cfg.style.name)


def name_of_collections(cfg: DictConfig) -> str:
    """The name of what two collections teach: the one that was given, or their folders'.

    Raises:
        ValueError: the data are no two collections.
    """
    if OmegaConf.select(cfg, "name"):
        return str(cfg.name)
    if "a" not in cfg.data:
        raise ValueError("method=cyclegan learns from two collections: take data=unpaired with data.root=FOLDER.")
    if cfg.data.root:
        return Path(cfg.data.root).resolve().name
    folders = [Path(folder).resolve() for folder in (cfg.data.a, cfg.data.b) if folder]
    if len({folder.name for folder in folders}) == 1:  # summers/train and winters/train
        folders = [folder.parent for folder in folders]
    return "2".join(folder.name for folder in folders) or "translation"


def check_used(overrides: Sequence[str], *, unused: Sequence[str], chosen_by: str) -> None:
    """Refuse what was said and would be passed over; groups have defaults, so the composed settings can't tell.

    Args:
        overrides: what was said on the command line.
        unused: settings and groups that the task has no use for.
        chosen_by: how a person chooses the task.

    Raises:
        ValueError: one of them was said.
    """
    given = OverridesParser.create().parse_overrides(list(overrides))
    said = [over for over in given if not over.is_delete() and over.key_or_group.split(".")[0] in unused]
    if said:
        lines = ", ".join(over.input_line or over.key_or_group for over in said)
        raise ValueError(f"{chosen_by} does not use {lines}: leave that out.")


def check_two_optimizers(cfg: DictConfig) -> None:
    """Refuse what Lightning does for one optimiser alone.

    Raises:
        ValueError: a setting of that kind.
    """
    if OmegaConf.select(cfg, "trainer.accumulate_grad_batches", default=1) != 1:
        raise ValueError(
            "method=cyclegan accumulates no gradients: set data.batch_size, and leave accumulate_grad_batches 1."
        )
    if OmegaConf.select(cfg, "trainer.gradient_clip_val") is not None:
        raise ValueError("method=cyclegan clips no gradients: leave trainer.gradient_clip_val null.")
    if str(cfg.precision).startswith("16"):
        raise ValueError("method=cyclegan scales no losses for float16: take precision=bf16-mixed or 32-true.")


def network_file_of(cfg: DictConfig, style: str) -> Path:
    """Where a trained style goes: by default beside the networks that come along, never over one of them."""
    return Path(cfg.network_file or f"checkpoints/trained/{style}.safetensors")


def check_settings(cfg: DictConfig, network_file: Path) -> None:
    """Refuse, before anything is written, what would otherwise be found out after hours.

    Raises:
        ValueError: a setting that does not do; the sentence says which.
    """
    counts = {"steps": 1, "val_every": 1, "checkpoint_every": 1, "max_skips": 0}
    counts |= {"trainer.log_every_n_steps": 1, "trainer.accumulate_grad_batches": 1}
    for key, least in counts.items():
        found = OmegaConf.select(cfg, key, default=least)
        if not isinstance(found, int) or found < least:
            raise ValueError(f"{key} is a whole number, at least {least}; got {found!r}.")
    if not isinstance(cfg.compile, bool) and cfg.compile != "auto":
        raise ValueError(f"compile is true, false or auto; got {cfg.compile!r}.")
    if cfg.save_as not in get_args(WeightPrecision):
        raise ValueError(f"save_as is one of {get_args(WeightPrecision)}; got {cfg.save_as!r}.")
    if network_file.suffix != ".safetensors":
        raise ValueError(f"network_file ends in .safetensors; got {network_file}.")
    for key in PATH_KEYS:
        path = None if key in ("assets_dir", "style.image") else OmegaConf.select(cfg, key)
        if path and Path(path).is_relative_to(cfg.assets_dir) and not os.path.exists(path):
            raise ValueError(
                f"{key} is wanted at {path}, where there is nothing, for it does not come along: put it there "
                f"(data/README.md says what), name your folder of such assets with assets_dir=..., or set {key}."
            )
    check_writable(network_file)


def check_writable(file: Path) -> None:
    """Refuse a file that could not be written at the end. Nothing is made: the folder comes with the file.

    Raises:
        ValueError: a folder of that name, or a place that takes no new file or folder.
    """
    if file.is_dir():
        raise ValueError(f"network_file={file} is a folder; set network_file to a file.")
    folder = file.absolute().parent
    while not os.path.lexists(folder):
        folder = folder.parent
    if not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
        what = "can't be written to" if folder.is_dir() else "is no folder"
        raise ValueError(f"{folder}, where {file} is to go, {what}; set network_file to another.")


def check_replaced(file: Path, overrides: Sequence[str]) -> None:
    """Let a resumed run, whose configuration may be somebody else's, replace nothing but a network.

    Args:
        file: that is there.
        overrides: what was said on the command line; a file that is named there is taken.

    Raises:
        ValueError: the file is something else.
    """
    if any(override.startswith("network_file=") for override in overrides):
        return
    try:
        read_header(file)
    except ValueError as error:
        raise ValueError(
            f"The resumed run would replace {file}, which is no network: if that is right, name it again with "
            f"network_file={file}; otherwise name another."
        ) from error


def scaled(cfg: DictConfig, factor: float) -> DictConfig:
    """A copy whose learning rate, the schedule's included, is `factor` times as large.

    Raises:
        ValueError: the optimiser's rate is not set, or the schedule has one of its own.
    """
    cfg = deepcopy(cfg)
    rate, highest = (OmegaConf.select(cfg, f"method.{key}") for key in ("optimizer.lr", "schedule.max_lr"))
    if rate is None:
        raise ValueError(f"lr_rule={cfg.lr_rule} changes method.optimizer.lr, which is not set; set it.")
    if highest not in (None, rate):
        raise ValueError(
            f"lr_rule={cfg.lr_rule} changes method.optimizer.lr, and method.schedule.max_lr={highest} would have the "
            "last word; set method.optimizer.lr alone."
        )
    cfg.method.optimizer.lr = rate * factor
    if highest is not None:
        cfg.method.schedule.max_lr = rate * factor
    return cfg
