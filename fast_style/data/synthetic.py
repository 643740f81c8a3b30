"""Synthetic training images: dead leaves with the statistics of photos, gradients, and flat colours.

Each is a function of a generator and a size. It returns uint8 `(3, size, size)`, the same for the same generator state.
"""

from collections.abc import Callable, Sequence
from math import log, pi

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from fast_style.data.sampler import SampleIndex, seed_of

Drawing = Callable[[torch.Generator, int], Tensor]

_SMALLEST = (1.5, 4.0)  # smallest radius in pixels, random per image: a farther or nearer view
_LARGEST = 0.25  # largest radius as a share of the side
_DEEP = 4.0  # mean number of leaves over a point; exp(-4) = 2 % of the ground stays visible
_SPARSE = 0.3  # likewise; three quarters of the ground stay visible


def dead_leaves(generator: torch.Generator, size: int) -> Tensor:
    """Overlapping discs of all sizes, with edges and a power spectrum like those of photos.

    After Lee, Mumford and Huang, "Occlusion models for natural images" (IJCV 2001): with radii of density `r^-3` the
    image looks alike at every scale, and its power falls with the square of the frequency.
    """
    ground = _natural_colours(generator, 1).view(3, 1, 1).expand(3, size, size)
    return _to_bytes(_dead_leaves(ground, _DEEP, generator))


def gradient(generator: torch.Generator, size: int) -> Tensor:
    """A few colours that blend smoothly, as in skies and on walls, with noise and leaves as in `flat`."""
    patches = int(torch.randint(2, 5, (1,), generator=generator))
    colours = _natural_colours(generator, patches**2).view(1, 3, patches, patches)
    smooth = interpolate(colours, (size, size), mode="bicubic", align_corners=True)[0]
    return _to_bytes(_dead_leaves(smooth, _SPARSE, generator) + _noise(generator, size))


def flat(generator: torch.Generator, size: int) -> Tensor:
    """One colour, slightly darker towards the corners as with a lens, with a photo's faint noise and a few leaves.

    The leaves are needed because the loss is divided by the image's own features. Without leaves these are close to
    zero, and one flat image would weigh as much as 10 to 100 photos.
    """
    colour = _natural_colours(generator, 1).view(3, 1, 1)
    axis = torch.linspace(-1, 1, size)
    fall_off = 0.15 * torch.rand(1, generator=generator) * (axis[:, None] ** 2 + axis**2) / 2
    return _to_bytes(_dead_leaves(colour * (1 - fall_off), _SPARSE, generator) + _noise(generator, size))


class SyntheticPictures:
    """A number of images of each kind; every position in a run gets an image of its own.

    Args:
        kinds: pairs of a drawing function and a number of images.
        size: side of an image in pixels.
        seed: of all images.
    """

    def __init__(self, kinds: Sequence[tuple[Drawing, int]], *, size: int, seed: int) -> None:
        self.drawings = [drawing for drawing, count in kinds for _ in range(count)]
        self.size, self.seed = size, seed

    def __len__(self) -> int:
        """Number of images in an epoch."""
        return len(self.drawings)

    def name_of(self, index: int) -> str:
        """The kind of the image."""
        return f"a synthetic image ({self.drawings[index].__name__})"

    def load(self, place: SampleIndex, *, at_least: int | None) -> Tensor:
        """Draw the image."""
        generator = torch.Generator().manual_seed(seed_of(self.seed, *place))
        return self.drawings[place[1]](generator, self.size)


def _dead_leaves(ground: Tensor, depth: float, generator: torch.Generator) -> Tensor:
    """Leaves over a ground, float `(3, size, size)`, with `depth` leaves over a point on average."""
    size = ground.shape[-1]
    finest, coarsest = _SMALLEST
    smallest = finest * (coarsest / finest) ** torch.rand(1, generator=generator).item()
    largest = max(_LARGEST * size, 2 * coarsest)
    box = size + 2 * largest  # Leaves may extend over the border.
    # With density r^-3 between a and b the mean area is pi E[r^2] = 2 pi log(b / a) / (a^-2 - b^-2).
    span = smallest**-2 - largest**-2
    count = round(depth * box**2 * span / (2 * pi * log(largest / smallest)))
    radii = (smallest**-2 - torch.rand(count, generator=generator) * span).rsqrt()
    centres = torch.rand(2, count, generator=generator) * box - largest
    front = _foremost(centres, radii, size)
    colours = _natural_colours(generator, count + 1)  # The last colour is never seen: it stands for the ground.
    return torch.where(front == count, ground, colours[:, front])


def _foremost(centres: Tensor, radii: Tensor, size: int) -> Tensor:
    """The index of the first disc over each pixel, `(size, size)`; the number of discs where there is none."""
    front = torch.full((size * size,), len(radii))
    reaches = radii.ceil().long()
    for reach in sorted(set(reaches.tolist())):  # Similar sizes together, because there are ten thousand discs.
        numbers = (reaches == reach).nonzero()[:, 0]
        offsets = torch.arange(-reach, reach + 1)
        x, y = (centres[:, numbers, None].round().long() + offsets).unbind()
        dx, dy = (torch.stack([x, y]) - centres[:, numbers, None]).unbind()
        within = dy.square()[:, :, None] + dx.square()[:, None, :] <= radii[numbers, None, None].square()
        within &= ((y >= 0) & (y < size))[:, :, None] & ((x >= 0) & (x < size))[:, None, :]
        disc, row, column = within.nonzero().unbind(1)
        front.scatter_reduce_(0, y[disc, row] * size + x[disc, column], numbers[disc], "amin")
    return front.view(size, size)


def _natural_colours(generator: torch.Generator, count: int) -> Tensor:
    """Random colours `(3, count)`, about 0 to 1: brightness varies most, then blue-yellow, then red-green.

    These three axes of colour in photos, and roughly their spreads, are from Ruderman, Cronin and Chiao, "Statistics of
    cone responses to natural images" (JOSA A 1998). The saturation differs from image to image.
    """
    level = 0.3 + 0.4 * torch.rand(1, generator=generator)  # By day or at dusk.
    vivid = 0.15 * torch.rand(1, generator=generator)
    grey = level + 0.2 * torch.randn(1, count, generator=generator)
    chroma = torch.randn(2, count, generator=generator) * torch.tensor([[1.0], [0.5]]) * vivid
    yellow, red = torch.tensor([[1.0, 1.0, -2.0]]), torch.tensor([[1.0, -1.0, 0.0]])
    return grey + yellow.T / 2 * chroma[:1] + red.T * chroma[1:]


def _noise(generator: torch.Generator, size: int) -> Tensor:
    strongest = 0.01  # 2 to 3 levels of 255, as in a good photo; this also hides the banding of 8-bit values.
    return torch.randn(3, size, size, generator=generator) * strongest * torch.rand(1, generator=generator)


def _to_bytes(pixels: Tensor) -> Tensor:
    return pixels.clamp(0, 1).mul(255).round().to(torch.uint8)
