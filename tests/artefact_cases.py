"""Clean images, and artefacts added to them, each with the figure that it must raise."""

from collections.abc import Callable
from functools import cache

import torch
import torch.nn.functional as F
from checkout import CHECKOUT
from torch import Tensor

from fast_style import load_image

#: A photo with smooth areas, and paintings whose strokes must not read as artefacts.
BASES = ("flat", "samples/astronaut.png", "samples/coffee.png", "styles/the_scream.png", "styles/shipwreck.png")
Artefact = Callable[[Tensor, float], Tensor]


@cache
def base(name: str, side: int = 224) -> Tensor:
    """`(1, 3, side, side)`, with room to 0 and 1 so that an added artefact is not clipped."""
    if name == "flat":
        return torch.full((1, 3, side, side), 0.5)
    return 0.1 + 0.8 * _whole(name)[..., :side, :side]


@cache
def _whole(name: str) -> Tensor:
    return load_image(CHECKOUT / "data" / name)


def checkerboard(period: int) -> Artefact:
    """Squares of half a period, lighter and darker by this many levels."""

    def added(pixels: Tensor, levels: float) -> Tensor:
        places = [torch.arange(side) // (period // 2) for side in pixels.shape[-2:]]
        return pixels + levels / 255 * (1 - 2 * ((places[0][:, None] + places[1]) % 2))

    return added


def dots(pixels: Tensor, number: float) -> Tensor:
    """Pixels in the flattest third of the image that differ by 60 levels."""
    grey = pixels.mean(1, keepdim=True)
    contrast = F.avg_pool2d((grey - F.avg_pool2d(grey, 9, 1, 4)).square(), 9, 1, 4)[0, 0]
    flat = (contrast <= contrast.flatten().quantile(0.33)).nonzero()
    dotted = pixels.clone()
    for row, column in flat[torch.randperm(len(flat))[: int(number)]].tolist():
        dotted[..., row, column] += 60 / 255 if grey[0, 0, row, column] < 0.5 else -60 / 255
    return dotted


def dots_in_rows(pixels: Tensor, levels: float) -> Tensor:
    """Dots of 2x2 pixels, eight pixels apart."""
    places = [torch.arange(side) % 8 < 2 for side in pixels.shape[-2:]]
    return pixels + levels / 255 * (places[0][:, None] & places[1]) * (1 - 2 * (pixels > 0.6).float())


def rows(pixels: Tensor, levels: float) -> Tensor:
    """One row of eight, at irregular distances, is lighter by this many levels."""
    height = pixels.shape[-2]
    lines = torch.zeros(height, 1)
    lines[torch.randperm(height)[: height // 8]] = levels / 255
    return pixels + lines


def columns(pixels: Tensor, levels: float) -> Tensor:
    """As `rows`, along columns."""
    return rows(pixels.mT, levels).mT


def dirty_border(pixels: Tensor, levels: float) -> Tensor:
    """16 pixels along the edges are darker by about this many levels, with noise."""
    frame = torch.ones(pixels.shape[-2:])
    frame[16:-16, 16:-16] = 0
    return pixels - frame * levels / 255 * (1 + 0.5 * torch.randn(frame.shape))


def clipped(sign: int) -> Artefact:
    """A soft glow or shadow of this radius, in percent of the side, far beyond the range."""

    def added(pixels: Tensor, radius: float) -> Tensor:
        down, across = (torch.linspace(-1, 1, side) for side in pixels.shape[-2:])
        distance = ((down[:, None] - 0.1).square() + (across + 0.1).square()) / (radius / 50) ** 2
        return (pixels + sign * 2 * torch.exp(-distance)).clamp(0, 1)

    return added


#: Artefact, rising strengths, and the figure that it raises.
ARTEFACTS: dict[str, tuple[Artefact, tuple[float, ...], str]] = {
    "checkerboard of period 2": (checkerboard(2), (2, 4, 8), "checkerboard"),
    "checkerboard of period 4": (checkerboard(4), (4, 8, 16), "checkerboard"),
    "dots": (dots, (40, 80, 160), "dots"),
    "dots in rows": (dots_in_rows, (20, 30, 40), "dots"),
    "lines along rows": (rows, (12, 18, 24), "banding"),
    "lines along columns": (columns, (12, 18, 24), "banding"),
    "dirty border": (dirty_border, (20, 30, 40), "border"),
    "bright glow": (clipped(1), (10, 15, 20), "clipping"),
    "dark shadow": (clipped(-1), (10, 15, 20), "clipping"),
}
