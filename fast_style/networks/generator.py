"""The generator contract: the only interface between a network that stylizes and the rest of the package.

A new generator needs a subclass in its own file, an entry in `serialization.GENERATORS` and a YAML file in
`conf/generator/`. Code outside `networks/` must not name a subclass or access its layers.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from fast_style.networks.blocks import init_normal_
from fast_style.networks.layers import InstanceNorm


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
class PixelShuffle:
    """Channels to pixels: `(N, C factor^2, H, W)` to `(N, C, factor H, factor W)`, as `torch.nn.PixelShuffle`."""

    factor: int


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


StripStep = Convolution | Upsampling | PixelShuffle | Normalization | Residual | Pointwise | AddInput


@dataclass(frozen=True)
class StripPlan:
    """A generator as a chain of steps that can be computed strip by strip (`stylize/tiled/`).

    Attributes:
        multiple: height and width are padded by reflection to a multiple of this, and the result is cropped again.
        steps: the steps for the padded image `(1, 3, H, W)` in 0..1, in order.
    """

    multiple: int
    steps: tuple[StripStep, ...]


class Generator(nn.Module, ABC):
    """Stylizes images `(N, 3, H, W)` in 0..1; the result has the same shape and range.

    Attributes:
        architecture: constructor arguments as plain values; `type(self)(**architecture)` builds the same network.
        smallest: minimum height and width in pixels; smaller images raise a ValueError.
        border: pixels of reflection padding on every side, which unpadded layers of the network consume.
        full_size_channels: channels of the widest features at full image size. The memory for stylizing is proportional
            to this number.
        num_styles: number of styles in the network.
    """

    architecture: dict[str, Any]
    smallest: int
    full_size_channels: int
    border: int = 0
    num_styles: int = 1

    @abstractmethod
    def forward(self, pictures: Tensor) -> Tensor:
        """Stylize `(N, 3, H, W)` in 0..1.

        Raises:
            ValueError: as in `check_pictures`.
        """

    def strip_plan(self) -> StripPlan:
        """Return the network as steps that can be computed strip by strip.

        Raises:
            ValueError: the network cannot be computed in strips; the message gives the reason.
        """
        raise ValueError(f"The generator {type(self).__name__} cannot run in strips; use tiles=off or a smaller size=.")

    def init_normal_(self, std: float) -> None:
        """Draw the weights of all convolutions from `N(0, std)`, once after construction; see `blocks.init_normal_`."""
        init_normal_(self, std=std)

    def check_pictures(self, pictures: Tensor) -> None:
        """Raise a ValueError unless the images are `(N, 3, H, W)` with H and W at least `smallest`."""
        if pictures.ndim != 4 or pictures.shape[1] != 3 or min(pictures.shape[-2:]) < self.smallest:
            raise ValueError(
                f"A generator needs images (N, 3, H, W) with H and W at least {self.smallest}; got "
                f"{tuple(pictures.shape)}."
            )
