"""Grain on the photos that a generator learns from."""

import torch
from torch import Tensor


def grainy(photos: Tensor, deviation: float, *, step: int) -> Tensor:
    """Add normal noise, a new one each step.

    Every painting has to have the style's statistics, that of a smooth photo too, and a generator without noise learns
    to make strokes and dots of what is left there: the faintest grain, or the blocks of a JPEG file, so that they come
    in rows. One that learns on grain cannot tell the photo's own from it, and lets both be. Our departure from Johnson
    et al.; texture networks (Ulyanov et al. 2016) are given noise for strokes to begin from, when they paint too.

    Args:
        photos: `(N, 3, H, W)`.
        deviation: of the noise, of 1; 0 leaves photos as they are.
        step: of the training; the same number draws the same noise, so that a resumed run goes on alike.
    """
    if not deviation:
        return photos
    # Another seed than that of stability.py, whose shift and noise it would follow.
    random = torch.Generator(photos.device).manual_seed(2**31 + step)
    noise = torch.randn(photos.shape, generator=random, device=photos.device, dtype=photos.dtype)
    return photos + deviation * noise.contiguous(memory_format=torch.channels_last)
