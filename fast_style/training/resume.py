"""Finding a run that can go on, with the configuration it was started with."""

import json
import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from fast_style.atomic_files import atomic_write
from fast_style.training.checkpoint_io import is_valid, latest_valid, newest_first
from fast_style.training.config_targets import check_plain, check_targets

log = logging.getLogger(__name__)

CONFIG_FILE = "config.yaml"
OVERRIDES_FILE = "overrides.json"

#: What `_mismatches` says of a run that can't be compared.
UNREADABLE = f"a {CONFIG_FILE} and an {OVERRIDES_FILE} that can be read"

#: What a resumed run may be told anew, since it changes nothing that is learnt.
MAY_CHANGE = frozenset(
    [
        *("resume", "runs", "network_file", "save_as", "debug", "compile", "profile"),
        *("val_every", "checkpoint_every", "data.workers", "assets_dir", "max_skips"),
        *("data.cache", "data.cache_gb", "data.verify", "style.cache"),
    ]
)
#: Places on this machine that a run writes to, or removes from: never taken from a saved configuration, which may be
#: somebody else's.
LOCAL_KEYS = ("runs", "style.cache", "data.cache", "data.cache_gb")
PATH_KEYS = (
    *("style.image", "data.root", "data.held_out_root", "data.a", "data.b", "data.test_a", "data.test_b"),
    *("loss_network.weights", "loss_network.shallow", "loss_network.deep", "assets_dir"),
)


def resolve_paths(cfg: DictConfig) -> DictConfig:
    """The configuration without references to the environment or the folder it was said in."""
    plain = OmegaConf.create(OmegaConf.to_container(cfg, resolve=True))
    textures = [f"style.pictures.{name}.texture" for name in OmegaConf.select(plain, "style.pictures") or []]
    for key in (*PATH_KEYS, *textures):
        path = OmegaConf.select(plain, key)
        if path is not None and os.path.exists(path):
            OmegaConf.update(plain, key, os.path.abspath(path))
    for key in ("data.urls", "data.roots"):
        places = OmegaConf.select(plain, key)
        if places is not None:
            OmegaConf.update(plain, key, _absolute(places))
    assert isinstance(plain, DictConfig)
    return plain


def _absolute(urls: Any) -> Any:
    """Paths and patterns of paths, one or several; what has a scheme stays."""
    if isinstance(urls, ListConfig):
        return [_absolute(url) for url in urls]
    return urls if "://" in urls else os.path.abspath(os.path.expanduser(urls))


def find_resumable(
    cfg: DictConfig, overrides: Sequence[str], *, name: str = "", named_by: Sequence[str] = ()
) -> tuple[Path, DictConfig] | None:
    """The checkpoint to go on from, and the configuration of its run.

    Args:
        cfg: what the command line composes to; `cfg.resume` is a checkpoint, a run's folder, or `auto`: the newest
            run below `cfg.runs` that agrees with all that was said, an unfinished one first. Of a run, its newest whole
            checkpoint; a damaged one is named in a warning.
        overrides: what was said on the command line.
        name: what a run of this command would be called.
        named_by: the settings that name it.

    Returns:
        None if `auto` may start a run: there is none below `cfg.runs`, or the command line itself names what to learn,
        and there is none of that name. So a scheduler may repeat one command, or one for each style, with `resume=auto`
        from the first start on; otherwise, where none fits, nothing is started.

    Raises:
        ValueError: no run that fits; no whole checkpoint at a given path; overrides that would make it another run; or
            a saved configuration that would build what is not on the closed list.
    """
    given = OverridesParser.create().parse_overrides(list(overrides))
    wanted = resolve_paths(cfg)
    checkpoint = (
        _newest_fitting(cfg, wanted, given, name if _is_said(given, named_by) else "")
        if cfg.resume == "auto"
        else _checkpoint_at(Path(cfg.resume))
    )
    if checkpoint is None:
        return None
    folder = checkpoint.parents[1]
    then, now = task_of(read_config(folder)), task_of(wanted)
    if then != now:
        raise ValueError(
            f"{checkpoint} belongs to a run that has task={then}, and this one has task={now}: resume it with the "
            "script and the method that began it."
        )
    mismatches = _mismatches(folder, wanted, given)
    if mismatches:
        raise ValueError(
            f"{checkpoint} belongs to a run that was not started with {' '.join(mismatches)}; leave that out to resume "
            f"it, or leave resume out to start another run.{_longer(checkpoint, mismatches)}"
        )
    return checkpoint, _config(folder, cfg, wanted, given)


def _is_said(given: Sequence[Override], keys: Sequence[str]) -> bool:
    return any(override.key_or_group in keys for override in given)


def _newest_fitting(cfg: DictConfig, wanted: DictConfig, given: Sequence[Override], name: str) -> Path | None:
    """The checkpoint that `resume=auto` goes on from; None where no run has any, or none of the name that was said."""
    runs = _runs(Path(cfg.runs))
    if not runs or (name and not any(folder.parent.name == name for folder in runs)):
        log.info("No run to resume: there is none below %s. Starting a new one.", Path(cfg.runs, name))
        return None
    fitting = [folder for folder in runs if not _mismatches(folder, wanted, given)]
    unfinished = [folder for folder in fitting if not _is_finished(folder)]
    folder = next(iter(unfinished or fitting), None)
    if folder is None:
        mismatches = _mismatches(runs[0], wanted, given)
        newest = next(iter(newest_first(runs[0].glob("checkpoints/*.ckpt"))))
        raise ValueError(
            f"resume=auto found no run below {cfg.runs} that fits this command: the newest, {runs[0]}, was not started "
            f"with {' '.join(mismatches)}. Leave resume out to start a new run, or name one with resume=FOLDER."
            f"{_longer(newest, mismatches)}"
        )
    checkpoint = latest_valid(folder.glob("checkpoints/*.ckpt"))
    if checkpoint is None:
        raise ValueError(
            f"resume=auto found {folder}, which has no whole checkpoint: leave resume out to start the run anew."
        )
    return checkpoint


def _longer(checkpoint: Path, mismatches: Sequence[str]) -> str:
    """How to train longer, where it is the number of steps that does not fit."""
    if not any(line.startswith("steps=") for line in mismatches):
        return ""
    saved = read_config(checkpoint.parents[1])
    second = f"start a second training from its weights with init_from={checkpoint} and without resume, or "
    return (
        f" Its schedule of the learning rate is made for steps={saved.steps}. To train longer, "
        f"{'' if task_of(saved) == 'translation' else second}begin a run with method.schedule=null, which "
        "resume=FOLDER steps=... makes longer."
    )


def read_config(folder: Path) -> DictConfig:
    """The configuration that a run has saved, as plain values; nothing in it is resolved or built.

    Raises:
        ValueError: none that can be read, or one with references.
    """
    file = folder / CONFIG_FILE
    try:
        saved = OmegaConf.load(file)
        if isinstance(saved, DictConfig):
            check_plain(saved, source=file)
    except (OSError, UnicodeError, yaml.YAMLError, OmegaConfBaseException, RecursionError) as error:
        raise ValueError(f"{file} is no configuration of a run that can be read; leave resume out.") from error
    if not isinstance(saved, DictConfig) or not isinstance(OmegaConf.select(saved, "steps"), int):
        raise ValueError(f"{file} is no configuration of a run; leave resume out.")
    return saved


def remember_steps(folder: Path, steps: int) -> None:
    """Let a run that is prolonged be as long the next time, too."""
    saved = read_config(folder)
    if saved.steps != steps:
        saved.steps = steps
        with atomic_write(folder / CONFIG_FILE) as file:
            file.write(OmegaConf.to_yaml(saved).encode())


def _runs(parent: Path) -> list[Path]:
    """The folders of runs that have checkpoints, the one with the newest first."""
    checkpoints = newest_first(parent.glob("*/*/checkpoints/*.ckpt"))
    return list(dict.fromkeys(path.absolute().parents[1] for path in checkpoints))


def _checkpoint_at(path: Path) -> Path:
    if path.is_dir() and (checkpoints := list(path.glob("checkpoints/*.ckpt"))):
        found = latest_valid(checkpoints)
        advice = "none of its checkpoints is whole; leave resume out to start the run anew"
    elif path.is_file() and (path.absolute().parents[1] / CONFIG_FILE).is_file():
        found = path if is_valid(path) else None
        advice = "it is no whole checkpoint; resume from another one in its folder"
    else:
        raise ValueError(
            f"resume={path} is neither a run's folder with checkpoints nor a checkpoint in one; runs live in runs/, "
            "and resume=auto takes the newest."
        )
    if found is None:
        raise ValueError(f"resume={path} can't be gone on from: {advice}.")
    return found.absolute()


def _is_finished(folder: Path) -> bool:
    """Whether a run has the checkpoint of its last step."""
    return any(folder.glob(f"checkpoints/step-{read_config(folder).steps:06d}*.ckpt"))


def _mismatches(folder: Path, wanted: DictConfig, given: Sequence[Override]) -> list[str]:
    """What was said on the command line and is not so in the run in `folder`."""
    try:
        saved = read_config(folder)
        said_then = json.loads((folder / OVERRIDES_FILE).read_text())
    except (OSError, ValueError, RecursionError):
        return [UNREADABLE]
    if not isinstance(said_then, list):
        return [UNREADABLE]
    if task_of(saved) != task_of(wanted):
        return [f"task={task_of(wanted)}"]
    mismatches = []
    for override in given:
        key, line = override.key_or_group, override.input_line or ""
        if _may_change(saved, key) or line in said_then:
            continue
        # Its settings may be an experiment's; what it learns has been compared.
        if key == "method" and _method_of(saved) == _method_of(wanted):
            continue
        if key == "experiment" or OmegaConf.select(saved, key) != OmegaConf.select(wanted, key):
            mismatches.append(line)
    return mismatches


def _method_of(cfg: DictConfig | ListConfig) -> object:
    return OmegaConf.select(cfg, "method._target_")


def task_of(cfg: DictConfig | ListConfig) -> str:
    """What a run is for; those from before there was a choice learnt a style."""
    return str(OmegaConf.select(cfg, "task", default="style"))


def _may_change(saved: DictConfig | ListConfig, key: str) -> bool:
    # A schedule is made for its number of steps; without one, a run may be prolonged.
    return key in MAY_CHANGE or (key == "steps" and OmegaConf.select(saved, "method.schedule") is None)


def _config(folder: Path, now: DictConfig, wanted: DictConfig, given: Sequence[Override]) -> DictConfig:
    saved = read_config(folder)
    check_targets(saved, wanted, source=folder / CONFIG_FILE)
    younger = [str(key) for key in now if key not in saved]  # Settings that there were not when the run began.
    config = OmegaConf.merge(saved, OmegaConf.masked_copy(now, younger))
    assert isinstance(config, DictConfig)
    _leave_out_places(config, now)
    OmegaConf.set_struct(config, True)
    for override in given:
        if _may_change(config, override.key_or_group):
            OmegaConf.update(config, override.key_or_group, override.value())
    return config


def _leave_out_places(config: DictConfig, now: DictConfig) -> None:
    """Let a saved configuration say nothing of `LOCAL_KEYS`."""
    for key in LOCAL_KEYS:
        group, _, name = key.rpartition(".")
        holder = OmegaConf.select(config, group) if group else config
        if holder is None or name not in holder:
            continue
        here = OmegaConf.select(now, key)
        if here is not None:
            OmegaConf.update(config, key, here)
        else:
            del holder[name]  # What the constructor has for it.
