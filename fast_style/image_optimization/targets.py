"""What one picture is painted from: the photo and the paintings, with their colours prepared, at any size."""

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
    """A photo to paint, or none, and the paintings to paint it like.

    Args:
        content: the photo, `(1, 3, H, W)` in 0..1; None for a texture.
        styles: the paintings; a region is as large as the photo, or as `size`.
        size: height and width of a texture; None is right with a photo, which has its own.
        color: `style`: the paintings' colours; `match`: the paintings are first given the photo's mean and covariance;
            `keep`: only luminance is painted, the photo's chroma stays (Gatys et al. 2017, section 5).
        style_scale: longer side of the paintings by the picture's; larger: broader strokes. Never enlarged.
        style_size: shorter side of the paintings in pixels where the picture has its full size, instead.
        device: to paint on.

    Raises:
        ValueError: what is given can't be painted; the sentence says why.
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
            raise ValueError(f"color is one of {', '.join(get_args(ColorTransfer))}; got {color!r}.")
        if style_scale <= 0 or (style_size is not None and style_size < 1):
            raise ValueError(f"A style's scale is above 0 and its size at least 1; got {style_scale}, {style_size}.")
        self.size = _checked_size(content, size)
        _check_styles(styles, self.size)
        if content is None and (color != "style" or any(style.region is not None for style in styles)):
            raise ValueError(
                "A texture has no photo to keep the colours of, or to show beside a masked style; give a photo, or "
                "take color=style and no mask."
            )
        self.style_scale, self.style_size, self.color = style_scale, style_size, color
        self.photo = None if content is None else _placed(content, device)
        placed = [replace(s, picture=_placed(s.picture, device), region=_placed_region(s, device)) for s in styles]
        self.content, self.styles = _in_colors(self.photo, placed, color)

    def content_at(self, size: Size) -> Tensor | None:
        """The photo at a height and width."""
        return None if self.content is None else resized(self.content, size)

    def styles_at(self, size: Size) -> list[Style]:
        """The paintings for a picture of that height and width, and the regions in it."""
        return [
            replace(
                style,
                picture=fitted(style.picture, self._longer_side(style.picture, size)),
                region=None if style.region is None else resized(style.region, size),
            )
            for style in self.styles
        ]

    def finished(self, picture: Tensor) -> Tensor:
        """The picture with the photo's chroma where that is kept, and the photo where no style goes."""
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
    check_picture(content, "The photo", "paint another photo, or a texture without one (content=null)")
    found: Size = (content.shape[-2], content.shape[-1])
    if size is not None and size != found:
        raise ValueError(f"A photo is painted at its own size, {found}; got {size}: resize the photo first.")
    return found


def _check_styles(styles: Sequence[Style], size: Size) -> None:
    for number, style in enumerate(styles, 1):
        name = "The painting" if len(styles) == 1 else f"Painting {number}"
        check_picture(style.picture, name, "take one that has something to learn from")
        if style.region is None:
            continue
        found = tuple(style.region.shape)
        if len(found) != 4 or found[:2] != (1, 1) or not style.region.is_floating_point():
            raise ValueError(
                f"The mask of {name.lower()} is wanted as floats (1, 1, H, W); got {style.region.dtype} {found}."
            )
        if found != (1, 1, *size):
            raise ValueError(
                f"The mask of {name.lower()} is {found[-1]}x{found[-2]} pixels and the picture {size[1]}x{size[0]}: "
                "give it the picture's size."
            )
        if not style.region.max() > 0:
            raise ValueError(f"The mask of {name.lower()} is empty: paint white where the style is to go.")


def check_picture(picture: Tensor, name: str, advice: str) -> None:
    """Raise a ValueError that names the picture unless it is one, finite and of more than one colour."""
    if picture.dim() != 4 or picture.shape[:2] != (1, 3) or not picture.is_floating_point():
        raise ValueError(
            f"{name} is wanted as floats (1, 3, H, W) in 0..1; got {picture.dtype} {tuple(picture.shape)}."
        )
    if picture.numel() == 0:
        raise ValueError(f"{name} has no pixels, its size is {picture.shape[-1]}x{picture.shape[-2]}: {advice}.")
    if not torch.isfinite(picture).all():
        raise ValueError(f"{name} holds NaN or infinity: {advice}.")
    if (picture.amax((2, 3)) - picture.amin((2, 3))).max() < 1 / 255:
        raise ValueError(f"{name} is one colour everywhere: {advice}.")
