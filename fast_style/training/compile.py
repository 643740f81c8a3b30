"""Whether torch.compile repays what it costs, and having it done."""

import importlib.util
import logging
import os
import shutil
import sys
from typing import Literal

import torch
from torch import nn

log = logging.getLogger(__name__)

Compile = bool | Literal["auto"]

#: Photos of 256x256 after which a compiled training is the quicker one, compiling included. Two CPU cores gain 0.1 to
#: 0.4 s a photo and compile for 30 to 90 s; a GPU gains milliseconds, which is reckoned and not measured.
REPAYS = {"cpu": 500, "cuda": 40_000}


def should_compile(choice: Compile, *, photos: int, size: int, device: torch.device) -> bool:
    """What `compile=` comes to. It depends on the run as a whole, so a resumed one computes as before.

    Args:
        choice: True, False, or `auto`: if there is a compiler, and enough to do.
        photos: that this process will be trained with, in all steps together.
        size: pixels a side of a photo.
        device: what computes.

    Raises:
        ValueError: another choice.
    """
    if not isinstance(choice, bool) and choice != "auto":
        raise ValueError(f"compile is true, false or auto; got {choice!r}.")
    if choice != "auto":
        return choice
    enough = photos * (size / 256) ** 2 >= REPAYS.get(device.type, float("inf"))
    return enough and has_compiler(device)


def has_compiler(device: torch.device) -> bool:
    """Whether what torch.compile hands its code to is installed: a C++ compiler, or Triton for a GPU."""
    if device.type == "cuda":
        return importlib.util.find_spec("triton") is not None
    default = "clang++" if sys.platform == "darwin" else "cl" if sys.platform == "win32" else "g++"
    return shutil.which(os.environ.get("CXX", default)) is not None


def compile_in_place(*networks: nn.Module, forgiving: bool) -> None:
    """Have the networks compiled at their first use, for batches of one size.

    Args:
        networks: what is compiled.
        forgiving: go on uncompiled where the compiler fails, with a warning.
    """
    log.info("Compiling first, which takes about a minute; compile=false does without.")
    torch._dynamo.config.suppress_errors = forgiving
    for network in networks:
        network.compile(dynamic=False)
