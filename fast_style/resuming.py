"""Finding a run that can go on, with the configuration it was started with."""

import json
from collections.abc import Sequence
from pathlib import Path

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf

CONFIG_FILE = "config.yaml"
OVERRIDES_FILE = "overrides.json"


def find_resumable(resume: str, *, runs: Path, overrides: Sequence[str]) -> tuple[Path, DictConfig] | None:
    """The checkpoint to go on from, and the configuration of its run with `overrides` on top.

    Args:
        resume: a checkpoint, a run's folder, or `auto`: the newest run below `runs` that was started with the
            groups (style, experiment, ...) that `overrides` names, if any.
        runs: where runs live.
        overrides: Hydra overrides of the command line.

    Returns:
        None if `auto` finds no run.

    Raises:
        ValueError: no checkpoint at a given path, or overrides that would make it another run.
    """
    given = [o for o in OverridesParser.create().parse_overrides(list(overrides)) if o.key_or_group != "resume"]
    if resume == "auto":
        newest_first = sorted(runs.glob("*/*/checkpoints/*.ckpt"), key=_age)
        fitting = (path for path in newest_first if not _misfits(path.parents[1], given))
        checkpoint = next(fitting, None)
        return (checkpoint, _config(checkpoint.parents[1], given)) if checkpoint else None
    checkpoint = _checkpoint_at(Path(resume))
    misfits = _misfits(checkpoint.parents[1], given)
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


def _misfits(folder: Path, given: Sequence[Override]) -> list[str]:
    """Group choices (style=wave) that the run in `folder` was not started with."""
    try:
        config = OmegaConf.load(folder / CONFIG_FILE)
        started_with = json.loads((folder / OVERRIDES_FILE).read_text())
    except (OSError, ValueError):
        return ["its configuration, which can't be read"]
    lines = [o.input_line or "" for o in given if _is_group(config, o)]
    return [line for line in lines if line not in started_with]


def _is_group(config: object, override: Override) -> bool:
    assert isinstance(config, DictConfig)
    key = override.key_or_group
    return key == "experiment" or OmegaConf.is_dict(OmegaConf.select(config, key))


def _config(folder: Path, given: Sequence[Override]) -> DictConfig:
    config = OmegaConf.load(folder / CONFIG_FILE)
    assert isinstance(config, DictConfig)
    OmegaConf.set_struct(config, True)
    for override in given:
        if override.key_or_group == "steps" and OmegaConf.select(config, "method.schedule") is not None:
            raise ValueError(
                f"A resumed run keeps its steps={config.steps}, which its learning-rate schedule was made for; leave "
                "steps out, or start a new run."
            )
        if not _is_group(config, override):
            OmegaConf.update(config, override.key_or_group, override.value())
    return config
