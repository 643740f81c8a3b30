"""Generators as chains of steps that can be computed strip by strip (`stylize/tiled/`)."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

from fast_style.networks.blocks import BilinearConv, CoarseLevel, FractionalConv, ResidualBlock, ResizeConv
from fast_style.networks.layers import InstanceNorm, ReLU


@dataclass(frozen=True)
class Convolution:
    """A convolution with any stride, dilation and groups, padded by reflection by half of its dilated kernel size.

    Raises:
        ValueError: the kernel is not square, or its size is even.
    """

    conv: nn.Conv2d

    def __post_init__(self) -> None:
        height, width = self.conv.kernel_size
        if height != width or height % 2 == 0:
            raise ValueError(f"A convolution in strips needs a square kernel of odd size; got {height}x{width}.")


@dataclass(frozen=True)
class Upsampling:
    """A stride-1/2 convolution with `kernel` `(C, C', K, K)`, K = 3 or 4; its input is padded by reflection."""

    kernel: Tensor


@dataclass(frozen=True)
class BilinearUpsampling:
    """Bilinear interpolation to twice the size, as `torch.nn.functional.interpolate` with `align_corners=False`."""


@dataclass(frozen=True)
class Normalization:
    """Instance normalisation over the whole image, followed by a ReLU if `relu` is true."""

    norm: InstanceNorm
    relu: bool


@dataclass(frozen=True)
class Residual:
    """`x + branch(x)`; the result of the branch has the size of x, but the branch may compute at a smaller size."""

    branch: tuple["StripStep", ...]


@dataclass(frozen=True)
class Pointwise:
    """An elementwise function."""

    function: Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class AddInput:
    """Adds a function of the network's input image; the features have its channels and size."""

    function: Callable[[Tensor], Tensor]


StripStep = Convolution | Upsampling | BilinearUpsampling | Normalization | Residual | Pointwise | AddInput


@dataclass(frozen=True)
class StripPlan:
    """A generator as a chain of steps that can be computed strip by strip (`stylize/tiled/`).

    Attributes:
        multiple: height and width are padded by reflection to a multiple of this, and the result is cropped again.
        steps: the steps for the padded image `(1, 3, H, W)` in 0..1, in order.
    """

    multiple: int
    steps: tuple[StripStep, ...]


def strip_steps(layer: nn.Module) -> Iterator[StripStep]:
    """Yield the steps of the layers and blocks of `networks/`, in order.

    Raises:
        ValueError: a layer that has no step, or a convolution that `Convolution` does not support.
    """
    match layer:
        case nn.Sequential():
            layers = list(layer)
            for before, this, after in zip([None, *layers], layers, [*layers[1:], None], strict=False):
                if isinstance(this, InstanceNorm):
                    yield Normalization(this, relu=isinstance(after, ReLU))
                elif not (isinstance(this, ReLU) and isinstance(before, InstanceNorm)):
                    yield from strip_steps(this)
        case ResidualBlock(branch=branch) | CoarseLevel(branch=branch):
            yield Residual(tuple(strip_steps(branch)))
        case FractionalConv() | ResizeConv():
            yield Upsampling(layer.kernel())
        case BilinearConv(layers=layers):
            yield from strip_steps(layers)
            yield BilinearUpsampling()
        case nn.Conv2d():
            yield Convolution(layer)
        case ReLU():
            yield Pointwise(F.relu)
        case _:
            raise ValueError(
                f"The layer {type(layer).__name__} cannot run in strips; use tiles=off or a smaller size=."
            )
