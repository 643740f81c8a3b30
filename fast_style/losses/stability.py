"""Temporal stability: a small change of the photo must change the result little. Videos then do not flicker."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Stability(nn.Module):
    """Distance of the stylized image of a shifted, noisy photo from the shifted stylized image.

    Gupta et al. (2017, "Characterizing and improving stability in neural style transfer") use the optical flow of
    videos. This loss uses shifts, which are known exactly. The noise stands for camera noise, which differs in every
    frame. The loss penalises flicker, and patterns that follow the grid of the strided convolutions.

    Args:
        weight: weight of the term in the loss; 0 removes it from the computation.
        shift: largest shift along each axis, in pixels.
        noise: standard deviation of the noise (images are in 0 to 1).
        share: share of each batch that is stylized a second time, rounded up.
    """

    def __init__(self, *, weight: float, shift: int = 8, noise: float = 0.02, share: float = 0.5) -> None:
        super().__init__()
        if weight < 0 or shift < 1 or noise < 0 or not 0 < share <= 1:
            raise ValueError(
                "Stability needs a weight of at least 0, a shift of at least 1 pixel, noise of at least 0 and a share "
                f"in 0..1; got weight={weight}, shift={shift}, noise={noise}, share={share}."
            )
        self.weight, self.shift, self.noise, self.share = weight, shift, noise, share

    def forward(self, generator: nn.Module, photos: Tensor, painted: Tensor, *, seed: int) -> Tensor:
        """Return the unweighted term, a scalar: squared error relative to the variance of the stylized image.

        Args:
            generator: the network that stylized the photos.
            photos, painted: `(N, 3, H, W)` in 0..1.
            seed: seed of shift and noise; use a new seed for each batch.

        Raises:
            ValueError: photos with a side of at most twice the shift.
        """
        count = math.ceil(len(photos) * self.share)
        random = torch.Generator(photos.device).manual_seed(seed)
        down, right = torch.randint(-self.shift, self.shift + 1, (2,), generator=random, device=photos.device).tolist()
        noise = torch.randn(photos[:count].shape, generator=random, device=photos.device, dtype=photos.dtype)
        again = generator((shifted(photos[:count], down, right) + self.noise * noise).clamp(0, 1))
        # Near the border, the shifted photo has other content, which also changes the result around it.
        side = min(photos.shape[-2:])
        if side <= 2 * self.shift:
            raise ValueError(
                f"method.stability.shift must be below half of the crop ({side} pixels); got {self.shift}. Use a "
                "smaller shift, or larger crops (data.size)."
            )
        m = 4 * self.shift if side > 16 * self.shift else self.shift
        inner = (..., slice(m, -m), slice(m, -m))
        wanted = shifted(painted[:count], down, right)[inner].float()
        variance = (wanted - wanted.mean((2, 3), keepdim=True)).square().mean()
        error: Tensor = (again[inner].float() - wanted).square().mean() / variance.detach().clamp_min(1e-4)
        return error


def shifted(pictures: Tensor, down: int, right: int) -> Tensor:
    """Shift images `(N, C, H, W)` by this number of pixels; the border is filled by reflection."""
    height, width = pictures.shape[-2:]
    extended = F.pad(pictures, (abs(right),) * 2 + (abs(down),) * 2, mode="reflect")
    top, left = abs(down) - down, abs(right) - right
    return extended[..., top : top + height, left : left + width]
