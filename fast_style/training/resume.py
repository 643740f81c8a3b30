"""Find a run to resume, with the configuration it was started with."""

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
from fast_style.data.hub.loading import FORMATS
from fast_style.training.checkpoint_io import is_valid, latest_valid, newest_first
from fast_style.training.config_targets import check_plain, check_targets

log = logging.getLogger(__name__)

CONFIG_FILE = "config.yaml"
OVERRIDES_FILE = "overrides.json"

#: Entry in the result of `_mismatches` for a run that cannot be compared.
UNREADABLE = f"a readable {CONFIG_FILE} and {OVERRIDES_FILE}"

#: Settings of the trainer that decide which processes share the work.
PROCESS_KEYS = ("devices", "num_nodes", "strategy", "accumulate_grad_batches")
#: Settings that a resumed run may change, because they do not change what the network learns.
MAY_CHANGE = frozenset(
    [
        *("resume", "runs", "network_file", "save_as", "debug", "compile", "profile"),
        *("val_every", "checkpoint_every", "data.workers", "assets_dir", "max_skips"),
        *("data.verify", "style.cache", "sweep.photos", "sweep.count", "sweep.size"),
        *("trainer", "trainer.strategy.timeout.minutes", *(f"trainer.{key}" for key in PROCESS_KEYS)),
    ]
)
#: Settings that decide where a run writes and deletes files on this machine. They never come from a saved
#: configuration, which somebody else may have written.
LOCAL_KEYS = ("runs", "style.cache")
PATH_KEYS = (
    *("style.image", "data.root", "data.path", "data.held_out_root", "data.a", "data.b", "data.test_a", "data.test_b"),
    *("loss_network.weights", "loss_network.shallow", "loss_network.deep", "assets_dir"),
)


def resolve_paths(cfg: DictConfig) -> DictConfig:
    """Resolve all references and make relative paths absolute, so the result holds in any folder and environment."""
    plain = OmegaConf.create(OmegaConf.to_container(cfg, resolve=True))
    textures = [f"style.pictures.{name}.texture" for name in OmegaConf.select(plain, "style.pictures") or []]
    for key in (*PATH_KEYS, *textures):
        path = OmegaConf.select(plain, key)
        if path is not None and path not in FORMATS and os.path.exists(path):
            OmegaConf.update(plain, key, os.path.abspath(path))
    for key in ("data.urls", "data.roots"):
        places = OmegaConf.select(plain, key)
        if places is not None:
            OmegaConf.update(plain, key, _absolute(places))
    if OmegaConf.select(plain, "data.data_files") and plain.data.path in FORMATS:
        # For a data set on the Hub they are names within it.
        OmegaConf.update(plain, "data.data_files", _absolute(plain.data.data_files), merge=False)
    assert isinstance(plain, DictConfig)
    return plain


def _absolute(urls: Any) -> Any:
    """Make one or several paths or path patterns absolute; URLs with a scheme stay as they are."""
    if isinstance(urls, DictConfig):
        return {split: _absolute(some) for split, some in urls.items()}
    if isinstance(urls, ListConfig):
        return [_absolute(url) for url in urls]
    return urls if "://" in urls else os.path.abspath(os.path.expanduser(urls))


def find_resumable(
    cfg: DictConfig, overrides: Sequence[str], *, name: str = "", named_by: Sequence[str] = ()
) -> tuple[Path, DictConfig] | None:
    """Find the checkpoint to resume from, and the configuration of its run.

    Args:
        cfg: the composed configuration of this command. `cfg.resume` is a checkpoint, a run's folder, or `auto`: the
            newest run below `cfg.runs` that agrees with all overrides, unfinished runs first. Within a run the newest
            undamaged checkpoint is taken; a warning names each damaged one.
        overrides: overrides of the command line.
        name: name that a new run of this command would have.
        named_by: the settings that determine this name.

    Returns:
        Checkpoint and configuration, or None if `auto` may start a new run. It may if there is no run below
        `cfg.runs`, or if the overrides set one of `named_by` and there is no run of that name. So a scheduler can
        repeat one command, or one command per style, with `resume=auto` from the first start.

    Raises:
        ValueError: no run fits; no undamaged checkpoint at the given path; overrides that contradict the run; or a
            saved configuration with a class that is not on the closed list.
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
            f"{checkpoint} belongs to a run with task={then}, but this command has task={now}. Resume it with the "
            "script and the method that started it."
        )
    mismatches = _mismatches(folder, wanted, given)
    if mismatches:
        raise ValueError(
            f"{checkpoint} belongs to a run that does not have {' '.join(mismatches)}. Leave that out to resume the "
            f"run, or leave resume out to start a new run.{_longer(checkpoint, mismatches)}"
        )
    return checkpoint, _config(folder, cfg, wanted, given)


def _is_said(given: Sequence[Override], keys: Sequence[str]) -> bool:
    return any(override.key_or_group in keys for override in given)


def _newest_fitting(cfg: DictConfig, wanted: DictConfig, given: Sequence[Override], name: str) -> Path | None:
    """Find the checkpoint for `resume=auto`; None if no run has a checkpoint, or no run of the given name."""
    runs = _runs(Path(cfg.runs))
    if not runs or (name and not any(folder.parent.name == name for folder in runs)):
        log.info("No run to resume below %s. Starting a new run.", Path(cfg.runs, name))
        return None
    fitting = [folder for folder in runs if not _mismatches(folder, wanted, given)]
    unfinished = [folder for folder in fitting if not _is_finished(folder)]
    folder = next(iter(unfinished or fitting), None)
    if folder is None:
        mismatches = _mismatches(runs[0], wanted, given)
        newest = next(iter(newest_first(runs[0].glob("checkpoints/*.ckpt"))))
        raise ValueError(
            f"resume=auto found no run below {cfg.runs} that fits this command. The newest run, {runs[0]}, does not "
            f"have {' '.join(mismatches)}. Leave resume out to start a new run, or choose a run with resume=FOLDER."
            f"{_longer(newest, mismatches)}"
        )
    checkpoint = latest_valid(folder.glob("checkpoints/*.ckpt"))
    if checkpoint is None:
        raise ValueError(
            f"resume=auto found {folder}, but all its checkpoints are damaged. Leave resume out to start a new run."
        )
    return checkpoint


def _longer(checkpoint: Path, mismatches: Sequence[str]) -> str:
    """Advice on training longer, if the number of steps is what does not fit."""
    if not any(line.startswith("steps=") for line in mismatches):
        return ""
    saved = read_config(checkpoint.parents[1])
    second = f"start a second training with init_from={checkpoint} and without resume, or "
    return (
        f" Its learning rate schedule is built for steps={saved.steps}. To train longer, "
        f"{'' if task_of(saved) == 'translation' else second}start a run with method.schedule=null, which "
        "resume=FOLDER steps=... can extend."
    )


def read_config(folder: Path) -> DictConfig:
    """Read the configuration that a run has saved. Nothing in it is resolved or built.

    Raises:
        ValueError: no readable configuration, or one with references.
    """
    file = folder / CONFIG_FILE
    try:
        saved = OmegaConf.load(file)
        if isinstance(saved, DictConfig):
            check_plain(saved, source=file)
    except (OSError, UnicodeError, yaml.YAMLError, OmegaConfBaseException, RecursionError) as error:
        raise ValueError(f"{file} is not a readable run configuration. Leave resume out.") from error
    if not isinstance(saved, DictConfig) or not isinstance(OmegaConf.select(saved, "steps"), int):
        raise ValueError(f"{file} is not a run configuration. Leave resume out.")
    return saved


def remember_steps(folder: Path, steps: int) -> None:
    """Save the number of steps of an extended run, so the next resume keeps it."""
    saved = read_config(folder)
    if saved.steps != steps:
        saved.steps = steps
        with atomic_write(folder / CONFIG_FILE) as file:
            file.write(OmegaConf.to_yaml(saved).encode())


def _runs(parent: Path) -> list[Path]:
    """Folders of runs with checkpoints, sorted by their newest checkpoint, newest first."""
    checkpoints = newest_first(parent.glob("*/*/checkpoints/*.ckpt"))
    return list(dict.fromkeys(path.absolute().parents[1] for path in checkpoints))


def _checkpoint_at(path: Path) -> Path:
    if path.is_dir() and (checkpoints := list(path.glob("checkpoints/*.ckpt"))):
        found = latest_valid(checkpoints)
        advice = "all its checkpoints are damaged. Leave resume out to start a new run"
    elif path.is_file() and (path.absolute().parents[1] / CONFIG_FILE).is_file():
        found = path if is_valid(path) else None
        advice = "the checkpoint is damaged. Resume from another one in its folder"
    else:
        raise ValueError(
            f"resume={path} is neither a run's folder with checkpoints nor a checkpoint in one. Runs are in runs/; "
            "resume=auto takes the newest."
        )
    if found is None:
        raise ValueError(f"resume={path} is not possible: {advice}.")
    return found.absolute()


def _is_finished(folder: Path) -> bool:
    """Whether the run has the checkpoint of its last step."""
    return any(folder.glob(f"checkpoints/step-{read_config(folder).steps:06d}*.ckpt"))


def _mismatches(folder: Path, wanted: DictConfig, given: Sequence[Override]) -> list[str]:
    """Overrides of this command that the run in `folder` does not have."""
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
        # An experiment may have chosen the method. Its class and the task are what must agree.
        if key == "method" and _method_of(saved) == _method_of(wanted):
            continue
        if key == "experiment" or OmegaConf.select(saved, key) != OmegaConf.select(wanted, key):
            mismatches.append(line)
    return mismatches


def _method_of(cfg: DictConfig | ListConfig) -> object:
    return OmegaConf.select(cfg, "method._target_")


def task_of(cfg: DictConfig | ListConfig) -> str:
    """The task of a run. Old runs without this setting trained a style."""
    return str(OmegaConf.select(cfg, "task", default="style"))


def _may_change(saved: DictConfig | ListConfig, key: str) -> bool:
    # A schedule is built for its number of steps. A run without a schedule can be extended.
    return key in MAY_CHANGE or (key == "steps" and OmegaConf.select(saved, "method.schedule") is None)


def _config(folder: Path, now: DictConfig, wanted: DictConfig, given: Sequence[Override]) -> DictConfig:
    saved = read_config(folder)
    check_targets(saved, wanted, source=folder / CONFIG_FILE)
    younger = [str(key) for key in now if key not in saved]  # Settings that did not exist when the run started.
    config = OmegaConf.merge(saved, OmegaConf.masked_copy(now, younger))
    assert isinstance(config, DictConfig)
    _leave_out_places(config, now)
    OmegaConf.set_struct(config, True)
    for override in given:
        key = override.key_or_group
        if key == "trainer":
            _take_processes(config, wanted)
        elif _may_change(config, key):
            OmegaConf.update(config, key, override.value(), force_add=key.startswith("trainer."))
    return config


def _take_processes(config: DictConfig, wanted: DictConfig) -> None:
    """Replace the saved `PROCESS_KEYS` by those of this command."""
    for key in PROCESS_KEYS:
        if key in wanted.trainer:
            OmegaConf.update(config, f"trainer.{key}", wanted.trainer[key], merge=False, force_add=True)
        else:
            config.trainer.pop(key, None)


def _leave_out_places(config: DictConfig, now: DictConfig) -> None:
    """Replace `LOCAL_KEYS` of a saved configuration by the values of this command."""
    for key in LOCAL_KEYS:
        group, _, name = key.rpartition(".")
        holder = OmegaConf.select(config, group) if group else config
        if holder is None or name not in holder:
            continue
        here = OmegaConf.select(now, key)
        if here is not None:
            OmegaConf.update(config, key, here)
        else:
            del holder[name]  # The constructor's default applies.
