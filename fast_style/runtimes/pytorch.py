"""PyTorch as a runtime: eager or compiled."""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fast_style.devices import best_precision, usable_device
from fast_style.runtimes.runtime import ComputePrecision, RuntimeName

_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


class Torch:
    """PyTorch, eager or compiled.

    Args:
        network: maps `(N, 3, H, W)` in 0..1 to the same shape and range.
        precision: `fp32`; `bf16` or `fp16` for the convolutions; `auto` is bf16 if the device supports it, else fp32.
        device: `cpu`, `cuda`, `mps`, ...
        compile: use torch.compile: the first image takes about a minute, less once torch's own cache is filled.

    Raises:
        ValueError: a device that cannot be used on this machine.
    """

    def __init__(
        self, network: nn.Module, *, precision: str = "fp32", device: str = "cpu", compile: bool = False
    ) -> None:
        place = usable_device(device)
        self.name: RuntimeName = "compile" if compile else "torch"
        self.device = str(place)
        self.precision: ComputePrecision = _precision(precision, place)
        self.network = network.eval().to(place).to(memory_format=torch.channels_last)
        if compile:
            self.network.compile(dynamic=True)

    @torch.inference_mode()
    def tensors(self, pictures: Tensor) -> Tensor:
        """Stylize `(N, 3, H, W)` in 0..1; the result is on the device of the input."""
        moved = pictures.to(self.device, torch.float32, memory_format=torch.channels_last)
        enabled = self.precision != "fp32"
        dtype = _DTYPES.get(self.precision, torch.bfloat16)
        with torch.autocast(torch.device(self.device).type, dtype, enabled=enabled):
            painted: Tensor = self.network(moved)
        return painted.to(pictures.device, torch.float32).contiguous()

    def arrays(self, pictures: NDArray[np.float32]) -> NDArray[np.float32]:
        """Stylize an array `(N, 3, H, W)`, float32 in 0..1."""
        return self.tensors(torch.from_numpy(pictures)).cpu().numpy()


def _precision(wanted: str, device: torch.device) -> ComputePrecision:
    if wanted == "auto":
        return "bf16" if best_precision(device) == "bf16-mixed" else "fp32"
    if wanted not in ("fp32", "bf16", "fp16"):
        raise ValueError(f"precision of runtime=torch is auto, fp32, bf16 or fp16; got {wanted!r}.")
    return wanted  # type: ignore[return-value]


def keep_compiled_in(cache: Path) -> None:
    """Set the folder of torch.compile's cache, unless the environment already sets one."""
    import os

    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(cache / "inductor"))
