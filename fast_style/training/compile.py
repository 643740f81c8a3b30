"""Decide whether torch.compile saves time over a whole run, and compile networks."""

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

#: Number of 256x256 photos from which a compiled training is faster, compiling included. Two CPU cores gain 0.1 to
#: 0.4 s per photo and compile for 130 s, or 210 s with three levels of the image pyramid. A GPU gains milliseconds per
#: photo: an estimate, not a measurement.
REPAYS = {"cpu": 2_000, "cuda": 40_000}


def should_compile(choice: Compile, *, photos: int, size: int, device: torch.device) -> bool:
    """Resolve the setting `compile`. The result depends on the whole run, so a resumed run computes as before.

    Args:
        choice: True, False, or `auto`: compile if a compiler is installed and the run is long enough.
        photos: number of photos that this process trains on in all steps.
        size: side of a photo in pixels.
        device: device of the training.

    Raises:
        ValueError: any other choice.
    """
    if not isinstance(choice, bool) and choice != "auto":
        raise ValueError(f"compile is true, false or auto; got {choice!r}.")
    if choice != "auto":
        return choice
    enough = photos * (size / 256) ** 2 >= REPAYS.get(device.type, float("inf"))
    return enough and has_compiler(device)


def has_compiler(device: torch.device) -> bool:
    """Whether the compiler that torch.compile needs is installed: a C++ compiler for CPUs, Triton for GPUs."""
    if device.type == "cuda":
        return importlib.util.find_spec("triton") is not None
    default = "clang++" if sys.platform == "darwin" else "cl" if sys.platform == "win32" else "g++"
    return shutil.which(os.environ.get("CXX", default)) is not None


def compile_in_place(*networks: nn.Module, forgiving: bool) -> None:
    """Compile the networks at their first call, for one batch size.

    Args:
        networks: modules to compile.
        forgiving: if the compiler fails, warn and run uncompiled.
    """
    log.info("Compiling the networks, which takes one to four minutes; compile=false trains without.")
    torch._dynamo.config.suppress_errors = forgiving
    for network in networks:
        network.compile(dynamic=False)
