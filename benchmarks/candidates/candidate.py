"""One network for all candidates of the search; `fast_style.networks.fast_net.FastNet` is the one that was chosen."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fast_style.networks.blocks import ConvBlock, ResizeConv
from fast_style.networks.generator import Generator
from fast_style.networks.layers import InstanceNorm, ReLU

Kind = Literal["dense", "bottleneck", "inverted"]
Stem = Literal["one", "two"]
Head = Literal["quarter", "half", "full"]
Upsampling = Literal["linear", "shuffle"]


class Candidate(Generator):
    """A generator that works at a quarter of the size and, with `coarse_blocks`, at an eighth.

    Args:
        width: channels at a quarter of the size.
        before, after: number of blocks there, before and after the coarse level.
        coarse_width, coarse_blocks: channels and blocks at an eighth of the size; 0 blocks: no coarse level.
        kind: blocks of two 3x3 convolutions (`dense`), of a 3x3 convolution with half of the channels between two 1x1
            convolutions (`bottleneck`), or of a depthwise 3x3 convolution with twice the channels (`inverted`).
        dilations: of the first convolution of each block at a quarter of the size; 1 for blocks that are not listed.
        stem: `one` convolution of stride 4, or `two` of stride 2 with `stem_width` channels between them.
        stem_kernel: kernel size of the first convolution.
        head: the convolution to RGB works at a `quarter` or a `half` of the size, before a pixel shuffle, or at the
            `full` size.
        head_width: its input channels, for `half` and `full`.
        head_kernel: its kernel size.
        upsample: `linear` interpolation and a 2x2 kernel, or a 1x1 convolution and a pixel `shuffle`.
        output_gain: factor before the tanh.
    """

    smallest = 16

    def __init__(
        self,
        *,
        width: int = 48,
        before: int = 1,
        after: int = 1,
        coarse_width: int = 72,
        coarse_blocks: int = 2,
        kind: Kind = "dense",
        dilations: Sequence[int] = (),
        stem: Stem = "two",
        stem_width: int = 16,
        stem_kernel: int = 5,
        head: Head = "half",
        head_width: int = 24,
        head_kernel: int = 5,
        upsample: Upsampling = "linear",
        output_gain: float = 0.1,
    ) -> None:
        super().__init__()
        self.architecture = {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in locals().items()
            if name not in ("self", "__class__")
        }
        self.output_gain, self.multiple = output_gain, 8 if coarse_blocks else 4
        self.full_size_channels = head_width if head == "full" else 9
        if stem == "two":
            stems = [
                ConvBlock(3, stem_width, kernel=stem_kernel, stride=2),
                ConvBlock(stem_width, width, kernel=3, stride=2),
            ]
        else:
            stems = [ConvBlock(3, width, kernel=stem_kernel, stride=4)]
        rates = [*dilations, *[1] * (before + after)]
        blocks = [_Residual(width, kind, rate) for rate in rates[: before + after]]
        coarse = [_Coarse(width, coarse_width, coarse_blocks, kind, upsample)] if coarse_blocks else []
        self.body = nn.Sequential(*stems, *blocks[:before], *coarse, *blocks[before:])
        factor = {"quarter": 4, "half": 2, "full": 1}[head]
        channels = {"quarter": [width], "half": [width, head_width], "full": [width, 2 * head_width, head_width]}[head]
        for above, below in pairwise(channels):
            self.body.extend([_upsampling(above, below, upsample), InstanceNorm(below), ReLU()])
        rgb = nn.Conv2d(channels[-1], 3 * factor**2, head_kernel, padding=head_kernel // 2, padding_mode="reflect")
        with torch.no_grad():  # Equal phases, and the gain, as in FastNet.
            for parameter in rgb.parameters():
                parameter.copy_(parameter[:: factor**2].repeat_interleave(factor**2, dim=0) / output_gain)
        self.to_rgb = nn.Sequential(rgb, nn.PixelShuffle(factor))

    def forward(self, pictures: Tensor) -> Tensor:
        """Stylize `(N, 3, H, W)` in 0..1."""
        self.check_pictures(pictures)
        height, width = pictures.shape[-2:]
        right, bottom = -width % self.multiple, -height % self.multiple
        z = self.to_rgb(self.body(F.pad(pictures, (0, right, 0, bottom), mode="reflect")))
        return 0.5 * (torch.tanh(self.output_gain * F.pad(z, (0, -right, 0, -bottom))) + 1)


class _Block(nn.Sequential):
    """A convolution with dilation or groups, instance normalisation, ReLU."""

    def __init__(
        self, above: int, below: int, kernel: int, *, dilation: int = 1, groups: int = 1, relu: bool = True
    ) -> None:
        pad = dilation * (kernel // 2)
        conv = nn.Conv2d(
            above, below, kernel, padding=pad, padding_mode="reflect", dilation=dilation, groups=groups, bias=False
        )
        super().__init__(conv, InstanceNorm(below), *([ReLU()] if relu else []))


class _Residual(nn.Module):
    def __init__(self, channels: int, kind: Kind, dilation: int = 1) -> None:
        super().__init__()
        if kind == "dense":
            parts = [
                _Block(channels, channels, 3, dilation=dilation),
                _Block(channels, channels, 3, relu=False),
            ]
        else:
            inner = channels // 2 if kind == "bottleneck" else 2 * channels
            parts = [
                _Block(channels, inner, 1),
                _Block(inner, inner, 3, dilation=dilation, groups=1 if kind == "bottleneck" else inner),
                _Block(inner, channels, 1, relu=False),
            ]
        self.branch = nn.Sequential(*parts)

    def forward(self, x: Tensor) -> Tensor:
        summed: Tensor = x + self.branch(x)
        return summed


class _Coarse(_Residual):
    def __init__(self, channels: int, width: int, blocks: int, kind: Kind, upsample: Upsampling) -> None:
        nn.Module.__init__(self)
        self.branch = nn.Sequential(
            ConvBlock(channels, width, kernel=3, stride=2),
            *(_Residual(width, kind) for _ in range(blocks)),
            _upsampling(width, channels, upsample),
            InstanceNorm(channels),
        )


def _upsampling(above: int, below: int, upsample: Upsampling) -> nn.Module:
    if upsample == "linear":
        return ResizeConv(above, below, boxes=2)
    return _ShuffleConv(above, below)


class _ShuffleConv(nn.Module):
    """A 1x1 convolution and a pixel shuffle to twice the size; the four phases start alike (Aitken et al. 2017)."""

    def __init__(self, above: int, below: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(above, 4 * below, 1, bias=False)
        with torch.no_grad():
            self.conv.weight.copy_(self.conv.weight[::4].repeat_interleave(4, dim=0))

    def forward(self, x: Tensor) -> Tensor:
        return F.pixel_shuffle(self.conv(x), 2)
