"""Losses of CycleGAN: pure functions, computed in at least float32, also under autocast."""

import torch
from torch import Tensor


def least_squares_generator(fake: Tensor) -> Tensor:
    """Loss of the generator, `E[(D(G(x)) - 1)^2]` (Mao et al. 2017, eq. 9 with c = 1).

    Args:
        fake: the discriminator's output for generated images, any shape; 1 means real.
    """
    return (_wide(fake) - 1).square().mean()


def least_squares_discriminator(real: Tensor, fake: Tensor) -> Tensor:
    """Loss of the discriminator, `(E[(D(y) - 1)^2] + E[D(G(x))^2]) / 2`.

    Zhu et al. (2017, 7.1) halve it "to slow down the rate at which D learns, relative to the rate of G".

    Args:
        real, fake: the discriminator's output for real and for generated images, any shapes.
    """
    return ((_wide(real) - 1).square().mean() + _wide(fake).square().mean()) / 2


def cycle_consistency(reconstruction: Tensor, picture: Tensor) -> Tensor:
    """Mean absolute difference between an image and its reconstruction, `E[|F(G(x)) - x|]` (Zhu et al. 2017, eq. 2).

    Args:
        reconstruction, picture: `(N, 3, H, W)`, in 0..1.
    """
    return (_wide(reconstruction) - _wide(picture)).abs().mean()


def identity(identity_mapped: Tensor, picture: Tensor) -> Tensor:
    """Change of an image that is already in the target domain, `E[|G(y) - y|]` (Zhu et al. 2017, 5.2).

    The idea is from Taigman et al. (2016).

    Args:
        identity_mapped, picture: `(N, 3, H, W)`, in 0..1.
    """
    return (_wide(identity_mapped) - _wide(picture)).abs().mean()


def accuracy(patches: Tensor, *, real: bool) -> Tensor:
    """Share, 0 to 1, of the discriminator's outputs that are on the correct side of 0.5."""
    return ((patches > 0.5) == real).float().mean()


def _wide(values: Tensor) -> Tensor:
    return values.float() if values.dtype in (torch.bfloat16, torch.float16) else values
