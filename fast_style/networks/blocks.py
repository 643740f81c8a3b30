"""The parts that networks are made of (Johnson et al. 2016, supplement), and what they start from."""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fast_style.networks.layers import InstanceNorm, ReLU

Padding = Literal["reflect", "none"]
Upsampling = Literal["linear", "nearest", "fractional"]


def reflect(pictures: Tensor, left: int, right: int, top: int, bottom: int) -> Tensor:
    """Extend `(N, C, H, W)` by reflection, by any amount.

    One reflection reaches no further than the picture is long; a wider border is reflected again, which is what a
    row of mirrors shows.
    """
    height, width = pictures.shape[-2:]
    while left or right or top or bottom:
        sides = [min(left, width - 1), min(right, width - 1), min(top, height - 1), min(bottom, height - 1)]
        pictures = F.pad(pictures, sides, mode="reflect")
        left, right, top, bottom = left - sides[0], right - sides[1], top - sides[2], bottom - sides[3]
    return pictures


class ConvBlock(nn.Sequential):
    """Convolution, instance normalisation, ReLU; `(N, C, H, W)` to `(N, C', H / stride, W / stride)`.

    Johnson et al. use batch normalisation; instance normalisation (Ulyanov et al. 2016) is what the field took over.
    The convolutions carry no bias: the normalisation after them would subtract it.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        kernel: int,
        stride: int = 1,
        padding: Padding = "reflect",
        relu: bool = True,
    ) -> None:
        super().__init__(
            nn.Conv2d(
                in_channels,
                out_channels,
                kernel,
                stride,
                padding=kernel // 2 if padding == "reflect" else 0,
                padding_mode="reflect",
                bias=False,
            ),
            InstanceNorm(out_channels),
            *([ReLU()] if relu else []),
        )


class ResidualBlock(nn.Module):
    """`x + f(x)` with two 3x3 convolutions and no ReLU after the sum (Gross and Wilber, as Johnson et al.).

    With `padding="none"` the result is 2 pixels smaller on every side, and the identity is cropped to it, as in the
    paper.
    """

    def __init__(self, channels: int, *, padding: Padding = "reflect") -> None:
        super().__init__()
        self.margin = 0 if padding == "reflect" else 2
        self.branch = nn.Sequential(
            ConvBlock(channels, channels, kernel=3, padding=padding),
            ConvBlock(channels, channels, kernel=3, padding=padding, relu=False),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map `(N, C, H, W)` to `(N, C, H - 2 margin, W - 2 margin)`."""
        m = self.margin
        identity = x[..., m : x.shape[-2] - m, m : x.shape[-1] - m] if m else x
        summed: Tensor = identity + self.branch(x)
        return summed


class FractionalConv(nn.Module):
    """A stride-1/2 convolution (transposed, stride 2): `(N, C, H, W)` to `(N, C', 2H, 2W)`.

    A kernel of 4 gives every output pixel the same number of taps, which kernel 3 does not: that is where
    checkerboards come from (Odena et al. 2016). Its four phases, which would start as four different networks, start
    alike (Aitken et al. 2017), or the checkerboard between them is the first texture that a style loss finds. The input
    is extended by reflection, so the border sees a picture and not zeros.
    """

    def __init__(self, in_channels: int, out_channels: int, *, kernel: int = 4) -> None:
        super().__init__()
        self.conv = nn.ConvTranspose2d(
            in_channels,
            out_channels,
            kernel,
            stride=2,
            padding=1 + 2,  # 1 of its own, and what the reflected pixel becomes
            output_padding=kernel % 2,
            bias=False,
        )
        if kernel == 4:
            with torch.no_grad():
                one_phase = self.conv.weight[..., ::2, ::2]
                self.conv.weight.copy_(one_phase.repeat_interleave(2, -1).repeat_interleave(2, -2))

    def kernel(self) -> Tensor:
        """`(C, C', K, K)`, of the transposed convolution."""
        return self.conv.weight

    def forward(self, x: Tensor) -> Tensor:
        """Double height and width."""
        doubled: Tensor = self.conv(F.pad(x, (1, 1, 1, 1), mode="reflect"))
        return doubled


class ResizeConv(nn.Module):
    """Interpolation to twice the size, then a convolution (Odena et al. 2016): no checkerboards by construction.

    Computed as what both are together, one stride-1/2 convolution: its 4x4 kernel is the learnt one times a 2x2 box for
    nearest neighbours, and twice that box for linear interpolation. The same numbers, with 4 multiplications a pixel.
    One box has no answer to what alternates from pixel to pixel, so flat areas stay flat; two have none around it
    either, so slopes stay slopes, where one makes stairs with a period of two pixels, or four from the layer before.

    Args:
        in_channels, out_channels: C and C'.
        boxes: 1, nearest neighbours and 3x3, or 2, linear and 2x2.
    """

    def __init__(self, in_channels: int, out_channels: int, *, boxes: int = 1) -> None:
        super().__init__()
        self.boxes = boxes
        self.conv = nn.Conv2d(in_channels, out_channels, 4 - boxes, bias=False)

    def kernel(self) -> Tensor:
        """`(C, C', 4, 4)`, of the one transposed convolution that both are."""
        kernel = self.conv.weight.flip(-1, -2).transpose(0, 1)
        for _ in range(self.boxes):
            kernel = F.avg_pool2d(F.pad(kernel, (1, 1, 1, 1)), 2, stride=1)
        return 4 * kernel  # Each pixel becomes four.

    def forward(self, x: Tensor) -> Tensor:
        """Double height and width."""
        # The border sees a reflection, as in FractionalConv.
        return F.conv_transpose2d(F.pad(x, (1, 1, 1, 1), mode="reflect"), self.kernel(), stride=2, padding=1 + 2)


class RgbConv(nn.Conv2d):
    """A convolution to RGB, padded by reflection, four pixels at a time: `(N, C, H, W)` to `(N, 3, H, W)`, both even.

    CPUs compute 12 channels in the time of 3. So the pixels of each 2x2 square are channels of one convolution
    of stride 2, whose kernel, one larger, is the learnt one at four places; a pixel shuffle (Shi et al. 2016) puts them
    where they belong. The same numbers, forward in 0.38 of the time and with gradients in half of it.
    """

    def __init__(self, in_channels: int, *, kernel: int) -> None:
        super().__init__(in_channels, 3, kernel, padding=kernel // 2, padding_mode="reflect")

    def forward(self, x: Tensor) -> Tensor:
        """Same height and width."""
        four = torch.stack([F.pad(self.weight, (j, 1 - j, i, 1 - i)) for i in (0, 1) for j in (0, 1)], dim=1)
        assert self.bias is not None
        border = self.kernel_size[0] // 2
        padded = F.pad(x, (border, border, border, border), mode="reflect")
        return F.pixel_shuffle(F.conv2d(padded, four.flatten(0, 1), self.bias.repeat_interleave(4), stride=2), 2)


@torch.no_grad()
def init_normal_(network: nn.Module, *, std: float) -> None:
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
