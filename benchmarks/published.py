"""The network of pytorch/examples (fast_neural_style), in plain layers: what people run today."""

from torch import Tensor, nn


def _conv(in_channels: int, out_channels: int, kernel: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(nn.ReflectionPad2d(kernel // 2), nn.Conv2d(in_channels, out_channels, kernel, stride))


def _block(in_channels: int, out_channels: int, kernel: int, stride: int = 1, *, upsample: bool = False) -> nn.Module:
    return nn.Sequential(
        *([nn.Upsample(scale_factor=2, mode="nearest")] if upsample else []),
        _conv(in_channels, out_channels, kernel, stride),
        nn.InstanceNorm2d(out_channels, affine=True),
        nn.ReLU(),
    )


class _Residual(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.branch = nn.Sequential(
            _block(channels, channels, 3), _conv(channels, channels, 3), nn.InstanceNorm2d(channels, affine=True)
        )

    def forward(self, x: Tensor) -> Tensor:
        summed: Tensor = x + self.branch(x)
        return summed


def published_network() -> nn.Sequential:
    """Return the network for images `(N, 3, H, W)`, H and W multiples of 4; 40 GMAC at 512x512."""
    return nn.Sequential(
        _block(3, 32, 9),
        _block(32, 64, 3, 2),
        _block(64, 128, 3, 2),
        *(_Residual(128) for _ in range(5)),
        _block(128, 64, 3, upsample=True),
        _block(64, 32, 3, upsample=True),
        _conv(32, 3, 9),
    )
