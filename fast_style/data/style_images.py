"""Find the style image of a named style, and load it in the sizes and crops that the losses use."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch.nn.functional as F
from torch import Tensor

from fast_style.atomic_files import safe_file_name
from fast_style.data.bundled_files import find_bundled
from fast_style.images.tensors import load_image


def style_name(image: str | os.PathLike[str], name: str | None = None) -> str:
    """The name used for a style's files: the given name, or the image's file name without suffix."""
    # Only characters that need no quoting in a shell; the image's file may have any name.
    return safe_file_name(name or Path(image).stem)


def pictures_of(style: Mapping[str, Any]) -> list[str | os.PathLike[str]]:
    """The image files of the chosen styles; an original that is not in the cache yet is downloaded.

    Args:
        style: the settings of conf/style/painting.yaml, as plain values. `image`, one or several files, takes
            precedence. Without it, `source` selects the texture or the original of each of `pictures`.

    Raises:
        ValueError: an unknown source, a missing texture, or an original that can't be downloaded.
    """
    image = style["image"]
    if image is not None:
        return list(image) if isinstance(image, list) else [image]
    pictures = style["pictures"]
    if style["source"] == "texture":
        return [_texture_file(name, said.get("texture")) for name, said in pictures.items()]
    if style["source"] == "painting":
        # Imported only here, because the download packages probe the network on import.
        from fast_style.data.download import Painting

        return [Painting(**said).fetched(name, cache=style["cache"]) for name, said in pictures.items()]
    raise ValueError(f"style.source must be texture or painting; got {style['source']!r}.")


def _texture_file(name: str, file: str | None) -> Path:
    if file is None:
        raise ValueError(f"{name} has no texture; set style.source=painting or style.image=my.jpg.")
    place = find_bundled(file)
    if not place.is_file():
        raise ValueError(
            f"The texture of {name} was wanted at {place}, found nothing; run the command in the checkout, or set "
            "style.image=my.jpg or style.source=painting."
        )
    return place


def load_style(
    image: str | os.PathLike[str], *, size: int | Sequence[int] = 512, crops: int = 1, brush: float = 1.0
) -> list[Tensor]:
    """Load a style image in several sizes and crops; the losses average their statistics to one target.

    Args:
        image: the image's file.
        size: shorter side in pixels, one number or several; larger means broader brush strokes in the result.
        crops: number of squares cut from each size, evenly spaced along the longer side; 1 takes the whole image.
        brush: each size is multiplied by it. Above 1, the image of the given size is enlarged, so that all strokes get
            broader. Reading a larger image instead would bring finer strokes to light: those of The Starry Night at 768
            pixels are as fine as at 512.

    Returns:
        `(1, 3, H, W)` images in 0..1, one per size and crop.

    Raises:
        ValueError: an unreadable image; a size below 16 or a number of crops below 1.
    """
    sizes = list(size) if isinstance(size, Sequence) else [size]
    if crops < 1 or not sizes or not all(isinstance(side, int) and min(1, brush) * side >= 16 for side in sizes):
        raise ValueError(
            f"A style image needs sizes of at least 16 and 1 or more crops; got size={size}, crops={crops}, "
            f"brush={brush}."
        )
    pictures = [load_image(image, size=round(min(1, brush) * side)) for side in sizes]
    return [crop for picture in pictures for crop in _squares(_enlarged(picture, max(1, brush)), crops)]


def _enlarged(picture: Tensor, factor: float) -> Tensor:
    if factor == 1:
        return picture
    sides = [round(factor * side) for side in picture.shape[-2:]]
    return F.interpolate(picture, size=sides, mode="bicubic", align_corners=False).clamp(0, 1)


def _squares(picture: Tensor, count: int) -> list[Tensor]:
    if count == 1:
        return [picture]
    height, width = picture.shape[-2:]
    side = min(height, width)
    spare = max(height, width) - side
    starts = [round(spare * i / (count - 1)) for i in range(count)]
    if width >= height:
        return [picture[..., start : start + side] for start in starts]
    return [picture[..., start : start + side, :] for start in starts]
