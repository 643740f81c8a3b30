"""How much memory painting may take: the host's, and that of a device with memory of its own."""

import math
from dataclasses import dataclass

import psutil

#: Bytes a pixel that painting a picture whole takes beyond the process itself, for 32 channels in float32; measured
#: on a CPU from 1024x1024 to 2048x1536, and a tenth. In bfloat16 it is about half.
BYTES_PER_PIXEL = {"torch": 630, "compile": 900, "onnxruntime": 1200, "openvino": 380}
#: The same of a strip, by its own pixels, halos left aside; of the picture, by its pixels, read and written; of a mask.
STRIP, PICTURE, MASK = 1100, 14, 8
#: Bytes a pixel on the host while a device computes: float32 on the way to it, and back.
MOVED = 24
#: The process with PyTorch, before it has a picture.
PROCESS = 620 * 2**20
#: Rows of the lowest strip; lower ones would consist of halos.
LOWEST_STRIP = 8


@dataclass(frozen=True)
class MemoryBudget:
    """Bytes that painting may take.

    Attributes:
        host: the whole process, in the host's memory.
        device: the network's working memory, on a device with memory of its own. None where the network computes in
            the host's memory, or where nobody knows what the device has.
    """

    host: int
    device: int | None = None

    @classmethod
    def of(
        cls, device: str, *, max_memory: int | None = None, painters: int = 1, painters_on_device: int = 1
    ) -> "MemoryBudget":
        """What a painter may take that computes on this device.

        Args:
            device: `cpu`, `cuda`, `mps`, ... of the runtime.
            max_memory: bytes: on the CPU of the whole process, on a GPU of the network's working memory there. None is
                half of what is free now.
            painters: processes of this machine that paint at the same time.
            painters_on_device: those that share the GPU.
        """
        host = PROCESS + psutil.virtual_memory().available // (2 * painters)
        if device == "cpu":
            return cls(max_memory or host)
        if max_memory is not None:
            return cls(host, max_memory)
        free = _free_on(device)
        return cls(host, None if free is None else free // (2 * painters_on_device))

    def fits_whole(self, pixels: int, bytes_per_pixel: float, *, beside: int) -> bool:
        """Whether the network may have so many pixels at once.

        Args:
            pixels: of one picture, or of all in a call.
            bytes_per_pixel: the network's working memory.
            beside: bytes on the host that reading and writing takes meanwhile.
        """
        room = self.host - PROCESS - beside
        if self.device is None:
            return pixels * bytes_per_pixel <= room
        return pixels * bytes_per_pixel <= self.device and pixels * MOVED <= room

    def rows_of_strips(self, width: int, bytes_per_pixel: float, *, beside: int, on_host: bool = False) -> int:
        """How high strips of this width may be, a multiple of 8 up to 512; 0 where not even the lowest fits.

        Args:
            width: in pixels.
            bytes_per_pixel: the network's working memory in strips.
            beside: bytes on the host that reading and writing takes meanwhile.
            on_host: the CPU paints the strips, though the budget has a device.
        """
        room = self.host - PROCESS - beside
        if self.device is not None and not on_host:
            if room < 0:
                return 0
            room = self.device
        rows = math.floor(room / (bytes_per_pixel * width)) - 16  # Halos of the last layers.
        return min(rows, 512) // LOWEST_STRIP * LOWEST_STRIP if rows >= LOWEST_STRIP else 0


def _free_on(device: str) -> int | None:
    """Bytes free on a GPU; None if PyTorch can't ask it, as one without CUDA beside an ONNX Runtime with it."""
    import torch

    from fast_style.devices import free_memory

    try:
        return free_memory(torch.device(device))
    except (RuntimeError, AssertionError, ValueError):
        return None
