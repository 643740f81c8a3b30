"""That a small change of the photo changes the painting little: what keeps a video from flickering."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Stability(nn.Module):
    """How far the painting of a shifted, noisy photo is from the shifted painting.

    As Gupta et al. (2017, "Characterizing and improving stability in neural style transfer") with flows of videos, but
    with shifts, which are known; noise stands for what a camera adds to each frame anew. Whatever keeps its place in
    the frame while the photo moves under it costs: flicker, and patterns that hang on the grid of strided convolutions.

    Args:
        weight: of the term in the loss; 0 drops it from the computation.
        shift: most pixels, each way, along each axis.
        noise: root of the mean square of the noise, in 0..1.
        share: of each batch that is painted a second time; rounded up.
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
        """The unweighted term, a scalar: squared error relative to the painting's variance.

        Args:
            generator: what painted.
            photos, painted: `(N, 3, H, W)` in 0..1.
            seed: of shift and noise; another one for each batch.

        Raises:
            ValueError: photos of no more than twice the shift a side.
        """
        count = math.ceil(len(photos) * self.share)
        random = torch.Generator(photos.device).manual_seed(seed)
        down, right = torch.randint(-self.shift, self.shift + 1, (2,), generator=random, device=photos.device).tolist()
        noise = torch.randn(photos[:count].shape, generator=random, device=photos.device, dtype=photos.dtype)
        again = generator((shifted(photos[:count], down, right) + self.noise * noise).clamp(0, 1))
        # What came in over the border is another picture there; the painting around it too.
        side = min(photos.shape[-2:])
        if side <= 2 * self.shift:
            raise ValueError(f"A shift of {self.shift} pixels leaves nothing of crops of {side}; take a smaller one.")
        m = 4 * self.shift if side > 16 * self.shift else self.shift
        inner = (..., slice(m, -m), slice(m, -m))
        wanted = shifted(painted[:count], down, right)[inner].float()
        variance = (wanted - wanted.mean((2, 3), keepdim=True)).square().mean()
        error: Tensor = (again[inner].float() - wanted).square().mean() / variance.detach().clamp_min(1e-4)
        return error


def shifted(pictures: Tensor, down: int, right: int) -> Tensor:
    """`(N, C, H, W)` moved by so many pixels; what comes in over the border is a reflection."""
    height, width = pictures.shape[-2:]
    extended = F.pad(pictures, (abs(right),) * 2 + (abs(down),) * 2, mode="reflect")
    top, left = abs(down) - down, abs(right) - right
    return extended[..., top : top + height, left : left + width]
