"""From a style's name to its picture, and from that to what the losses compare with."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from fast_style.atomic_files import safe_file_name
from fast_style.images.tensors import load_image


def style_name(image: str | os.PathLike[str], name: str | None = None) -> str:
    """The name a style's files go by: the given one, or the picture's without its suffix."""
    # Only what can be typed and named without quoting; the painting itself may be called anything.
    return safe_file_name(name or Path(image).stem)


def pictures_of(style: Mapping[str, Any]) -> list[str | os.PathLike[str]]:
    """The files of the chosen styles; an original that is not here yet is fetched.

    Args:
        style: what conf/style/painting.yaml says, as plain values. `image`, one or several files, goes before all
            else; without it `source` picks the texture or the original of each of `pictures`.

    Raises:
        ValueError: another source, a texture that is not there, or an original that can't be had.
    """
    image = style["image"]
    if image is not None:
        return list(image) if isinstance(image, list) else [image]
    pictures = style["pictures"]
    if style["source"] == "texture":
        return [_texture_file(name, said.get("texture")) for name, said in pictures.items()]
    if style["source"] == "painting":
        # Only here: what can fetch looks at the network when it is imported.
        from fast_style.data.download import Painting

        return [Painting(**said).fetched(name, cache=style["cache"]) for name, said in pictures.items()]
    raise ValueError(f"style.source is texture or painting; got {style['source']!r}.")


def _texture_file(name: str, file: str | None) -> Path:
    if file is None:
        raise ValueError(f"{name} has no texture; say style.source=painting, or style.image=my.jpg.")
    # Below the current folder, or beside the package, where a checkout has it.
    places = [Path(file).absolute(), Path(__file__).parents[2] / file]
    for place in places:
        if place.is_file():
            return place
    raise ValueError(
        f"The texture of {name} is wanted at {places[0]}, where there is nothing: start in the checkout, which has it, "
        "or say style.image=my.jpg or style.source=painting."
    )


def load_style(image: str | os.PathLike[str], *, size: int | Sequence[int] = 512, crops: int = 1) -> list[Tensor]:
    """A painting at the sizes, and in the crops, whose statistics are averaged to one target.

    Args:
        image: the picture's file.
        size: pixels of the shorter side, one number or several; larger means larger brush strokes in the result.
        crops: squares cut from each size, evenly spaced along the longer side; 1 takes the whole picture.

    Returns:
        `(1, 3, H, W)` pictures in 0..1, one a size and crop.

    Raises:
        ValueError: an unreadable picture; a size below 16 or a number of crops below 1.
    """
    sizes = list(size) if isinstance(size, Sequence) else [size]
    if crops < 1 or not sizes or not all(isinstance(side, int) and side >= 16 for side in sizes):
        raise ValueError(f"A style needs sizes from 16 up and at least one crop; got size={size}, crops={crops}.")
    pictures = [load_image(image, size=side) for side in sizes]
    return [crop for picture in pictures for crop in _squares(picture, crops)]


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
