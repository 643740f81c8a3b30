"""A trained network, ready to paint."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

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
        path: the file, or a name that `find_network` knows here: in a checkout, `starry_night`.
        device: `cpu`, `cuda`, ...; None takes CUDA where there is one.

    Raises:
        ValueError: not such a file, or a damaged one.
    """
    network, origin = load_network(find_network(path))
    return Stylizer(network, origin=origin, device=device)


def find_network(
    path: str | os.PathLike[str], folders: Sequence[str | os.PathLike[str]] = ("checkpoints",)
) -> str | os.PathLike[str]:
    """The file that is meant: the one at this path, else the network of this name in the first folder that has it.

    The installed package brings no networks: names are of what lies in `folders`, by default below the current one.

    Raises:
        ValueError: no such name; the sentence lists those there are.
    """
    given = Path(path)
    if given.is_file() or given.suffix in (".safetensors", ".ckpt"):
        return path
    # The first folder goes before the others.
    known = {
        file.relative_to(folder).with_suffix("").as_posix(): file
        for folder in reversed(folders)
        for pattern in ("*.safetensors", "trained/*.safetensors")
        for file in sorted(Path(folder).glob(pattern))
    }
    if str(path) not in known and given.name != str(path):
        return path
    if str(path) not in known:
        raise ValueError(
            f"{path} is neither a file nor the name of a network in {' or '.join(map(str, folders))}; "
            f"there are {', '.join(sorted(known)) or 'none'}."
        )
    return known[str(path)]
