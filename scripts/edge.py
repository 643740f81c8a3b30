"""Where the program meets a person: an error is one sentence and exit code 1, a traceback only with debug=true."""

import functools
import signal
import sys
from collections.abc import Callable

from hydra.errors import HydraException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

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


def _sentence(error: BaseException) -> str:
    # Hydra wraps what a constructor raises; the constructor's own sentence is the useful one.
    while isinstance(error, HydraException) and error.__cause__ is not None:
        error = error.__cause__
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}." if error.filename else error.strerror
    # A data loader's worker sends its whole traceback; what it raised stands in the last line.
    text = str(error).strip()
    last = text.splitlines()[-1] if "Original Traceback" in text else text
    return " ".join(last.split())
