"""The photo and the style images of an optimisation: validated, with prepared colours, at any size."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal, get_args

import torch
from torch import Tensor

from fast_style.image_optimization.loss import Style
from fast_style.image_optimization.scales import Size, fitted, resized
from fast_style.images.color_transfer import luminance, match_colors, match_luminance, with_luminance

ColorTransfer = Literal["style", "keep", "match"]


class Targets:
    """A photo (or none) and the style images, prepared for all sizes of an optimisation.

    Args:
        content: the photo, `(1, 3, H, W)` in 0..1; None for a texture.
        styles: the style images; a region has the size of the photo.
        size: height and width of a texture; None with a photo.
        color: `style` uses the colours of the style images. `match` first gives the style images the colour mean and
            covariance of the photo. `keep` stylizes only luminance; the chroma of the photo stays (Gatys et al. 2017,
            section 5).
        style_scale: longer side of the style images relative to the longer side of the result; larger: broader strokes.
            Style images are never enlarged.
        style_size: shorter side of the style images in pixels when the result has its full size. `style_scale`
            multiplies it. None: the size follows from `style_scale` alone.
        device: device to compute on.

    Raises:
        ValueError: an invalid argument; the message says which.
    """

    def __init__(
        self,
        content: Tensor | None,
        styles: Sequence[Style],
        *,
        size: Size | None = None,
        color: ColorTransfer = "style",
        style_scale: float = 1.0,
        style_size: int | None = None,
        device: torch.device | None = None,
    ) -> None:
        if color not in get_args(ColorTransfer):
            raise ValueError(f"color must be one of {', '.join(get_args(ColorTransfer))}; got {color!r}.")
        if style_scale <= 0 or (style_size is not None and style_size < 1):
            raise ValueError(
                f"style_scale must be above 0 and style_size at least 1 pixel; got {style_scale} and {style_size}."
            )
        self.size = _checked_size(content, size)
        _check_styles(styles, self.size)
        if content is None and (color != "style" or any(style.region is not None for style in styles)):
            raise ValueError(
                "A texture has no photo, so it cannot use the photo's colours or masks: give a photo, or use "
                f"color=style and no masks; got color={color}."
            )
        self.style_scale, self.style_size, self.color = style_scale, style_size, color
        self.photo = None if content is None else _placed(content, device)
        placed = [replace(s, picture=_placed(s.picture, device), region=_placed_region(s, device)) for s in styles]
        self.content, self.styles = _in_colors(self.photo, placed, color)

    def content_at(self, size: Size) -> Tensor | None:
        """Return the photo at this height and width, or None for a texture."""
        return None if self.content is None else resized(self.content, size)

    def styles_at(self, size: Size) -> list[Style]:
        """Return the style images, and their regions, for a result of this height and width."""
        return [
            replace(
                style,
                picture=fitted(style.picture, self._longer_side(style.picture, size)),
                region=None if style.region is None else resized(style.region, size),
            )
            for style in self.styles
        ]

    def finished(self, picture: Tensor) -> Tensor:
        """Return the final image: with the photo's chroma for `keep`, and with the photo outside all regions."""
        size = (picture.shape[-2], picture.shape[-1])
        if self.photo is None:
            return picture
        photo = resized(self.photo, size)
        if self.color == "keep":
            picture = with_luminance(photo, luminance(picture))
        regions = [style.region for style in self.styles]
        if any(region is None for region in regions):
            return picture
        covered = torch.stack([resized(r, size) for r in regions if r is not None]).sum(0).clamp(0, 1)
        return photo.lerp(picture, covered)

    def _longer_side(self, painting: Tensor, size: Size) -> int:
        if self.style_size is None:
            return max(1, round(self.style_scale * max(size)))
        height, width = painting.shape[-2:]
        at_full_size = self.style_size * max(height, width) / min(height, width)
        return max(1, round(self.style_scale * at_full_size * size[0] / self.size[0]))


def _placed(tensor: Tensor, device: torch.device | None) -> Tensor:
    return tensor.detach().to(device, torch.float32)


def _placed_region(style: Style, device: torch.device | None) -> Tensor | None:
    return None if style.region is None else _placed(style.region, device)


def _in_colors(
    photo: Tensor | None, styles: Sequence[Style], color: ColorTransfer
) -> tuple[Tensor | None, list[Style]]:
    if photo is None or color == "style":
        return photo, list(styles)
    if color == "match":
        return photo, [replace(style, picture=match_colors(style.picture, photo)) for style in styles]
    light = luminance(photo)
    greys = [match_luminance(luminance(style.picture), light) for style in styles]
    painted = [replace(s, picture=grey.expand(-1, 3, -1, -1)) for s, grey in zip(styles, greys, strict=True)]
    return light.expand(-1, 3, -1, -1), painted


def _checked_size(content: Tensor | None, size: Size | None) -> Size:
    if content is None:
        if size is None or min(size) < 1:
            raise ValueError(f"A texture needs a height and a width of at least 1 pixel; got {size}.")
        return size
    check_picture(content, "The photo", "use another photo, or content=null for a texture")
    found: Size = (content.shape[-2], content.shape[-1])
    if size is not None and size != found:
        raise ValueError(f"A photo is stylized at its own size, {found}; got {size}: resize the photo first.")
    return found


def _check_styles(styles: Sequence[Style], size: Size) -> None:
    for number, style in enumerate(styles, 1):
        name = "The style image" if len(styles) == 1 else f"Style image {number}"
        check_picture(style.picture, name, "use another style image")
        if style.region is None:
            continue
        found = tuple(style.region.shape)
        if len(found) != 4 or found[:2] != (1, 1) or not style.region.is_floating_point():
            raise ValueError(
                f"The mask of {name.lower()} must be a float tensor (1, 1, H, W); got {style.region.dtype} {found}."
            )
        if found != (1, 1, *size):
            raise ValueError(
                f"The mask of {name.lower()} has {found[-1]}x{found[-2]} pixels, but the result has "
                f"{size[1]}x{size[0]}: resize the mask."
            )
        if not style.region.max() > 0:
            raise ValueError(f"The mask of {name.lower()} is empty: make it white where the style applies.")


def check_picture(picture: Tensor, name: str, advice: str) -> None:
    """Raise a ValueError with `name` and `advice` unless this is a finite image `(1, 3, H, W)` with several colours."""
    if picture.dim() != 4 or picture.shape[:2] != (1, 3) or not picture.is_floating_point():
        raise ValueError(
            f"{name} must be a float tensor (1, 3, H, W) in 0..1; got {picture.dtype} {tuple(picture.shape)}."
        )
    if picture.numel() == 0:
        raise ValueError(f"{name} has no pixels, its size is {picture.shape[-1]}x{picture.shape[-2]}: {advice}.")
    if not torch.isfinite(picture).all():
        raise ValueError(f"{name} contains NaN or infinity: {advice}.")
    if (picture.amax((2, 3)) - picture.amin((2, 3))).max() < 1 / 255:
        raise ValueError(f"{name} has only one colour: {advice}.")
