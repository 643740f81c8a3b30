"""Errors of the commands: one sentence and exit code 1; the traceback only with debug=true."""

import functools
import inspect
import os
import signal
import sys
from collections.abc import Callable, Iterator
from io import TextIOWrapper
from typing import Any, NoReturn

from hydra.core.hydra_config import HydraConfig
from hydra.errors import CompactHydraException, HydraException
from hydra.types import RunMode
from hydra.utils import get_object
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

from fast_style.cli.help import CONF, RECIPES, register_help

#: Where ckpt=NAME is looked for.
NETWORKS = ("checkpoints", CONF.parent / "checkpoints")
Main = Callable[[DictConfig], object]


class OneFailed(CompactHydraException):
    """One of several runs (`-m`) failed. Hydra runs the others, prints the first error at the end, and exits with 1."""


def one_sentence_errors(main: Main) -> Main:
    """Run `main` and print an error as one sentence.

    The exit code is 1 for an error and 128 + n for signal n, as in a shell. `--help` explains every setting.
    """
    register_help()

    @functools.wraps(main)
    def guarded(cfg: DictConfig) -> object:
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, TextIOWrapper):  # File names may hold bytes that are not text.
                stream.reconfigure(errors="backslashreplace")
        try:
            return main(cfg)
        except (ValueError, OSError, HydraException, OmegaConfBaseException) as error:
            if cfg.get("debug"):
                raise
            _end(_exit_message(_sentence(error)))
        except KeyboardInterrupt:
            print("Stopped.", file=sys.stderr)
            sys.exit(128 + signal.SIGINT)
        except Exception as error:
            number = getattr(error, "signal_number", None)
            if number is not None:
                if str(error):  # Only one of several processes has the message.
                    print(error, file=sys.stderr)
                sys.exit(128 + number)
            if cfg.get("debug"):
                raise
            _end(_exit_message(f"{type(error).__name__}: {_sentence(error)} (debug=true shows where)"))

    return guarded


def check_keys(cfg: DictConfig, root: str) -> None:
    """Refuse settings that neither this script nor its chosen options have, such as those of another script's recipe.

    Args:
        cfg: the composed settings of a script.
        root: the script's file in `conf/`, without its suffix.

    Raises:
        ValueError: a key that is in no root file or group, or an argument that a class or function does not take.
    """
    known = _known_keys(root)
    strange = [str(key) for key in cfg if key not in known] or list(_unknown_arguments(cfg))
    if not strange:
        return
    said = {override.split("=")[0].lstrip("+") for override in HydraConfig.get().overrides.task}
    choices = HydraConfig.get().runtime.choices
    recipes = [f"{group}={choices[group]}" for group in RECIPES if choices.get(group)]
    if recipes and not said.issuperset(strange):
        raise ValueError(
            f"{recipes[0]} sets {', '.join(strange)}, which this script or its other choices do not have. It is a "
            "recipe of another script or of another method; see --help."
        )
    raise ValueError(f"{', '.join(strange)}: neither this script nor its choices have this setting; see --help.")


def _known_keys(root: str) -> set[str]:
    """Return the keys of the root file and of its groups."""
    settings = OmegaConf.load(CONF / f"{root}.yaml")
    known = {str(key) for key in settings}
    for entry in OmegaConf.select(settings, "defaults", default=[]):
        for key in entry if OmegaConf.is_dict(entry) else ():
            group, _, package = str(key).split(" ")[-1].removeprefix("/").partition("@")
            known.add((package or group).split(".")[0])
            for file in (CONF / group).glob("*.yaml") if group not in RECIPES else ():
                if "@package _global_" in file.read_text(encoding="utf-8"):
                    known |= {str(name) for name in OmegaConf.load(file)}
    return known


def _unknown_arguments(cfg: DictConfig) -> Iterator[str]:
    """Yield the keys of settings that the class or function of their `_target_` does not take."""
    waiting: list[tuple[str, Any]] = [("", OmegaConf.to_container(cfg, resolve=False))]
    while waiting:
        place, node = waiting.pop(0)
        if isinstance(node, list):
            waiting += [(f"{place}[{index}]", item) for index, item in enumerate(node)]
        if not isinstance(node, dict):
            continue
        places = {str(key): f"{place}.{key}" if place else str(key) for key in node}
        waiting += [(places[str(key)], item) for key, item in node.items()]
        taken = _arguments(node.get("_target_"))
        yield from (where for key, where in places.items() if not (taken is None or key in taken or key[0] == "_"))


def _arguments(target: object) -> set[str] | None:
    """Return the argument names of a class or function; None if they are unknown."""
    if not isinstance(target, str):
        return None
    try:
        parameters = inspect.signature(get_object(target)).parameters.values()
    except Exception:  # Hydra reports it when it builds the object.
        return None
    return None if any(p.kind is p.VAR_KEYWORD for p in parameters) else {p.name for p in parameters}


def _end(words: str | int) -> NoReturn:
    if HydraConfig.get().mode != RunMode.MULTIRUN:
        sys.exit(words)
    words = f"{words} (run #{HydraConfig.get().job.num} above)"
    print(words, file=sys.stderr)
    raise OneFailed(words) from None


def _exit_message(sentence: str) -> str | int:
    """Return the exit message. A process of several that is not the first adds its rank."""
    variables = ("RANK", "SLURM_PROCID", "LOCAL_RANK")
    rank = next((os.environ[name] for name in variables if name in os.environ), "0")
    # An empty sentence: another process prints it.
    return 1 if not sentence else f"Error: {sentence}" if rank == "0" else f"Error in process {rank}: {sentence}"


def _sentence(error: BaseException) -> str:
    # Hydra wraps the error of a constructor. The constructor's own sentence is the useful one.
    while isinstance(error, HydraException) and error.__cause__ is not None:
        error = error.__cause__
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}." if error.filename else error.strerror
    if isinstance(error, MissingMandatoryValue):
        return f"{str(error).splitlines()[0]}; set {error.full_key}=... (--help explains it)."
    # A loading worker sends its whole traceback. The last line is the error itself.
    text = str(error).strip()
    last = text.splitlines()[-1] if "Original Traceback" in text else text
    return " ".join(last.split())
