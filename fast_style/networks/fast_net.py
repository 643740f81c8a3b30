"""A generator with a twelfth of the operations of Johnson et al. (2016), for CPUs, phones and browsers.

- Each coarser level adds to the finer one, as in a U-Net (Ronneberger et al. 2015) with sums: details of the photo stay
  at half of the size, and large structures come from residual blocks at an eighth of the size, where a 3x3 kernel
  covers 24 image pixels.
- A 1x1 convolution and bilinear interpolation bring a level back to the finer one, so flat areas stay flat.
- Only the last layer works at full size, on few channels.

docs/generators.md has the candidates that were compared, with their figures.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from fast_style.networks.blocks import BilinearConv, CoarseLevel, ConvBlock, ResidualBlock, RgbConv, scaled_tanh
from fast_style.networks.generator import Generator
from fast_style.networks.layers import ReLU
from fast_style.networks.strip_plan import Pointwise, StripPlan, strip_steps

STRIDE = 8  # Three stride-2 convolutions.


class FastNet(Generator):
    """Stylize a photo in one pass, with few operations and little memory.

    The layers: a stride-2 convolution; a coarse level at a quarter of the size with `blocks` residual blocks, a coarse
    level at an eighth with `coarse_blocks`, and `blocks` more; `last_layers` 3x3 convolutions at half of the size; a
    1x1 convolution and bilinear interpolation to full size; a convolution to RGB; a scaled tanh.

    Args:
        width: channels at a quarter of the size.
        half_width: channels at half of the size.
        coarse_width: channels at an eighth of the size.
        blocks: number of residual blocks at a quarter of the size, before and again after the eighth.
        coarse_blocks: number of residual blocks at an eighth of the size.
        last_layers: number of 3x3 convolutions at half of the size.
        full_width: channels at full size.
        outer_kernel: kernel size of the first and the last layer.
        output_gain: factor before the tanh; less reduces the learning rate of the last layer (see `TransformNet`).

    Raises:
        ValueError: an argument out of range.
    """

    smallest = 16

    def __init__(
        self,
        *,
        width: int = 48,
        half_width: int = 16,
        coarse_width: int = 72,
        blocks: int = 1,
        coarse_blocks: int = 2,
        last_layers: int = 1,
        full_width: int = 8,
        outer_kernel: int = 5,
        output_gain: float = 0.1,
    ) -> None:
        super().__init__()
        self.architecture = {
            "width": width,
            "half_width": half_width,
            "coarse_width": coarse_width,
            "blocks": blocks,
            "coarse_blocks": coarse_blocks,
            "last_layers": last_layers,
            "full_width": full_width,
            "outer_kernel": outer_kernel,
            "output_gain": output_gain,
        }
        _check(self.architecture, self.smallest)
        self.output_gain = output_gain
        # Together at full size: these features, the half-size ones (a quarter of the pixels each) and the image.
        self.full_size_channels = full_width + -(-half_width // 4) + 3
        eighth = CoarseLevel(
            width, width=coarse_width, layers=(ResidualBlock(coarse_width) for _ in range(coarse_blocks))
        )
        quarter = [
            *(ResidualBlock(width) for _ in range(blocks)),
            eighth,
            *(ResidualBlock(width) for _ in range(blocks)),
        ]
        self.body = nn.Sequential(
            ConvBlock(3, half_width, kernel=outer_kernel, stride=2),
            CoarseLevel(half_width, width=width, layers=quarter),
            *(ConvBlock(half_width, half_width, kernel=3) for _ in range(last_layers)),
        )
        self.to_full = nn.Sequential(BilinearConv(half_width, full_width), ReLU())
        self.to_rgb = RgbConv(full_width, kernel=outer_kernel, output_gain=output_gain)

    def forward(self, pictures: Tensor) -> Tensor:
        """Stylize `(N, 3, H, W)` in 0..1, H and W at least 16; the result has the same shape and range.

        Raises:
            ValueError: an image smaller than 16x16, or not `(N, 3, H, W)`.
        """
        self.check_pictures(pictures)
        height, width = pictures.shape[-2:]
        right, bottom = -width % STRIDE, -height % STRIDE
        x = F.pad(pictures, (0, right, 0, bottom), mode="reflect")
        z = self.to_rgb(self.to_full(self.body(x)))
        # The tanh and the crop in this order, and negative padding: see `TransformNet`.
        return F.pad(self._to_picture(z), (0, -right, 0, -bottom))

    def strip_plan(self) -> StripPlan:
        """Return all layers in the order of `forward`."""
        layers = nn.Sequential(self.body, self.to_full, self.to_rgb)
        return StripPlan(STRIDE, (*strip_steps(layers), Pointwise(self._to_picture)))

    def _to_picture(self, z: Tensor) -> Tensor:
        return scaled_tanh(z, self.output_gain)


def _check(settings: dict[str, float], smallest: int) -> None:
    for name, least in {
        **dict.fromkeys(("width", "half_width", "coarse_width", "full_width"), 1),
        **dict.fromkeys(("blocks", "coarse_blocks", "last_layers"), 0),
    }.items():
        if settings[name] < least:
            raise ValueError(f"{name} must be at least {least}; got {settings[name]}.")
    kernel = settings["outer_kernel"]
    if kernel % 2 == 0 or not 1 <= kernel < smallest:
        raise ValueError(f"outer_kernel must be odd and from 1 to {smallest - 1}; got {kernel}.")
    if settings["output_gain"] <= 0:
        raise ValueError(f"output_gain must be above 0; got {settings['output_gain']}.")
