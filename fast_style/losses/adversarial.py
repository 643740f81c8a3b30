"""What an unpaired translation is judged by: pure functions, in float32 or better whatever the autocast."""

import torch
from torch import Tensor


def least_squares_generator(fake: Tensor) -> Tensor:
    """`E[(D(G(x)) - 1)^2]`: how far fake pictures are from being taken for real (Mao et al. 2017, eq. 9 with c = 1).

    Args:
        fake: what the discriminator says of them, any shape; 1 is real.
    """
    return (_wide(fake) - 1).square().mean()


def least_squares_discriminator(real: Tensor, fake: Tensor) -> Tensor:
    """`(E[(D(y) - 1)^2] + E[D(G(x))^2]) / 2`: how far the discriminator is from telling them apart.

    Zhu et al. (2017, 7.1) halve it "to slow down the rate at which D learns, relative to the rate of G".

    Args:
        real, fake: what it says of real and of fake pictures, any shapes.
    """
    return ((_wide(real) - 1).square().mean() + _wide(fake).square().mean()) / 2


def cycle_consistency(reconstruction: Tensor, picture: Tensor) -> Tensor:
    """`E[|F(G(x)) - x|]`: how far a picture is from itself, there and back (Zhu et al. 2017, eq. 2).

    Args:
        reconstruction, picture: `(N, 3, H, W)`, in 0..1.
    """
    return (_wide(reconstruction) - _wide(picture)).abs().mean()


def identity(identity_mapped: Tensor, picture: Tensor) -> Tensor:
    """`E[|G(y) - y|]`: how far what is as it should be is changed (Taigman et al. 2016; Zhu et al. 2017, 5.2).

    Args:
        identity_mapped, picture: `(N, 3, H, W)`, in 0..1.
    """
    return (_wide(identity_mapped) - _wide(picture)).abs().mean()


def accuracy(patches: Tensor, *, real: bool) -> Tensor:
    """The share, 0 to 1, of a discriminator's answers that are on the right side of a half."""
    return ((patches > 0.5) == real).float().mean()


def _wide(values: Tensor) -> Tensor:
    return values.float() if values.dtype in (torch.bfloat16, torch.float16) else values
