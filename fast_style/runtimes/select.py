"""Choose the runtime: PyTorch, or a runtime that is faster on a CPU and starts without importing PyTorch."""

import os
import platform
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import get_args

from fast_style.runtimes.runtime import RuntimeName

#: CPU runtimes, fastest first, as measured by benchmarks/stylize.py.
ON_CPU: tuple[RuntimeName, ...] = ("openvino", "onnxruntime", "torch")


def choose(runtime: str, device: str) -> tuple[RuntimeName, str]:
    """Resolve `runtime` and `device`; `auto` is the fastest installed runtime, and a GPU if there is one.

    Raises:
        ValueError: an unknown name, or a runtime that is not installed.
    """
    if runtime not in ("auto", *get_args(RuntimeName)):
        raise ValueError(f"runtime is auto or one of {', '.join(get_args(RuntimeName))}; got {runtime!r}.")
    if runtime in ("onnxruntime", "openvino") and find_spec(runtime) is None:
        raise ValueError(f"runtime={runtime} is not installed: pip install 'fast_style[{runtime}]', or use torch.")
    if device == "auto":
        device = "cpu" if runtime in ("onnxruntime", "openvino") else _best_device()
    if runtime != "auto":
        return runtime, device  # type: ignore[return-value] # One of the names.
    return fastest(device)[0], device


def fastest(device: str) -> list[RuntimeName]:
    """The installed runtimes for this device, fastest first; PyTorch is always included."""
    return [name for name in ON_CPU if find_spec(name) is not None] if device == "cpu" else ["torch"]


def _best_device() -> str:
    """`cuda`, `mps` or `cpu`. PyTorch, whose import takes seconds, is only imported if there may be a GPU."""
    driver = Path("/dev/nvidiactl").exists() or Path("/dev/kfd").exists() or os.name == "nt"
    apple = sys.platform == "darwin" and platform.machine() == "arm64"
    if not driver and not apple:
        return "cpu"
    import torch

    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"
