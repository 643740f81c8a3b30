"""The contract of a generator: what the rest of the package may know of a network that paints.

A new generator is a subclass in a file of its own, a line in `serialization.GENERATORS` and a YAML in
`conf/generator/`. Nobody outside `networks/` names a subclass or reads its parts.
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
    """A convolution of any stride, dilation and groups, padded by reflection by half of what its kernel spans.

    Raises:
        ValueError: a kernel that is not square, or of an even side.
    """

    conv: nn.Conv2d

    def __post_init__(self) -> None:
        height, width = self.conv.kernel_size
        if height != width or height % 2 == 0:
            raise ValueError(f"A convolution in strips has a square kernel of an odd side; got {height}x{width}.")


@dataclass(frozen=True)
class Upsampling:
    """A stride-1/2 convolution by `kernel` `(C, C', K, K)`, K of 3 or 4; its input is extended by reflection."""

    kernel: Tensor


@dataclass(frozen=True)
class Normalization:
    """An instance normalisation over the whole picture, then a ReLU if there is one."""

    norm: InstanceNorm
    relu: bool


@dataclass(frozen=True)
class Residual:
    """`x + branch(x)`, both of one size."""

    branch: tuple["StripStep", ...]


@dataclass(frozen=True)
class Pointwise:
    """A function of each value on its own."""

    function: Callable[[Tensor], Tensor]


StripStep = Convolution | Upsampling | Normalization | Residual | Pointwise


@dataclass(frozen=True)
class StripPlan:
    """A generator as a chain of steps that can be computed strip by strip (`stylize/tiled/`).

    Attributes:
        multiple: the picture's height and width are extended by reflection to multiples of this, and cropped again.
        steps: what the extended picture `(1, 3, H, W)` in 0..1 goes through.
    """

    multiple: int
    steps: tuple[StripStep, ...]


class Generator(nn.Module, ABC):
    """Paints pictures `(N, 3, H, W)` in 0..1; the result has the same shape and range.

    Attributes:
        architecture: the constructor's arguments as plain values: `type(self)(**architecture)` is the same network.
        smallest: pixels a side below which a picture is refused.
        border: pixels by which the picture is extended by reflection on every side, and which the network consumes.
        full_size_channels: of the widest features of the picture's own height and width; the memory that painting
            takes is proportional to it.
        num_styles: how many styles the network holds.
    """

    architecture: dict[str, Any]
    smallest: int
    full_size_channels: int
    border: int = 0
    num_styles: int = 1

    @abstractmethod
    def forward(self, pictures: Tensor) -> Tensor:
        """Paint.

        Raises:
            ValueError: as `check_pictures`.
        """

    def strip_plan(self) -> StripPlan:
        """The network as steps that can be computed strip by strip.

        Raises:
            ValueError: it can't be; the sentence says why.
        """
        raise ValueError(f"A {type(self).__name__} can't be run in strips; take tiles=off, or a smaller size=.")

    def init_normal_(self, std: float) -> None:
        """Draw all convolutions' weights from `N(0, std)`, as `blocks.init_normal_`; once, after construction."""
        init_normal_(self, std=std)

    def check_pictures(self, pictures: Tensor) -> None:
        """ValueError unless these are `(N, 3, H, W)` with H and W at least `smallest`."""
        if pictures.ndim != 4 or pictures.shape[1] != 3 or min(pictures.shape[-2:]) < self.smallest:
            raise ValueError(
                f"Pictures to paint are (N, 3, H, W) with H and W at least {self.smallest}; got "
                f"{tuple(pictures.shape)}."
            )
