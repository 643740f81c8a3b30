"""Random init of the networks."""

import pytest
import torch
from torch import nn

from fast_style.networks.blocks import init_normal_
from fast_style.networks.patch_discriminator import PatchDiscriminator
from fast_style.networks.transform_net import TransformNet

NETWORKS = {
    "discriminator": lambda: PatchDiscriminator(width=16),
    "generator": lambda: TransformNet(
        width=16, blocks=2, upsample="fractional", fractional_kernel=3, output_gain=1.0, outer_kernel=7
    ),
    "linear": lambda: TransformNet(width=16, blocks=1),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_every_convolution_is_drawn_from_n_0_002(name: str) -> None:
    network = NETWORKS[name]()
    init_normal_(network, std=0.02)
    convs = [m for m in network.modules() if isinstance(m, nn.Conv2d | nn.ConvTranspose2d)]
    gains = [getattr(conv, "output_gain", 1.0) for conv in convs]  # Divided out at the start.
    weights = torch.cat([gain * conv.weight.detach().flatten() for conv, gain in zip(convs, gains, strict=True)])
    assert len(weights) > 10_000
    assert weights.std().item() == pytest.approx(0.02, rel=0.03)
    for conv, gain in zip(convs, gains, strict=True):
        if conv.weight.numel() > 1000:
            assert (gain * conv.weight).std().item() == pytest.approx(0.02, rel=0.15)
    assert abs(weights.mean().item()) < 5 * 0.02 / len(weights) ** 0.5
    assert (weights.abs() > 0.04).float().mean().item() == pytest.approx(
        0.0455, abs=0.005
    )  # As in a normal distribution.
    assert all(conv.bias is None or not conv.bias.any() for conv in convs)
    norms = [m for m in network.modules() if isinstance(m, nn.InstanceNorm2d)]
    assert all((norm.weight == 1).all() and not norm.bias.any() for norm in norms)


def test_a_standard_deviation_of_zero_is_refused() -> None:
    with pytest.raises(ValueError, match="above 0; got 0"):
        init_normal_(nn.Conv2d(1, 1, 1), std=0.0)
