"""A trained network, ready to paint."""

import os
from collections.abc import Mapping

import torch
from torch import Tensor

from fast_style.devices import usable_device
from fast_style.networks.saved import load_network
from fast_style.networks.transform_net import TransformNet


class Stylizer:
    """Paints pictures in one style.

    Attributes:
        origin: what the network's file says of it: `style`, `recipe`, `version`.
    """

    def __init__(self, network: TransformNet, *, origin: Mapping[str, str], device: str | None = "cpu") -> None:
        self.device = usable_device(device)
        self.network = network.to(self.device)
        self.origin = dict(origin)

    @property
    def style(self) -> str:
        """The style's name."""
        return self.origin.get("style", "stylized")

    @torch.inference_mode()
    def __call__(self, pictures: Tensor) -> Tensor:
        """Paint `(N, 3, H, W)`, float32 in 0..1 and from 16x16 up; the result has the same shape and device.

        Raises:
            ValueError: pictures of another shape or type.
        """
        if not pictures.is_floating_point():
            raise ValueError(f"Pictures to paint are floats in 0..1; got {pictures.dtype}. Divide 0..255 by 255.")
        painted: Tensor = self.network(pictures.to(self.device, torch.float32))
        return painted.to(pictures.device)


def load_stylizer(path: str | os.PathLike[str], *, device: str | None = None) -> Stylizer:
    """Load a network file (.safetensors) or a training checkpoint (.ckpt); no other argument is needed.

    Args:
        path: the file.
        device: `cpu`, `cuda`, ...; None takes CUDA where there is one.

    Raises:
        ValueError: not such a file, or a damaged one.
    """
    network, origin = load_network(path)
    return Stylizer(network, origin=origin, device=device)
