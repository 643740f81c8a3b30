"""Checks for invalid or contradictory settings, made before a run starts."""

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
    """Return the name of the chosen style.

    Raises:
        ValueError: no style, or more than one.
    """
    image = OmegaConf.select(cfg, "style.image")
    if image is None:
        chosen = list(OmegaConf.select(cfg, "style.pictures") or [])
    else:
        chosen = list(image) if OmegaConf.is_list(image) else [image]
    if not chosen:
        raise ValueError("No style was chosen: set style.image=my.jpg, or style=NAME with a name of conf/style/.")
    if len(chosen) > 1:
        raise ValueError(f"A training takes one style; got {', '.join(chosen)}. Train them one by one.")
    return style_name(chosen[0], cfg.style.name)


def name_of_collections(cfg: DictConfig) -> str:
    """Return the name of a translation: `cfg.name`, or a name made of the folders' names.

    Raises:
        ValueError: `data` is not a pair of collections.
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
    """Refuse overrides that the task would ignore.

    The overrides are checked, not the composed settings, because groups have defaults.

    Args:
        overrides: overrides of the command line.
        unused: settings and groups that the task does not use.
        chosen_by: the setting or script that chooses the task.

    Raises:
        ValueError: an override of an unused setting.
    """
    given = OverridesParser.create().parse_overrides(list(overrides))
    said = [over for over in given if not over.is_delete() and over.key_or_group.split(".")[0] in unused]
    if said:
        lines = ", ".join(over.input_line or over.key_or_group for over in said)
        raise ValueError(f"{chosen_by} does not use {lines}: leave that out.")


def check_one_batch(overrides: Sequence[str]) -> None:
    """Refuse `batch` and `data.batch_size` together, because `batch` alone would count.

    Raises:
        ValueError: both are given.
    """
    given = {over.key_or_group for over in OverridesParser.create().parse_overrides(list(overrides)) if over.value()}
    if given >= {"batch", "data.batch_size"}:
        raise ValueError(
            "batch counts the photos of all processes and data.batch_size those of one: set one of them, not both."
        )


def check_two_optimizers(cfg: DictConfig) -> None:
    """Refuse settings that Lightning supports only with one optimiser.

    Raises:
        ValueError: one of these settings.
    """
    if OmegaConf.select(cfg, "trainer.accumulate_grad_batches", default=1) != 1:
        raise ValueError(
            "method=cyclegan accumulates no gradients: leave trainer.accumulate_grad_batches at 1; set data.batch_size."
        )
    if OmegaConf.select(cfg, "trainer.gradient_clip_val") is not None:
        raise ValueError("method=cyclegan clips no gradients: leave trainer.gradient_clip_val at null.")
    if str(cfg.precision).startswith("16"):
        raise ValueError("method=cyclegan does not support float16: take precision=bf16-mixed or 32-true.")


def network_file_of(cfg: DictConfig, style: str) -> Path:
    """File of the trained network: by default in a folder beside the bundled networks, never over one of them."""
    return Path(cfg.network_file or f"checkpoints/trained/{style}.safetensors")


def check_settings(cfg: DictConfig, network_file: Path) -> None:
    """Refuse, before anything is written, settings that would otherwise fail hours later.

    Raises:
        ValueError: an invalid setting; the message names it.
    """
    counts = {"steps": 1, "val_every": 1, "checkpoint_every": 1, "max_skips": 0}
    counts |= {"trainer.log_every_n_steps": 1, "trainer.accumulate_grad_batches": 1}
    counts |= {} if OmegaConf.select(cfg, "batch") is None else {"batch": 1}
    for key, least in counts.items():
        found = OmegaConf.select(cfg, key, default=least)
        if not isinstance(found, int) or found < least:
            raise ValueError(f"{key} is a whole number, at least {least}; got {found!r}.")
    if not isinstance(cfg.compile, bool) and cfg.compile != "auto":
        raise ValueError(f"compile is true, false or auto; got {cfg.compile!r}.")
    if cfg.save_as not in get_args(WeightPrecision):
        raise ValueError(f"save_as is one of {get_args(WeightPrecision)}; got {cfg.save_as!r}.")
    if network_file.suffix != ".safetensors":
        raise ValueError(f"network_file must end in .safetensors; got {network_file}.")
    for key in PATH_KEYS:
        path = None if key in ("assets_dir", "style.image") else OmegaConf.select(cfg, key)
        if path and Path(path).is_relative_to(cfg.assets_dir) and not os.path.exists(path):
            raise ValueError(
                f"{key} wants {path}, which does not exist and is not bundled: put it there (see data/README.md), set "
                f"assets_dir=... to your folder of assets, or set {key}."
            )
    check_writable(network_file)


def check_writable(file: Path) -> None:
    """Refuse a file that could not be written at the end. No folder is created yet; `save` does that.

    Raises:
        ValueError: the path is a folder, or its folder cannot be created or written to.
    """
    if file.is_dir():
        raise ValueError(f"network_file={file} is a folder; set network_file to a file.")
    folder = file.absolute().parent
    while not os.path.lexists(folder):
        folder = folder.parent
    if not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
        what = "cannot be written to" if folder.is_dir() else "is not a folder"
        raise ValueError(f"network_file={file} cannot be created: {folder} {what}. Set network_file to another file.")


def check_replaced(file: Path, overrides: Sequence[str]) -> None:
    """Let a resumed run overwrite only network files, because somebody else may have written its configuration.

    Args:
        file: an existing file.
        overrides: overrides of the command line. If they set `network_file`, any file may be overwritten.

    Raises:
        ValueError: the file is not a network file.
    """
    if any(override.startswith("network_file=") for override in overrides):
        return
    try:
        read_header(file)
    except ValueError as error:
        raise ValueError(
            f"The resumed run would overwrite {file}, which is not a network file. To overwrite it, repeat "
            f"network_file={file}; otherwise set network_file to another file."
        ) from error


def scaled(cfg: DictConfig, factor: float) -> DictConfig:
    """Return a copy with the learning rate, also that of the schedule, multiplied by `factor`.

    Raises:
        ValueError: the optimiser has no learning rate, or the schedule has a different one.
    """
    cfg = deepcopy(cfg)
    rate, highest = (OmegaConf.select(cfg, f"method.{key}") for key in ("optimizer.lr", "schedule.max_lr"))
    if rate is None:
        raise ValueError(f"lr_rule={cfg.lr_rule} scales method.optimizer.lr, which is not set; set it.")
    if highest not in (None, rate):
        raise ValueError(
            f"lr_rule={cfg.lr_rule} scales method.optimizer.lr, but method.schedule.max_lr={highest} overrides it; set "
            "method.optimizer.lr only."
        )
    cfg.method.optimizer.lr = rate * factor
    if highest is not None:
        cfg.method.schedule.max_lr = rate * factor
    return cfg
