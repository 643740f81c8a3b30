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
            sys.exit(128 + signal.SIGINT)
        except Exception as error:
            number = getattr(error, "signal_number", None)
            if number is None:
                raise
            print(error, file=sys.stderr)
            sys.exit(128 + number)

    return guarded


def _sentence(error: BaseException) -> str:
    # Hydra wraps what a constructor raises; the constructor's own sentence is the useful one.
    while isinstance(error, HydraException) and error.__cause__ is not None:
        error = error.__cause__
    return " ".join(str(error).split())
