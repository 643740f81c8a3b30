"""The 70x70 PatchGAN of Isola et al. (2017), as used in CycleGAN (Zhu et al. 2017, appendix 7.2)."""

from itertools import pairwise

from torch import Tensor, nn

from fast_style.networks.layers import InstanceNorm

#: Minimum shorter side of the features before the last normalisation.
SMALLEST_JUDGED = 3


class PatchDiscriminator(nn.Module):
    """Classify every patch of an image as real (1) or generated (0).

    All convolutions are 4x4. There are `layers` convolutions of stride 2 with `width`, `2 width`, ... channels, one of
    stride 1 with at most `8 width` channels, and one of stride 1 with one channel. All but the first and the last have
    instance normalisation. All but the last have a leaky ReLU of slope 0.2. With 3 layers, the receptive field of each
    output is 70x70 pixels.

    The PyTorch release of the authors has no learned scale and shift in the normalisation. This network has them, as
    the generators do.

    Args:
        width: channels of the first layer (`ndf`); 64 in the paper.
        layers: number of stride-2 convolutions; 3 in the paper. The receptive field is 70 pixels wide with 3, 34 with 2
            and 16 with 1.
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
        #: Minimum height and width in pixels: the output is then 1x1, and the last normalisation still has 2x2 values.
        self.smallest = SMALLEST_JUDGED * 2**layers

    def forward(self, pictures: Tensor) -> Tensor:
        """Map `(N, 3, H, W)` in 0..1 to `(N, 1, H', W')`, with H' about `H / 2 ** layers`.

        Raises:
            ValueError: an image smaller than `smallest`, or not `(N, 3, H, W)`.
        """
        if pictures.ndim != 4 or pictures.shape[1] != 3 or min(pictures.shape[-2:]) < self.smallest:
            raise ValueError(
                f"A discriminator needs images (N, 3, H, W) with H and W at least {self.smallest}; got "
                f"{tuple(pictures.shape)}."
            )
        # The papers use images in -1..1, and the standard deviation of the initial weights assumes that range.
        patches: Tensor = self.patches(2 * pictures - 1)
        return patches


def _block(in_channels: int, out_channels: int, stride: int) -> nn.Sequential:
    # No bias, because the normalisation would subtract it.
    conv = nn.Conv2d(in_channels, out_channels, 4, stride=stride, padding=1, bias=False)
    return nn.Sequential(conv, InstanceNorm(out_channels), nn.LeakyReLU(0.2))
