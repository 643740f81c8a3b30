"""Blobs that sit at the same place whatever the photo."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from scipy.ndimage import gaussian_filter
from torch import Tensor

from fast_style.evaluation.artefacts.measure import BORDER, as_levels

#: Side of a cell in pixels.
CELL = 4
#: The corner frames reach this many cells, 128 pixels, from each corner.
CORNER = 32
#: Side of the frame that all images are resized to, in cells.
WHOLE = 64
#: Standard deviations in cells of the two blurs. Blobs of about 8 to 60 pixels pass between them.
BLURS = (1.0, 5.0)
#: Random signs for the level of chance, and the fewest images for which they differ enough.
SIGNS, FEWEST = 64, 4


class FixedBlobs:
    """Amplitude in levels of the strongest blob that all images share, above what chance gives.

    A network knows where a pixel is only by its distance from the borders, while tiles and other tools also leave
    marks at a share of the size. So images are laid over each other in five frames: at each of the four corners,
    unscaled, and as a whole, resized to one size. What is left of an image is what lies between two blurs and does not
    follow the photo (linear regression on its colours), limited to three standard deviations. A blob at a fixed place
    survives the mean over the images; anything else averages out.

    The largest absolute value of the mean over all places, channels and frames is compared with the largest value
    after a random sign was given to each image (Nichols and Holmes 2002, "Nonparametric permutation tests for
    functional neuroimaging"). The figure is the excess over the mean of these, or 0. Chance alone gives 0.4 to 1.8
    levels in the mean with 16 stylized images, at times 5. It becomes more sensitive with the number of images. The 16
    pixels at the edges are left out: `border` measures them.

    Use it for different photos. Photos that are alike have their own shapes at the same places. Memory does not grow
    with the number of images.
    """

    def __init__(self) -> None:
        self._random = torch.Generator().manual_seed(0)
        self._count = 0
        self._frames: list[_Frame] = []

    def add(self, painted: Tensor, photo: Tensor) -> None:
        """Add a stylized image and its photo, `(1, 3, H, W)` in 0..1; the images may differ in size.

        Raises:
            ValueError: unequal shapes, another number of images or channels, or a side below 64 pixels.
        """
        painted, photo = as_levels(painted, photo)
        signs = 2.0 * torch.randint(2, (SIGNS, 1, 1, 1), generator=self._random) - 1
        maps = list(_residuals(painted, photo))
        if not self._frames:
            self._frames = [_Frame(torch.zeros_like(m), torch.zeros(SIGNS, *m.shape)) for m in maps]
        for frame, found in zip(self._frames, maps, strict=True):
            frame.add(found, signs)
        self._count += 1

    def compute(self) -> float:
        """Return the figure over all images that were added; NaN for fewer than four."""
        if self._count < FEWEST:
            return float("nan")
        found = torch.stack([frame.total.abs().max() for frame in self._frames]).max()
        # The maximum over all frames for each row of signs: five frames have five chances of a large value.
        chance = torch.stack([frame.signed.abs().amax((1, 2, 3)) for frame in self._frames]).amax(0).mean()
        return (found - chance).clamp_min(0).item() / self._count


@dataclass
class _Frame:
    """Sums of the residuals `(3, H, W)`, as they are and with random signs."""

    total: Tensor
    signed: Tensor

    def add(self, found: Tensor, signs: Tensor) -> None:
        # Smaller images reach less far from a corner; only what all images have is kept.
        height, width = (min(a, b) for a, b in zip(self.total.shape[1:], found.shape[1:], strict=True))
        found = found[:, :height, :width]
        self.total = self.total[:, :height, :width] + found
        self.signed = self.signed[:, :, :height, :width] + signs * found


def _residuals(painted: Tensor, photo: Tensor) -> Iterator[Tensor]:
    """The maps `(3, H, W)` of the frames: the whole image, then the four corners, each turned to the top left."""
    inside = (..., slice(BORDER, -BORDER), slice(BORDER, -BORDER))
    pair = torch.cat([painted, photo], 1)[inside]
    yield _residual(F.interpolate(pair, size=(WHOLE, WHOLE), mode="area"))
    height, width = (CELL * (side // CELL) for side in pair.shape[-2:])
    for rows in (slice(None, height), slice(-height, None)):
        for columns in (slice(None, width), slice(-width, None)):
            cells = _residual(F.avg_pool2d(pair[..., rows, columns], CELL))
            turned = cells.flip([axis for axis, part in ((1, rows), (2, columns)) if part.start is not None])
            reach = [min(CORNER, side // 2) for side in turned.shape[1:]]
            yield turned[:, : reach[0], : reach[1]]


def _residual(pair: Tensor) -> Tensor:
    """What the photo does not explain of a stylized image; the channels are those of the two, `(1, 6, H, W)`."""
    planes = pair[0].double().numpy()
    narrow, wide = (gaussian_filter(planes, (0, sigma, sigma)) for sigma in BLURS)
    both = torch.from_numpy(narrow - wide).flatten(1)
    painted, photo = both[:3], both[3:]
    ridge = photo.shape[1] * torch.eye(3, dtype=torch.float64)  # One level: a flat photo explains nothing.
    left = painted - torch.linalg.solve(photo @ photo.T + ridge, photo @ painted.T).T @ photo
    limit = 3 * left.square().mean().sqrt()
    residual: Tensor = left.clamp(-limit, limit).float().view(3, *pair.shape[-2:])
    return residual
