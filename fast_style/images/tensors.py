"""Image input and output as tensors.

Every image tensor in this package is RGB (sRGB), float32, 0 to 1, ``(N, 3, H, W)``.
"""

from dataclasses import dataclass
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from fast_style.images.decode import MAX_PIXELS, StrPath, read_arrays
from fast_style.images.encode import encoder_for, write_levels


@dataclass(frozen=True)
class Picture:
    """An image.

    Attributes:
        pixels: float32 ``(1, 3, H, W)``, 0 to 1.
        alpha: float32 ``(1, 1, H, W)``, 0 to 1, or None.
    """

    pixels: Tensor
    alpha: Tensor | None


def read_picture(path: StrPath, *, size: int | None = None, max_pixels: int = MAX_PIXELS) -> Picture:
    """Read the first frame: upright, sRGB, with transparency composited over white.

    Args:
        path: the image file.
        size: shorter side of the result in pixels, with the aspect ratio kept; None keeps the original size.
        max_pixels: limit of the number of pixels, before and after resizing.

    Raises:
        UnreadablePicture: the image is missing, damaged or larger than ``max_pixels``.
        ValueError: ``size`` is below 1.
    """
    arrays = read_arrays(path, size=size, max_pixels=max_pixels)
    pixels = _unit(arrays.colour).expand(-1, 3, -1, -1).contiguous()
    return Picture(pixels, None if arrays.alpha is None else _unit(arrays.alpha))


def load_image(path: StrPath, *, size: int | None = None, max_pixels: int = MAX_PIXELS) -> Tensor:
    """Read an image as float32 ``(1, 3, H, W)``, 0 to 1; arguments and errors as in `read_picture`."""
    return read_picture(path, size=size, max_pixels=max_pixels).pixels


def load_pixels(
    path: StrPath, *, at_least: int | None = None, data: bytes | None = None, max_pixels: int = MAX_PIXELS
) -> Tensor:
    """Read an image as uint8 ``(3, H, W)``, 0 to 255; arguments and errors as in `decode.read_arrays`.

    For data loaders, which convert to float on the device. The result is a view of the decoded ``(H, W, 3)`` array,
    because stacking a batch copies it anyway.
    """
    planes = _planes(read_arrays(path, at_least=at_least, data=data, max_pixels=max_pixels).colour)
    if planes.dtype == torch.uint8:
        return planes
    return planes.mul(255).round().to(torch.uint8).repeat(3, 1, 1)


def save_image(pixels: Tensor, path: StrPath, *, quality: int = 95, alpha: Tensor | None = None) -> None:
    """Write pixels, clamped to 0..1, as an sRGB image; the write is atomic.

    Args:
        pixels: float32 ``(1, 3, H, W)`` or ``(3, H, W)``.
        path: the file; its suffix selects the format.
        quality: 1 to 100, for JPEG, WebP and AVIF.
        alpha: float32 ``(1, 1, H, W)`` or ``(1, H, W)``; kept by PNG, WebP, TIFF and AVIF, ignored by other formats.

    Raises:
        ValueError: a wrong shape, dtype, suffix or quality, or pixels that are NaN or infinite.
        OSError: the file cannot be written.
    """
    encoder_for(path)
    planes = _checked(pixels, "pixels", 3)
    mask = None if alpha is None else _checked(alpha, "alpha", 1)
    if mask is not None and mask[0].shape != planes[0].shape:
        wanted, found = tuple(planes[0].shape), tuple(mask[0].shape)
        raise ValueError(f"Expected alpha with the height and width of pixels, {wanted}, found {found}")
    levels = _levels(planes).permute(1, 2, 0).numpy()
    write_levels(levels, path, quality=quality, alpha=None if mask is None else _levels(mask)[0].numpy())


def _levels(planes: Tensor) -> Tensor:
    return planes.clamp(0, 1).mul(255).round().to(torch.uint8).cpu()


def _planes(array: NDArray[Any]) -> Tensor:
    """Return ``(C, H, W)``, uint8 or float32 as in the array."""
    tensor = torch.from_numpy(array)
    return tensor.permute(2, 0, 1) if tensor.ndim == 3 else tensor[None]


def _unit(array: NDArray[Any]) -> Tensor:
    planes = _planes(array)[None].contiguous()
    return planes.float().div_(255) if planes.dtype == torch.uint8 else planes


def _checked(tensor: Tensor, name: str, channels: int) -> Tensor:
    """Return the pixels as ``(channels, H, W)`` without gradient; ValueError for another shape, dtype or NaN."""
    shape = tuple(tensor.shape)
    fits = shape[-3:-2] == (channels,) and shape[:-3] in ((), (1,)) and 0 not in shape
    if not fits or tensor.dtype != torch.float32:
        wanted = f"float32 (1, {channels}, H, W) or ({channels}, H, W)"
        raise ValueError(f"Expected {name} as {wanted}, found {tensor.dtype} {shape}")
    if not torch.isfinite(tensor).all():
        raise ValueError(f"Expected finite {name}, found NaN or infinity")
    return tensor.detach().reshape(shape[-3:])
