"""Where the program meets a person: an error is one sentence and exit code 1, a traceback only with debug=true."""

import functools
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

CONF = Path(__file__).resolve().parents[1] / "conf"
Main = Callable[[DictConfig], None]


def one_sentence_errors(main: Main) -> Main:
    """Run `main`; print what a person can act on, exit 1 for an error and 128 + n for signal n, as shells do."""

    @functools.wraps(main)
    def guarded(cfg: DictConfig) -> None:
        try:
            main(cfg)
        except (ValueError, OSError, HydraException, OmegaConfBaseException) as error:
            if cfg.get("debug"):
                raise
            sys.exit(f"Error: {_sentence(error)}")
        except KeyboardInterrupt:
            print("Stopped.", file=sys.stderr)
            sys.exit(128 + signal.SIGINT)
        except Exception as error:
            number = getattr(error, "signal_number", None)
            if number is not None:
                print(error, file=sys.stderr)
                sys.exit(128 + number)
            if cfg.get("debug"):
                raise
            sys.exit(f"Error: {type(error).__name__}: {_sentence(error)} (debug=true shows where)")

    return guarded


def check_keys(cfg: DictConfig, root: str) -> None:
    """Refuse a recipe (experiment=...) of another script: it brings settings that this one has no use for."""
    known = {"style", "loss_network", *OmegaConf.load(CONF / f"{root}.yaml").keys()}
    strange = [str(key) for key in cfg if key not in known]
    if strange:
        recipe = HydraConfig.get().runtime.choices.get("experiment")
        raise ValueError(f"experiment={recipe} is of another script: it sets {', '.join(strange)}; see --help.")


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
