"""The 70x70 PatchGAN of Isola et al. (2017), as Zhu et al. (2017, appendix 7.2) take it for CycleGAN."""

from itertools import pairwise

from torch import Tensor, nn

from fast_style.networks.layers import InstanceNorm

#: Values of a picture's shorter side that the last normalisation needs.
SMALLEST_JUDGED = 3


class PatchDiscriminator(nn.Module):
    """Say of every patch of a picture how real it looks: 1 is real, 0 is made.

    4x4 convolutions: `layers` of stride 2 to `width`, `2 width`, ..., one of stride 1 to at most `8 width`, and one of
    stride 1 to a single channel; all but the first and the last with instance normalisation, all but the last with a
    leaky ReLU of slope 0.2. With 3 layers, each number depends on 70x70 pixels.

    The authors' PyTorch release learns no scale and shift after the normalisation; here it does, as in the generators.

    Args:
        width: channels of the first layer, `ndf`; 64 in the paper.
        layers: of stride 2; 3 in the paper. Patches are then 70 pixels wide; 34 with 2, 16 with 1.
    """

    def __init__(self, *, width: int = 64, layers: int = 3) -> None:
        if width < 1 or layers < 1:
            raise ValueError(f"A discriminator needs width >= 1 and layers >= 1; got width={width}, layers={layers}.")
        channels = [width * min(2**depth, 8) for depth in range(layers + 1)]
        strides = [2] * (layers - 1) + [1]
        blocks = [_block(*pair, stride) for pair, stride in zip(pairwise(channels), strides, strict=True)]
        super().__init__()
        self.patches = nn.Sequential(
            nn.Sequential(nn.Conv2d(3, width, 4, stride=2, padding=1), nn.LeakyReLU(0.2)),
            *blocks,
            nn.Conv2d(channels[-1], 1, 4, padding=1),
        )
        #: The shorter side that leaves one patch; the norm before the last layer then still has four values to look at.
        self.smallest = SMALLEST_JUDGED * 2**layers

    def forward(self, pictures: Tensor) -> Tensor:
        """Judge `(N, 3, H, W)` in 0..1: `(N, 1, H', W')`, H' about `H / 2 ** layers`.

        Raises:
            ValueError: a picture smaller than `smallest`, or not `(N, 3, H, W)`.
        """
        if pictures.ndim != 4 or pictures.shape[1] != 3 or min(pictures.shape[-2:]) < self.smallest:
            raise ValueError(
                f"Pictures to judge are (N, 3, H, W) with H and W at least {self.smallest}; got "
                f"{tuple(pictures.shape)}."
            )
        # The papers' pictures are in -1..1, from which the start's small weights are reckoned.
        patches: Tensor = self.patches(2 * pictures - 1)
        return patches


def _block(in_channels: int, out_channels: int, stride: int) -> nn.Sequential:
    # Without bias: the normalisation would subtract it.
    conv = nn.Conv2d(in_channels, out_channels, 4, stride=stride, padding=1, bias=False)
    return nn.Sequential(conv, InstanceNorm(out_channels), nn.LeakyReLU(0.2))
