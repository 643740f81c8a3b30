"""The machine, the versions, and the peak of a large matrix product in bfloat16."""

import os
import platform
import subprocess
from contextlib import suppress
from importlib.metadata import version

import torch

from gpu_parts.clock import chosen_device, milliseconds
from gpu_parts.figures import Figures
from gpu_parts.peaks import known_peak


def measure(figures: Figures) -> None:
    """Note the header, then the measured peak."""
    device = chosen_device(figures.sizes)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or "cpu"
    figures.note("device", name)
    if device.type == "cuda":
        memory = torch.cuda.get_device_properties(device).total_memory
    else:
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    figures.note("memory_gib", round(memory / 2**30, 1))
    figures.note("driver", _driver())
    figures.note("cpu_cores", os.cpu_count())
    figures.note(
        "versions",
        {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "cuda": torch.version.cuda,
            "cudnn": torch.backends.cudnn.version(),
            "torchvision": version("torchvision"),
            "lightning": version("pytorch-lightning"),
        },
    )
    figures.note("peak_tflops_known", known_peak(name))
    figures.note("peak_tflops_measured", measured_peak(figures.sizes.matmul, device))


def measured_peak(side: int, device: torch.device) -> float:
    """TFLOP/s of the product of two square matrices of random numbers (zeros would be faster) in bfloat16."""
    a, b = (torch.randn(side, side, device=device).to(torch.bfloat16) for _ in range(2))
    milli = min(milliseconds(lambda: a @ b, device, calls=10) for _ in range(3))
    return 2 * side**3 / milli / 1e9


def _driver() -> str | None:
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    with suppress(OSError, subprocess.SubprocessError):
        return subprocess.check_output(command, text=True, timeout=10).splitlines()[0].strip()
    return None
