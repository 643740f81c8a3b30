"""The generator contract: the only interface between a network that stylizes and the rest of the package.

A new generator needs a subclass in its own file, an entry in `serialization.GENERATORS` and a YAML file in
`conf/generator/`. Code outside `networks/` must not name a subclass or access its layers.
"""

from abc import ABC, abstractmethod
from typing import Any

from torch import Tensor, nn

from fast_style.networks.blocks import init_normal_
from fast_style.networks.strip_plan import StripPlan


class Generator(nn.Module, ABC):
    """Stylizes images `(N, 3, H, W)` in 0..1; the result has the same shape and range.

    Attributes:
        architecture: constructor arguments as plain values; `type(self)(**architecture)` builds the same network.
        smallest: minimum height and width in pixels; smaller images raise a ValueError.
        border: pixels of reflection padding on every side, which unpadded layers of the network consume.
        full_size_channels: memory for stylizing, as a number of float32 channels at full image size: the channels of
            the widest features there; if they are few, smaller features and the image are added (see `FastNet`).
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
