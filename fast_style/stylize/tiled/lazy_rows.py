"""Feature maps that compute their rows on demand: an image of any size in the memory of a strip.

A strip of a convolution's output needs a few more rows of its input; at the image border these rows are reflected. So
every row equals the same row of the whole image, and there are no seams. MONAI's `sliding_window_inference` runs a
network on each window by itself, with the window's own normalisation, and blends the overlaps.
"""

import os
import tempfile
from collections.abc import Callable, Iterator
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn


class Rows(Protocol):
    """A feature map `(1, channels, height, width)`."""

    channels: int
    height: int
    width: int
    device: torch.device

    def rows(self, top: int, bottom: int) -> Tensor:
        """`(1, channels, bottom - top, width)`, float32; 0 <= top < bottom <= height."""


def strips(height: int, rows: int) -> Iterator[tuple[int, int]]:
    """First and end row of each strip of `rows` rows, from top to bottom."""
    for top in range(0, height, rows):
        yield top, min(top + rows, height)


def _reflected(source: Rows, top: int, bottom: int) -> Tensor:
    """Rows `top` to `bottom`; rows outside the feature map are its reflection."""
    last = source.height - 1
    wanted = np.abs(np.arange(top, bottom))
    wanted = last - np.abs(last - wanted)
    first, end = int(wanted.min()), int(wanted.max()) + 1
    found = source.rows(first, end)
    if end - first == bottom - top and top == first:
        return found
    return found[:, :, torch.from_numpy(wanted - first).to(found.device)]


class PhotoRows:
    """An image `(H, W, 3)`, uint8 or float32 in 0..1, extended by reflection to multiples of `multiple`."""

    channels = 3

    def __init__(
        self, pixels: NDArray[np.uint8] | NDArray[np.float32], *, multiple: int, device: torch.device | None = None
    ) -> None:
        self.pixels, self.device = pixels, device or torch.device("cpu")
        height, width = pixels.shape[:2]
        self.height, self.width = height + -height % multiple, width + -width % multiple

    def rows(self, top: int, bottom: int) -> Tensor:
        """See `Rows`."""
        height, width = self.pixels.shape[:2]
        wanted = height - 1 - np.abs(height - 1 - np.arange(top, bottom))
        found = torch.from_numpy(self.pixels[wanted]).to(self.device).permute(2, 0, 1)[None]
        found = found.float() / 255 if found.dtype == torch.uint8 else found
        return F.pad(found, (0, self.width - width, 0, 0), mode="reflect")


class ConvRows:
    """A convolution with reflection padding, applied to `source`."""

    def __init__(self, source: Rows, conv: nn.Conv2d) -> None:
        self.source, self.conv, self.device = source, conv, source.device
        self.span, self.stride = conv.dilation[0] * (conv.kernel_size[0] - 1) + 1, conv.stride[0]
        self.channels = conv.out_channels
        self.height, self.width = source.height // self.stride, source.width // self.stride

    def rows(self, top: int, bottom: int) -> Tensor:
        """See `Rows`."""
        border = self.span // 2
        first, end = top * self.stride - border, (bottom - 1) * self.stride - border + self.span
        found = F.pad(_reflected(self.source, first, end), (border, border, 0, 0), mode="reflect")
        conv = self.conv
        return F.conv2d(found, conv.weight, conv.bias, self.stride, dilation=conv.dilation, groups=conv.groups)


class UpsampleRows:
    """A stride-1/2 (transposed) convolution, applied to `source`."""

    def __init__(self, source: Rows, kernel: Tensor) -> None:
        self.source, self.kernel, self.device = source, kernel, source.device
        self.channels = self.kernel.shape[1]
        self.height, self.width = 2 * source.height, 2 * source.width

    def rows(self, top: int, bottom: int) -> Tensor:
        """See `Rows`."""
        # Row i of the source contributes to rows 2 i - 1 to 2 i + 2 of the result.
        first, end = -((2 - top) // 2), bottom // 2 + 1
        found = F.pad(_reflected(self.source, first, end), (1, 1, 0, 0), mode="reflect")
        odd = self.kernel.shape[-1] % 2
        doubled = F.conv_transpose2d(found, self.kernel, stride=2, padding=(0, 3), output_padding=(0, odd))
        offset = 2 * first - 1
        doubled = F.pad(doubled, (0, 0, 0, odd))  # A kernel of 3 reaches one row less far.
        return doubled[:, :, top - offset : bottom - offset]


class BilinearRows:
    """Bilinear interpolation to twice the size, applied to `source`."""

    def __init__(self, source: Rows) -> None:
        self.source, self.device, self.channels = source, source.device, source.channels
        self.height, self.width = 2 * source.height, 2 * source.width

    def rows(self, top: int, bottom: int) -> Tensor:
        """See `Rows`."""
        # Row i of the result lies between two rows of the source: (i - 1) // 2 and the next one.
        first, end = max(0, (top - 1) // 2), min(self.source.height, bottom // 2 + 1)
        doubled = F.interpolate(self.source.rows(first, end), scale_factor=2.0, mode="bilinear", align_corners=False)
        return doubled[:, :, top - 2 * first : bottom - 2 * first]


class MapRows:
    """A pointwise function, applied to `source`."""

    def __init__(self, source: Rows, function: Callable[[Tensor], Tensor]) -> None:
        self.source, self.function, self.device = source, function, source.device
        self.channels, self.height, self.width = source.channels, source.height, source.width

    def rows(self, top: int, bottom: int) -> Tensor:
        """See `Rows`."""
        return self.function(self.source.rows(top, bottom))


class SumRows:
    """The sum of two feature maps."""

    def __init__(self, one: Rows, other: Rows) -> None:
        self.one, self.other, self.device = one, other, one.device
        self.channels, self.height, self.width = one.channels, one.height, one.width

    def rows(self, top: int, bottom: int) -> Tensor:
        """See `Rows`."""
        return self.one.rows(top, bottom) + self.other.rows(top, bottom)


class DiskRows:
    """A feature map stored in a temporary file, row by row, in `dtype`.

    The file is read and written, not memory-mapped: mapped pages would count as memory of the process. It has no name
    if the system allows that, so a killed process leaves nothing behind.
    """

    def __init__(self, like: Rows, folder: str | os.PathLike[str] | None, dtype: torch.dtype) -> None:
        self.channels, self.height, self.width = like.channels, like.height, like.width
        self.dtype, self.device = dtype, like.device
        self._row = self.channels * self.width * dtype.itemsize
        self._file = tempfile.TemporaryFile(buffering=0, dir=folder, prefix="fast_style-")  # noqa: SIM115 - `close`

    def put(self, top: int, rows: Tensor) -> None:
        """Store `(1, channels, n, width)` as the rows from `top` on."""
        by_row = rows[0].to(self.dtype).cpu().permute(1, 0, 2).contiguous()
        self._file.seek(top * self._row)
        view = _bytes(by_row)
        try:
            while view:
                view = view[self._file.write(view) :]
        except OSError as error:
            raise ValueError(
                f"The folder for temporary files has no room for an image in strips ({error.strerror}); set a smaller "
                "size=, or name another folder in the environment variable TMPDIR."
            ) from error

    def rows(self, top: int, bottom: int) -> Tensor:
        """See `Rows`."""
        found = torch.empty(bottom - top, self.channels, self.width, dtype=self.dtype)
        self._file.seek(top * self._row)
        view = _bytes(found)
        while view:
            count = self._file.readinto(view)
            if not count:
                raise OSError("The temporary file of a feature map ended early.")
            view = view[count:]
        return found.to(self.device).permute(1, 0, 2)[None].float()

    def close(self) -> None:
        """Delete the file."""
        self._file.close()


def _bytes(tensor: Tensor) -> memoryview:
    """The memory of a contiguous tensor."""
    return memoryview(tensor.view(torch.uint8).numpy().reshape(-1).data)
