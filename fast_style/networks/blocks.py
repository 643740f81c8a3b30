"""Building blocks of the networks (Johnson et al. 2016, supplement), and random init."""

from collections.abc import Iterable
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fast_style.networks.layers import BilinearUpsample, InstanceNorm, ReLU

Padding = Literal["reflect", "none"]
Upsampling = Literal["linear", "nearest", "fractional"]


def reflect(pictures: Tensor, left: int, right: int, top: int, bottom: int) -> Tensor:
    """Pad `(N, C, H, W)` by reflection, by any number of pixels.

    A single reflection pads at most H - 1 or W - 1 pixels. A wider border needs several reflections, as in `numpy.pad`.
    """
    height, width = pictures.shape[-2:]
    while left or right or top or bottom:
        sides = [min(left, width - 1), min(right, width - 1), min(top, height - 1), min(bottom, height - 1)]
        pictures = F.pad(pictures, sides, mode="reflect")
        left, right, top, bottom = left - sides[0], right - sides[1], top - sides[2], bottom - sides[3]
    return pictures


class ConvBlock(nn.Sequential):
    """Convolution, instance normalisation, ReLU; `(N, C, H, W)` to `(N, C', H / stride, W / stride)`.

    Johnson et al. use batch normalisation; instance normalisation (Ulyanov et al. 2016) has since become the standard.
    The convolutions have no bias, because the normalisation would subtract it.
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

    With `padding="none"` the result is 2 pixels smaller on every side. The identity is cropped to that size, as in the
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


class CoarseLevel(nn.Module):
    """`x + f(x)`, with `f` computed at half of the size: `(N, C, H, W)` to the same shape, H and W even.

    Args:
        channels: C.
        width: channels at half of the size.
        layers: the layers there; each maps `(N, width, H / 2, W / 2)` to the same shape.
    """

    def __init__(self, channels: int, *, width: int, layers: Iterable[nn.Module]) -> None:
        super().__init__()
        self.branch = nn.Sequential(
            ConvBlock(channels, width, kernel=3, stride=2),
            *layers,
            BilinearConv(width, channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Add the branch."""
        summed: Tensor = x + self.branch(x)
        return summed


class BilinearConv(nn.Module):
    """1x1 convolution, instance normalisation, bilinear interpolation: `(N, C, H, W)` to `(N, C', 2H, 2W)`.

    Both layers commute with the interpolation, but for its lower variance, and are cheaper at the smaller size.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(in_channels, out_channels, 1, bias=False),
            InstanceNorm(out_channels),
        )
        self.upsample = BilinearUpsample()

    def forward(self, x: Tensor) -> Tensor:
        """Double height and width."""
        doubled: Tensor = self.upsample(self.layers(x))
        return doubled


class FractionalConv(nn.Module):
    """A stride-1/2 convolution (transposed, stride 2): `(N, C, H, W)` to `(N, C', 2H, 2W)`.

    With kernel size 4, every output pixel has the same number of taps. Kernel size 3 gives unequal numbers, which
    causes checkerboard artefacts (Odena et al. 2016). The four phases of the size-4 kernel start with equal weights
    (Aitken et al. 2017). With different weights, the style loss would amplify the initial checkerboard as a texture.
    The input is padded by reflection, so the border sees image content and not zeros.
    """

    def __init__(self, in_channels: int, out_channels: int, *, kernel: int = 4) -> None:
        super().__init__()
        self.conv = nn.ConvTranspose2d(
            in_channels,
            out_channels,
            kernel,
            stride=2,
            padding=1 + 2,  # 1 of the convolution, and 2 for the reflected input pixel
            output_padding=kernel % 2,
            bias=False,
        )
        if kernel == 4:
            with torch.no_grad():
                one_phase = self.conv.weight[..., ::2, ::2]
                self.conv.weight.copy_(one_phase.repeat_interleave(2, -1).repeat_interleave(2, -2))

    def kernel(self) -> Tensor:
        """Return the kernel `(C, C', K, K)` of the transposed convolution."""
        return self.conv.weight

    def forward(self, x: Tensor) -> Tensor:
        """Double height and width."""
        doubled: Tensor = self.conv(F.pad(x, (1, 1, 1, 1), mode="reflect"))
        return doubled


class ResizeConv(nn.Module):
    """Interpolation to twice the size, then a convolution (Odena et al. 2016): no checkerboard in flat areas.

    Both steps are computed as one stride-1/2 convolution. Its 4x4 kernel is the learned kernel convolved with a 2x2
    box, once for nearest neighbour and twice for linear interpolation. The result is the same, with 4 multiplications
    per pixel. One box filter removes the pixel-alternating frequency, so flat areas stay flat. Two box filters also
    remove the frequencies next to it, so slopes stay smooth. One box turns slopes into stairs with a period of two
    pixels, or four pixels from the previous layer.

    Args:
        in_channels, out_channels: C and C'.
        boxes: 1 is nearest neighbour with a 3x3 kernel; 2 is linear with a 2x2 kernel.
    """

    def __init__(self, in_channels: int, out_channels: int, *, boxes: int = 1) -> None:
        super().__init__()
        self.boxes = boxes
        self.conv = nn.Conv2d(in_channels, out_channels, 4 - boxes, bias=False)

    def kernel(self) -> Tensor:
        """Return the kernel `(C, C', 4, 4)` of the combined transposed convolution."""
        kernel = self.conv.weight.flip(-1, -2).transpose(0, 1)
        for _ in range(self.boxes):
            kernel = F.avg_pool2d(F.pad(kernel, (1, 1, 1, 1)), 2, stride=1)
        return 4 * kernel  # Each input pixel becomes four output pixels.

    def forward(self, x: Tensor) -> Tensor:
        """Double height and width."""
        # Padding by reflection, as in FractionalConv.
        return F.conv_transpose2d(F.pad(x, (1, 1, 1, 1), mode="reflect"), self.kernel(), stride=2, padding=1 + 2)


class RgbConv(nn.Conv2d):
    """A convolution to RGB with reflection padding: `(N, C, H, W)` to `(N, 3, H, W)`, H and W even.

    A CPU computes 12 output channels in the time of 3. So one stride-2 convolution computes the four pixels of each 2x2
    square as 12 channels. Its kernel is one larger and holds the learned kernel at four offsets. A pixel shuffle (Shi
    et al. 2016) moves the channels to their pixels. The result is the same. The forward pass takes 0.38 of the time,
    forward and backward together take half.

    Args:
        in_channels: C.
        kernel: kernel size; odd.
        output_gain: factor of `scaled_tanh`, which follows. The initial weights are divided by it, so it changes the
            learning rate of this layer, not its initial output.
    """

    def __init__(self, in_channels: int, *, kernel: int, output_gain: float = 1.0) -> None:
        super().__init__(in_channels, 3, kernel, padding=kernel // 2, padding_mode="reflect")
        self.output_gain = output_gain
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.div_(output_gain)

    def forward(self, x: Tensor) -> Tensor:
        """Return RGB with the same height and width."""
        four = torch.stack([F.pad(self.weight, (j, 1 - j, i, 1 - i)) for i in (0, 1) for j in (0, 1)], dim=1)
        assert self.bias is not None
        border = self.kernel_size[0] // 2
        padded = F.pad(x, (border, border, border, border), mode="reflect")
        return F.pixel_shuffle(F.conv2d(padded, four.flatten(0, 1), self.bias.repeat_interleave(4), stride=2), 2)


def scaled_tanh(z: Tensor, gain: float) -> Tensor:
    """Map to 0..1, as the last layer of Johnson et al.; `gain` is a factor before the tanh."""
    return 0.5 * (torch.tanh(gain * z) + 1)


@torch.no_grad()
def init_normal_(network: nn.Module, *, std: float) -> None:
    """Draw the weights of every convolution from `N(0, std)` and set biases to 0 (Radford et al. 2016).

    CycleGAN uses 0.02. Normalisations keep scale 1 and shift 0. Weights before an output gain are divided by it.

    Raises:
        ValueError: `std` is not above 0.
    """
    if std <= 0:
        raise ValueError(f"The standard deviation of the initial weights must be above 0; got {std}.")
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.normal_(module.weight, 0.0, std)
            if isinstance(module, RgbConv):
                module.weight /= module.output_gain
            if module.bias is not None:
                nn.init.zeros_(module.bias)
