"""Where the program meets a person: an error is one sentence and exit code 1, a traceback only with debug=true."""

import functools
import os
import signal
import sys
from collections.abc import Callable
from io import TextIOWrapper
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from hydra.errors import CompactHydraException, HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

CONF = Path(__file__).resolve().parents[2] / "conf"
#: Where ckpt=NAME is looked for.
NETWORKS = ("checkpoints", CONF.parent / "checkpoints")
Main = Callable[[DictConfig], None]


class OneFailed(CompactHydraException):
    """One of several runs (`-m`) ended with an error; Hydra goes on, says the first at the end, and exits with 1."""


def one_sentence_errors(main: Main) -> Main:
    """Run `main`; print what a person can act on, exit 1 for an error and 128 + n for signal n, as shells do."""

    @functools.wraps(main)
    def guarded(cfg: DictConfig) -> None:
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, TextIOWrapper):  # A file's name that is no text ends nothing.
                stream.reconfigure(errors="backslashreplace")
        try:
            main(cfg)
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
                if str(error):  # Of many processes one speaks.
                    print(error, file=sys.stderr)
                sys.exit(128 + number)
            if cfg.get("debug"):
                raise
            _end(_exit_message(f"{type(error).__name__}: {_sentence(error)} (debug=true shows where)"))

    return guarded


def check_keys(cfg: DictConfig, root: str) -> None:
    """Refuse a recipe (experiment=...) of another script: it brings settings that this one has no use for."""
    known = {"style", "loss", "loss_network", *OmegaConf.load(CONF / f"{root}.yaml").keys()}
    strange = [str(key) for key in cfg if key not in known]
    if strange:
        recipe = HydraConfig.get().runtime.choices.get("experiment")
        raise ValueError(f"experiment={recipe} is of another script: it sets {', '.join(strange)}; see --help.")


def _end(words: str | int) -> None:
    if HydraConfig.get().mode != RunMode.MULTIRUN:
        sys.exit(words)
    words = f"{words} (#{HydraConfig.get().job.num} of those above)"
    print(words, file=sys.stderr)
    raise OneFailed(words) from None


def _exit_message(sentence: str) -> str | int:
    """What the process ends with; of many, one that is not the first says which it is."""
    variables = ("RANK", "SLURM_PROCID", "LOCAL_RANK")
    rank = next((os.environ[name] for name in variables if name in os.environ), "0")
    # Empty where another process says it.
    return 1 if not sentence else f"Error: {sentence}" if rank == "0" else f"Error in process {rank}: {sentence}"


def _sentence(error: BaseException) -> str:
    # Hydra wraps what a constructor raises; the constructor's own sentence is the useful one.
    while isinstance(error, HydraException) and error.__cause__ is not None:
        error = error.__cause__
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}." if error.filename else error.strerror
    if isinstance(error, MissingMandatoryValue):
        return f"{str(error).splitlines()[0]}; say {error.full_key}=... (--help explains it)."
    # A data loader's worker sends its whole traceback; what it raised stands in the last line.
    text = str(error).strip()
    last = text.splitlines()[-1] if "Original Traceback" in text else text
    return " ".join(last.split())
