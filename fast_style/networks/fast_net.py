"""A generator with a twelfth of the operations of Johnson et al. (2016), for CPUs, phones and browsers.

Three differences bring the operations down. Nothing is computed at full size: the first layer reduces the image to half
of its size, and the last layer computes the four pixels of each 2x2 square as channels, which a pixel shuffle moves to
their places (Shi et al. 2016). Most layers work at a quarter of the size with 48 channels instead of 128. And large
structures come from residual blocks at an eighth of the size, where a 3x3 kernel covers 24 image pixels.

Convolutions, instance norms, ReLUs, sums and pixel shuffles are the only layers, so every runtime has fast code for
all of them. Upsampling is a convolution and a pixel shuffle, because the exporters of phone formats cannot convert a
transposed convolution with a reflected border.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fast_style.networks.blocks import CoarseLevel, ConvBlock, ResidualBlock, ShuffleConv
from fast_style.networks.generator import Generator
from fast_style.networks.layers import InstanceNorm, ReLU
from fast_style.networks.strip_plan import Pointwise, StripPlan, strip_steps

STRIDE = 8  # Three stride-2 convolutions.


class FastNet(Generator):
    """Stylize a photo in one pass, with few operations and little memory.

    The layers: two stride-2 convolutions to a quarter of the size, `blocks` residual blocks, a coarse level with
    `coarse_blocks` residual blocks at an eighth of the size, `blocks` more residual blocks, a convolution to half of
    the size, a convolution to RGB at full size, and a scaled tanh.

    Args:
        width: channels at a quarter of the size.
        blocks: number of residual blocks there, before the coarse level and again after it.
        coarse_width: channels at an eighth of the size.
        coarse_blocks: number of residual blocks there.
        outer_width: channels at half of the size, after the first layer and before the last layer.
        outer_kernel: kernel size of the first and the last layer, at half of the size.
        output_gain: factor before the tanh; less reduces the learning rate of the last layer (see `TransformNet`).

    Raises:
        ValueError: an argument out of range.
    """

    smallest = 16

    def __init__(
        self,
        *,
        width: int = 48,
        blocks: int = 1,
        coarse_width: int = 72,
        coarse_blocks: int = 2,
        outer_width: int = 24,
        outer_kernel: int = 5,
        output_gain: float = 0.1,
    ) -> None:
        super().__init__()
        if min(width, coarse_width, outer_width) < 1 or min(blocks, coarse_blocks) < 0:
            raise ValueError(
                "A generator needs widths of at least 1 and block numbers of at least 0; got "
                f"width={width}, coarse_width={coarse_width}, outer_width={outer_width}, blocks={blocks}, "
                f"coarse_blocks={coarse_blocks}."
            )
        if outer_kernel % 2 == 0 or not 1 <= outer_kernel <= self.smallest:
            raise ValueError(f"outer_kernel must be odd and from 1 to {self.smallest - 1}; got {outer_kernel}.")
        if output_gain <= 0:
            raise ValueError(f"output_gain must be above 0; got {output_gain}.")
        self.architecture = {
            "width": width,
            "blocks": blocks,
            "coarse_width": coarse_width,
            "coarse_blocks": coarse_blocks,
            "outer_width": outer_width,
            "outer_kernel": outer_kernel,
            "output_gain": output_gain,
        }
        self.output_gain = output_gain
        # TODO
        self.full_size_channels = -(-outer_width // 4) + 3
        self.encoder = nn.Sequential(
            ConvBlock(3, outer_width, kernel=outer_kernel, stride=2),
            ConvBlock(outer_width, width, kernel=3, stride=2),
        )
        self.body = nn.Sequential(
            *(ResidualBlock(width) for _ in range(blocks)),
            CoarseLevel(width, width=coarse_width, blocks=coarse_blocks),
            *(ResidualBlock(width) for _ in range(blocks)),
        )
        self.decoder = nn.Sequential(
            ShuffleConv(width, outer_width, kernel=1, bias=False), InstanceNorm(outer_width), ReLU()
        )
        self.to_rgb = ShuffleConv(outer_width, 3, kernel=outer_kernel, bias=True)
        with torch.no_grad():  # The gain changes the learning rate of this layer, not its initial output.
            for parameter in self.to_rgb.parameters():
                parameter.div_(output_gain)

    def forward(self, pictures: Tensor) -> Tensor:
        """Stylize `(N, 3, H, W)` in 0..1, H and W at least 16; the result has the same shape and range.

        Raises:
            ValueError: an image smaller than 16x16, or not `(N, 3, H, W)`.
        """
        self.check_pictures(pictures)
        height, width = pictures.shape[-2:]
        right, bottom = -width % STRIDE, -height % STRIDE
        x = F.pad(pictures, (0, right, 0, bottom), mode="reflect")
        z = self.to_rgb(self.decoder(self.body(self.encoder(x))))
        # Negative padding crops. A slice would make an exporter add a check for contiguity.
        return self._to_picture(F.pad(z, (0, -right, 0, -bottom)))

    def strip_plan(self) -> StripPlan:
        """Return all layers in the order of `forward`."""
        layers = (self.encoder, self.body, self.decoder, self.to_rgb)
        steps = tuple(step for layer in layers for step in strip_steps(layer))
        return StripPlan(STRIDE, (*steps, Pointwise(self._to_picture)))

    @torch.no_grad()
    def init_normal_(self, std: float) -> None:
        """As in `Generator`; the weights of the output layer are divided by the gain, which multiplies its output."""
        super().init_normal_(std)
        self.to_rgb.conv.weight /= self.output_gain

    def _to_picture(self, z: Tensor) -> Tensor:
        """Map to 0..1 with the scaled tanh of Johnson et al."""
        return 0.5 * (torch.tanh(self.output_gain * z) + 1)
