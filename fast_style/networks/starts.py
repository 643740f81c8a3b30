"""What networks start from, where it is not torch's own."""

import torch
from torch import nn


@torch.no_grad()
def start_from_normal(network: nn.Module, *, std: float) -> None:
    """Draw every convolution's weights from `N(0, std)`, with biases of 0 (Radford et al. 2016; CycleGAN: 0.02).

    Normalisations keep their scale of 1 and shift of 0.

    Raises:
        ValueError: `std` is not above 0.
    """
    if std <= 0:
        raise ValueError(f"The weights' deviation at the start is above 0; got {std}.")
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.normal_(module.weight, 0.0, std)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
