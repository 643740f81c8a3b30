"""Finding a run that can go on, with the configuration it was started with."""

import json
import os
from collections.abc import Sequence
from pathlib import Path

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, ListConfig, OmegaConf

CONFIG_FILE = "config.yaml"
OVERRIDES_FILE = "overrides.json"

#: What a resumed run may be told anew, since it changes nothing that is learnt.
MAY_CHANGE = frozenset(
    [
        *("resume", "runs", "network_file", "save_as", "debug", "compile"),
        *("val_every", "checkpoint_every", "data.workers", "material"),
    ]
)
PATH_KEYS = (
    *("style.image", "data.root", "data.held_out_root"),
    *("loss_network.weights", "loss_network.shallow", "loss_network.deep", "material"),
)


def settled(cfg: DictConfig) -> DictConfig:
    """The configuration without references to the environment or the folder it was said in."""
    plain = OmegaConf.create(OmegaConf.to_container(cfg, resolve=True))
    for key in PATH_KEYS:
        path = OmegaConf.select(plain, key)
        if path is not None and os.path.exists(path):
            OmegaConf.update(plain, key, os.path.abspath(path))
    assert isinstance(plain, DictConfig)
    return plain


def find_resumable(cfg: DictConfig, overrides: Sequence[str]) -> tuple[Path, DictConfig] | None:
    """The checkpoint to go on from, and the configuration of its run.

    Args:
        cfg: what the command line composes to; `cfg.resume` is a checkpoint, a run's folder, or `auto`: the newest
            run below `cfg.runs` that agrees with all that was said, an unfinished one first.
        overrides: what was said on the command line.

    Returns:
        None if `auto` finds no run.

    Raises:
        ValueError: no checkpoint at a given path, or overrides that would make it another run.
    """
    given = OverridesParser.create().parse_overrides(list(overrides))
    wanted = settled(cfg)
    if cfg.resume == "auto":
        newest_first = sorted(Path(cfg.runs).glob("*/*/checkpoints/*.ckpt"), key=_age)
        fitting = [path.absolute() for path in newest_first if not _misfits(path.absolute().parents[1], wanted, given)]
        unfinished = [path for path in fitting if not _is_finished(path)]
        checkpoint = next(iter(unfinished or fitting), None)
        return (checkpoint, _config(checkpoint.parents[1], given)) if checkpoint else None
    checkpoint = _checkpoint_at(Path(cfg.resume))
    misfits = _misfits(checkpoint.parents[1], wanted, given)
    if misfits:
        raise ValueError(
            f"{checkpoint} belongs to a run that was not started with {' '.join(misfits)}; leave that out to resume "
            "it, or leave resume out to start another run."
        )
    return checkpoint, _config(checkpoint.parents[1], given)


def _checkpoint_at(path: Path) -> Path:
    checkpoint = min(path.glob("checkpoints/*.ckpt"), key=_age, default=path) if path.is_dir() else path
    if not checkpoint.is_file() or not (checkpoint.absolute().parents[1] / CONFIG_FILE).is_file():
        raise ValueError(
            f"resume={path} is neither a run's folder with checkpoints nor a checkpoint in one; runs live in runs/, "
            "and resume=auto takes the newest."
        )
    return checkpoint.absolute()


def _age(path: Path) -> float:
    return -path.stat().st_mtime


def _is_finished(checkpoint: Path) -> bool:
    """Whether the newest checkpoint of this one's run is its last step's."""
    last = OmegaConf.load(checkpoint.parents[1] / CONFIG_FILE).steps
    return any(checkpoint.parent.glob(f"step-{last:06d}*.ckpt"))


def _misfits(folder: Path, wanted: DictConfig, given: Sequence[Override]) -> list[str]:
    """What was said on the command line and is not so in the run in `folder`."""
    try:
        saved = OmegaConf.load(folder / CONFIG_FILE)
        said_then = json.loads((folder / OVERRIDES_FILE).read_text())
    except (OSError, ValueError):
        return ["a configuration that can be read"]
    misfits = []
    for override in given:
        key, line = override.key_or_group, override.input_line or ""
        if _may_change(saved, key) or line in said_then:
            continue
        if key == "experiment" or OmegaConf.select(saved, key) != OmegaConf.select(wanted, key):
            misfits.append(line)
    return misfits


def _may_change(saved: DictConfig | ListConfig, key: str) -> bool:
    # A schedule is made for its number of steps; without one, a run may be prolonged.
    return key in MAY_CHANGE or (key == "steps" and OmegaConf.select(saved, "method.schedule") is None)


def _config(folder: Path, given: Sequence[Override]) -> DictConfig:
    config = OmegaConf.load(folder / CONFIG_FILE)
    assert isinstance(config, DictConfig)
    OmegaConf.set_struct(config, True)
    for override in given:
        if _may_change(config, override.key_or_group):
            OmegaConf.update(config, override.key_or_group, override.value())
    return config
