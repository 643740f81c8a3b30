"""How much memory stylizing may use: host memory, and the memory of a GPU."""

import math
from dataclasses import dataclass

import psutil

#: Bytes per pixel to stylize a whole image, on top of the process itself, for 32 channels in float32. Measured on a CPU
#: from 1024x1024 to 2048x1536, plus a margin of 10 %. bfloat16 needs about half.
BYTES_PER_PIXEL = {"torch": 630, "compile": 900, "onnxruntime": 1200, "openvino": 380}
#: Bytes per pixel of a strip (without its halo), of the image while it is read and written, and of a mask.
STRIP, PICTURE, MASK = 1100, 14, 8
#: Bytes per pixel of host memory while a GPU computes: float32 copies to and from the GPU.
MOVED = 24
#: Bytes of the process with PyTorch imported, before any image.
PROCESS = 620 * 2**20
#: Rows of the smallest strip; smaller strips would consist mostly of their halos.
LOWEST_STRIP = 8


@dataclass(frozen=True)
class MemoryBudget:
    """Bytes that stylizing may use.

    Attributes:
        host: for the whole process, in host memory.
        device: for the network's working memory, on a GPU. None if the network computes in host memory, or if the
            GPU's free memory is unknown.
    """

    host: int
    device: int | None = None

    @classmethod
    def of(
        cls, device: str, *, max_memory: int | None = None, painters: int = 1, painters_on_device: int = 1
    ) -> "MemoryBudget":
        """The budget of a painter on this device.

        Args:
            device: the runtime's device: `cpu`, `cuda`, `mps`, ...
            max_memory: bytes; on a CPU for the whole process, on a GPU for the network's working memory. None is half
                of the memory that is free now.
            painters: processes on this machine that stylize at the same time.
            painters_on_device: how many of them share the GPU.
        """
        host = PROCESS + psutil.virtual_memory().available // (2 * painters)
        if device == "cpu":
            return cls(max_memory or host)
        if max_memory is not None:
            return cls(host, max_memory)
        free = _free_on(device)
        return cls(host, None if free is None else free // (2 * painters_on_device))

    def fits_whole(self, pixels: int, bytes_per_pixel: float, *, beside: int) -> bool:
        """Whether one call of the network on this number of pixels fits the budget.

        Args:
            pixels: of all images in the call.
            bytes_per_pixel: the network's working memory.
            beside: bytes of host memory for reading and writing.
        """
        room = self.host - PROCESS - beside
        if self.device is None:
            return pixels * bytes_per_pixel <= room
        return pixels * bytes_per_pixel <= self.device and pixels * MOVED <= room

    def rows_of_strips(self, width: int, bytes_per_pixel: float, *, beside: int, on_host: bool = False) -> int:
        """Rows of the largest strips that fit: a multiple of 8, up to 512; 0 if not even the smallest strip fits.

        Args:
            width: of the image, in pixels.
            bytes_per_pixel: the network's working memory in strips.
            beside: bytes of host memory for reading and writing.
            on_host: compute on the CPU, although the budget has a GPU.
        """
        room = self.host - PROCESS - beside
        if self.device is not None and not on_host:
            if room < 0:
                return 0
            room = self.device
        rows = math.floor(room / (bytes_per_pixel * width)) - 16  # The halos of the last layers.
        return min(rows, 512) // LOWEST_STRIP * LOWEST_STRIP if rows >= LOWEST_STRIP else 0


def _free_on(device: str) -> int | None:
    """Free bytes on a GPU; None if PyTorch cannot query it (a build without CUDA next to an ONNX Runtime with CUDA)."""
    import torch

    from fast_style.devices import free_memory

    try:
        return free_memory(torch.device(device))
    except (RuntimeError, AssertionError, ValueError):
        return None
