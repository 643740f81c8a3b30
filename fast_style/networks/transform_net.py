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
)
from fast_style.networks.generator import (
    Convolution,
    Generator,
    Normalization,
    Pointwise,
    Residual,
    StripPlan,
    StripStep,
)
from fast_style.networks.generator import (
    Upsampling as UpsamplingStep,
)
from fast_style.networks.layers import InstanceNorm, ReLU

STRIDE = 4  # Two stride-2 convolutions.


class TransformNet(Generator):
    """Paint a photo in the learned style, in one pass.

    9x9 to `width` channels, two stride-2 3x3 convolutions to `2 width` and `4 width`, `blocks` residual blocks, two
    stride-1/2 convolutions back to `width`, 9x9 to RGB, scaled tanh. Zhu et al. (2017) took it over for CycleGAN, with
    7x7 in the place of 9x9, and 6 or 9 blocks (`conf/generator/cyclegan.yaml`).

    Args:
        width: channels of the first layer; 32 in the paper.
        blocks: residual blocks; 5 in the paper.
        upsample: `linear` interpolation and 2x2, `nearest` neighbour and 3x3, or `fractional`, the paper's.
        fractional_kernel: 4 against checkerboards; the paper's own is 3.
        residual_padding: `reflect`, or `none` for the paper's: the picture is extended by reflection first, and
            unpadded residual blocks consume the border.
        output_gain: factor before the tanh; 1 in the paper. The 9x9 output layer sums some 2,600 correlated inputs, so
            a step of Adam can move whole regions into the tanh's flat ends, where they stay as black holes; a gain of
            0.1 makes that layer learn at a tenth of the rate.
        outer_kernel: of the first and the last layer; 9 in the paper, 7 in CycleGAN.
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
    ) -> None:
        super().__init__()
        _check(width, blocks, upsample, fractional_kernel, residual_padding, output_gain)
        if outer_kernel % 2 == 0 or not 1 <= outer_kernel < self.smallest:
            raise ValueError(f"outer_kernel is odd, from 1 to {self.smallest - 1}; got {outer_kernel}.")
        self.architecture = {
            "width": width,
            "blocks": blocks,
            "upsample": upsample,
            "fractional_kernel": fractional_kernel,
            "residual_padding": residual_padding,
            "output_gain": output_gain,
            "outer_kernel": outer_kernel,
        }
        self.output_gain = output_gain
        self.full_size_channels = width
        # Each unpadded block loses 2 pixels a side, at a quarter of the size: 40 for the paper's five.
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
        self.to_rgb = RgbConv(width, kernel=outer_kernel)
        with torch.no_grad():  # The gain changes how fast this layer learns, not what it starts from.
            for parameter in self.to_rgb.parameters():
                parameter.div_(output_gain)

    def forward(self, pictures: Tensor) -> Tensor:
        """Paint `(N, 3, H, W)` in 0..1, H and W from 16 up; the result has the same shape and range.

        Raises:
            ValueError: a picture smaller than 16x16, or not `(N, 3, H, W)`.
        """
        self.check_pictures(pictures)
        height, width = pictures.shape[-2:]
        b = self.border
        right, bottom = -width % STRIDE, -height % STRIDE
        # Without a border one reflection is enough, and an exporter need not ask how many.
        extended = (0, right, 0, bottom)
        x = reflect(pictures, b, b + right, b, b + bottom) if b else F.pad(pictures, extended, mode="reflect")
        z = self.to_rgb(self.decoder(self.residual(self.encoder(x))))
        # Padding by less than nothing crops; of a slice an exporter would ask whether it lies in one piece.
        return self._to_picture(F.pad(z, (0, -right, 0, -bottom)))

    def strip_plan(self) -> StripPlan:
        """Encoder, residual blocks, decoder and RGB convolution, in the order of `forward`."""
        if self.border:
            raise ValueError(
                "A generator with residual_padding=none, as the paper's, can't be run in strips; take tiles=off, or a "
                "smaller size=."
            )
        steps: list[StripStep] = [step for block in self.encoder for step in _conv_steps(block)]
        for block in self.residual:
            branch = block.get_submodule("branch").children()
            steps.append(Residual(tuple(step for part in branch for step in _conv_steps(part))))
        for block in self.decoder:
            steps += _upsampling_steps(block)
        return StripPlan(STRIDE, (*steps, Convolution(self.to_rgb), Pointwise(self._to_picture)))

    @torch.no_grad()
    def init_normal_(self, std: float) -> None:
        """As the contract says; the output layer's results are multiplied by the gain afterwards."""
        super().init_normal_(std)
        self.to_rgb.weight /= self.output_gain

    def _to_picture(self, z: Tensor) -> Tensor:
        """Johnson's scaled tanh, in the 0..1 convention."""
        return 0.5 * (torch.tanh(self.output_gain * z) + 1)


def _upsampling_steps(block: nn.Module) -> tuple[StripStep, StripStep]:
    assert isinstance(block, nn.Sequential)
    conv, norm, _ = block
    assert isinstance(conv, FractionalConv | ResizeConv)
    assert isinstance(norm, InstanceNorm)
    return UpsamplingStep(conv.kernel()), Normalization(norm, relu=True)


def _conv_steps(block: nn.Module) -> tuple[StripStep, StripStep]:
    assert isinstance(block, ConvBlock)
    conv, norm, *relu = block
    assert isinstance(conv, nn.Conv2d)
    assert isinstance(norm, InstanceNorm)
    return Convolution(conv), Normalization(norm, relu=bool(relu))


def _check(width: int, blocks: int, upsample: str, kernel: int, residual_padding: str, output_gain: float) -> None:
    if width < 1 or blocks < 0:
        raise ValueError(f"A generator needs width >= 1 and blocks >= 0; got width={width}, blocks={blocks}.")
    if upsample not in get_args(Upsampling):
        raise ValueError(f"upsample is one of {get_args(Upsampling)}; got {upsample!r}.")
    if residual_padding not in get_args(Padding):
        raise ValueError(f"residual_padding is one of {get_args(Padding)}; got {residual_padding!r}.")
    if output_gain <= 0:
        raise ValueError(f"output_gain is above 0; got {output_gain}.")
    if kernel not in (3, 4):
        raise ValueError(f"fractional_kernel is 3 (the paper's) or 4; got {kernel}.")
