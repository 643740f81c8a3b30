"""Blend a stylized image with its photo: strength, mask and colours. NumPy only, without torch."""

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from fast_style.images.luma import luma_of

BlendColor = Literal["style", "keep"]
Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Blending:
    """How stylized pixels are blended with the photo.

    Attributes:
        strength: 0 is the photo, 1 the stylized image; linear in between, for each pixel.
        color: `style` keeps the network's colours; `keep` combines the photo's colours with the result's luminance.
        mask: `(H, W)` of the whole image, 0..1; 1 is stylized, 0 stays the photo. None stylizes everywhere.

    Raises:
        ValueError: strength outside 0..1, or an unknown color.
    """

    strength: float = 1.0
    color: BlendColor = "style"
    mask: Floats | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.strength <= 1:
            raise ValueError(f"strength is from 0 (the photo) to 1 (fully stylized); got {self.strength}.")
        if self.color not in get_args(BlendColor):
            raise ValueError(f"color is one of {', '.join(get_args(BlendColor))}; got {self.color!r}.")

    @property
    def do_nothing(self) -> bool:
        """Whether stylized pixels stay unchanged."""
        return self.strength == 1 and self.color == "style" and self.mask is None

    def __call__(self, photo: Floats, painted: Floats, *, top: int) -> Floats:
        """Blend some rows.

        Args:
            photo, painted: `(rows, W, 3)` in 0..1.
            top: index of the first row within the whole image.
        """
        if self.color == "keep":
            painted = with_luminance(photo, luma_of(painted))
        if self.strength == 1 and self.mask is None:
            return painted
        share: Floats = np.float32(self.strength) * np.ones((1, 1, 1), np.float32)
        if self.mask is not None:
            share = share * self.mask[top : top + len(painted), :, None]
        blended: Floats = photo + share * (painted - photo)
        return blended


def with_luminance(pixels: Floats, luma: Floats) -> Floats:
    """`fast_style.images.color_transfer.with_luminance` for arrays: `(..., 3)` and `(...)`.

    The function exists twice: strips are blended without importing torch, and image optimisation needs it on a GPU.
    """
    grey = luma.clip(0, 1)[..., None]
    chroma = pixels - luma_of(pixels)[..., None]
    room = np.where(chroma > 0, 1 - grey, grey)
    kept = (room / np.maximum(np.abs(chroma), 1e-12)).min(-1, keepdims=True).clip(max=1)
    result: Floats = (grey + kept * chroma).clip(0, 1).astype(np.float32)
    return result
