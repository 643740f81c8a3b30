"""The image-transform network of Johnson, Alahi and Fei-Fei (2016), supplementary table 1."""

from typing import get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fast_style.networks.blocks import (
    ConvBlock,
    FractionalConv,
    Padding,
    ResidualBlock,
    ResizeConv,
    RgbConv,
    Upsampling,
    reflect,
    scaled_tanh,
)
from fast_style.networks.generator import Generator
from fast_style.networks.layers import InstanceNorm, ReLU
from fast_style.networks.strip_plan import AddInput, Convolution, Pointwise, StripPlan, StripStep, strip_steps

STRIDE = 4  # Two stride-2 convolutions.
#: Share of the output range that an unchanged input covers with `skip`. With all of it, black and white would be fixed.
SKIPPED_RANGE = 0.98


class TransformNet(Generator):
    """Stylize a photo in one pass.

    The layers: a 9x9 convolution to `width` channels, two stride-2 3x3 convolutions to `2 width` and `4 width`,
    `blocks` residual blocks, two stride-1/2 convolutions back to `width`, a 9x9 convolution to RGB, and a scaled tanh.
    CycleGAN (Zhu et al. 2017) uses the same network with 7x7 instead of 9x9 and 6 or 9 blocks
    (`conf/generator/cyclegan.yaml`).

    Args:
        width: channels of the first layer; 32 in the paper.
        blocks: number of residual blocks; 5 in the paper.
        upsample: `linear` interpolation and a 2x2 kernel, `nearest` neighbour and a 3x3 kernel, or `fractional`
            (stride-1/2 convolution), as in the paper.
        fractional_kernel: kernel size of `fractional`: 4 avoids checkerboard artefacts; 3 in the paper.
        residual_padding: `reflect`, or `none` as in the paper: the image is padded by reflection first, and the
            unpadded residual blocks consume that border.
        output_gain: factor before the tanh; 1 in the paper. The 9x9 output layer sums about 2,600 correlated inputs.
            One step of Adam can therefore saturate the tanh in whole regions, which then stay black holes. A gain of
            0.1 reduces the learning rate of that layer to a tenth.
        outer_kernel: kernel size of the first and the last layer; 9 in the paper, 7 in CycleGAN.
        skip: add the input image before the tanh, so that the layers learn only the change (de Bel et al. 2021,
            "Residual CycleGAN"). The image is sharp from the first step on. The papers have no such connection.
    """

    smallest = 16

    def __init__(
        self,
        *,
        width: int = 32,
        blocks: int = 5,
        upsample: Upsampling = "linear",
        fractional_kernel: int = 4,
        residual_padding: Padding = "reflect",
        output_gain: float = 0.1,
        outer_kernel: int = 9,
        skip: bool = False,
    ) -> None:
        super().__init__()
        _check(width, blocks, upsample, fractional_kernel, residual_padding, output_gain)
        if outer_kernel % 2 == 0 or not 1 <= outer_kernel < self.smallest:
            raise ValueError(f"outer_kernel must be odd and from 1 to {self.smallest - 1}; got {outer_kernel}.")
        self.architecture = {
            "width": width,
            "blocks": blocks,
            "upsample": upsample,
            "fractional_kernel": fractional_kernel,
            "residual_padding": residual_padding,
            "output_gain": output_gain,
            "outer_kernel": outer_kernel,
            "skip": skip,
        }
        self.output_gain, self.skip = output_gain, skip
        self.full_size_channels = width
        # Each unpadded block removes 2 pixels per side at a quarter of the size: 40 pixels for the paper's five blocks.
        self.border = 2 * STRIDE * blocks if residual_padding == "none" else 0
        self.encoder = nn.Sequential(
            ConvBlock(3, width, kernel=outer_kernel),
            ConvBlock(width, 2 * width, kernel=3, stride=2),
            ConvBlock(2 * width, 4 * width, kernel=3, stride=2),
        )
        self.residual = nn.Sequential(*(ResidualBlock(4 * width, padding=residual_padding) for _ in range(blocks)))

        def upsampling(in_channels: int, out_channels: int) -> nn.Sequential:
            conv = (
                FractionalConv(in_channels, out_channels, kernel=fractional_kernel)
                if upsample == "fractional"
                else ResizeConv(in_channels, out_channels, boxes=1 if upsample == "nearest" else 2)
            )
            return nn.Sequential(conv, InstanceNorm(out_channels), ReLU())

        self.decoder = nn.Sequential(upsampling(4 * width, 2 * width), upsampling(2 * width, width))
        self.to_rgb = RgbConv(width, kernel=outer_kernel, output_gain=output_gain)

    def forward(self, pictures: Tensor) -> Tensor:
        """Stylize `(N, 3, H, W)` in 0..1, H and W at least 16; the result has the same shape and range.

        Raises:
            ValueError: an image smaller than 16x16, or not `(N, 3, H, W)`.
        """
        self.check_pictures(pictures)
        height, width = pictures.shape[-2:]
        b = self.border
        right, bottom = -width % STRIDE, -height % STRIDE
        # Without a border, one reflection is enough, so an exporter does not trace a loop.
        extended = (0, right, 0, bottom)
        x = reflect(pictures, b, b + right, b, b + bottom) if b else F.pad(pictures, extended, mode="reflect")
        z = self.to_rgb(self.decoder(self.residual(self.encoder(x))))
        if self.skip:
            z = z + self._before_tanh(F.pad(x, (-b, -b, -b, -b)))
        # The tanh directly after the convolution, because runtimes compute both in one loop. Negative padding crops. A
        # slice would make an exporter add a check for contiguity.
        return F.pad(self._to_picture(z), (0, -right, 0, -bottom))

    def strip_plan(self) -> StripPlan:
        """Return encoder, residual blocks, decoder and RGB convolution, in the order of `forward`."""
        if self.border:
            raise ValueError(
                "A generator with residual_padding=none cannot run in strips; use tiles=off or a smaller size=."
            )
        layers = (self.encoder, self.residual, self.decoder)
        steps: list[StripStep] = [step for layer in layers for step in strip_steps(layer)]
        skip = (AddInput(self._before_tanh),) if self.skip else ()
        return StripPlan(STRIDE, (*steps, Convolution(self.to_rgb), *skip, Pointwise(self._to_picture)))

    def _to_picture(self, z: Tensor) -> Tensor:
        return scaled_tanh(z, self.output_gain)

    def _before_tanh(self, pictures: Tensor) -> Tensor:
        """Return what `_to_picture` maps to the pictures, at `SKIPPED_RANGE` of their contrast."""
        return torch.atanh(SKIPPED_RANGE * (2 * pictures - 1)) / self.output_gain


def _check(width: int, blocks: int, upsample: str, kernel: int, residual_padding: str, output_gain: float) -> None:
    if width < 1 or blocks < 0:
        raise ValueError(f"A generator needs width >= 1 and blocks >= 0; got width={width}, blocks={blocks}.")
    if upsample not in get_args(Upsampling):
        raise ValueError(f"upsample must be one of {get_args(Upsampling)}; got {upsample!r}.")
    if residual_padding not in get_args(Padding):
        raise ValueError(f"residual_padding must be one of {get_args(Padding)}; got {residual_padding!r}.")
    if output_gain <= 0:
        raise ValueError(f"output_gain must be above 0; got {output_gain}.")
    if kernel not in (3, 4):
        raise ValueError(f"fractional_kernel must be 3 (as in the paper) or 4; got {kernel}.")
