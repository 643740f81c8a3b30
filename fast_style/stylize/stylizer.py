"""A trained network, ready to paint."""

import copy
import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import numpy as np
from numpy.typing import NDArray

from fast_style.networks.metadata import generator_info
from fast_style.runtimes.cache import RuntimeUnavailable, default_cache, read_network_file
from fast_style.runtimes.onnx import OnnxRuntime
from fast_style.runtimes.openvino import OpenVino
from fast_style.runtimes.runtime import Runtime, RuntimeName
from fast_style.runtimes.select import choose, fastest

if TYPE_CHECKING:
    from torch import Tensor

    from fast_style.networks.generator import Generator

log = logging.getLogger(__name__)


class Stylizer:
    """Paints pictures in one style.

    Attributes:
        runtime: who executes the network.
        origin: what the network's file says of it: `style`, `recipe`, `version`.
    """

    def __init__(
        self, runtime: Runtime, *, origin: Mapping[str, str], file: str | os.PathLike[str] | None = None
    ) -> None:
        self.runtime = runtime
        self.origin = dict(origin)
        #: What is known of the generator, whoever executes it.
        self.info = generator_info(origin)
        self._file = file
        self._networks: dict[str, Generator] = {}

    @property
    def style(self) -> str:
        """The style's name."""
        return _style(self.origin)

    def network(self, *, device: str = "cpu") -> "Generator":
        """The network itself, in PyTorch, float32 and a device's memory, whoever executes it here.

        It is loaded once for each device, and kept.

        Raises:
            ValueError: there is none: neither a network of PyTorch's nor a file was given.
        """
        if device not in self._networks:
            self._networks[device] = self._network_on(device)
        return self._networks[device]

    def _network_on(self, device: str) -> "Generator":
        own = getattr(self.runtime, "network", None)
        if own is not None and (self.runtime.name, self.runtime.device) == ("torch", device):
            return own  # type: ignore[no-any-return] # Its weights are float32, whatever it computes in.
        if self._file is not None:
            from fast_style.networks.serialization import load_network

            return load_network(self._file)[0].to(device)
        if own is None or self.runtime.name != "torch":
            raise ValueError("This stylizer was made without a file, and has no network to paint strips with.")
        # A copy: moving the runtime's own would take it away from where it paints.
        return copy.deepcopy(own).to(device)  # type: ignore[no-any-return]

    @overload
    def __call__(self, pictures: NDArray[np.float32]) -> NDArray[np.float32]: ...
    @overload
    def __call__(self, pictures: "Tensor") -> "Tensor": ...

    def __call__(self, pictures: Any) -> Any:
        """Paint `(N, 3, H, W)`, floats in 0..1 and from 16x16 up.

        Returns:
            float32 of the same shape: an array for an array, for a tensor a tensor on its device.

        Raises:
            ValueError: pictures of another shape or type.
        """
        shape = tuple(pictures.shape)
        if len(shape) != 4 or shape[0] < 1 or shape[1] != 3 or min(shape[-2:]) < self.info.smallest:
            raise ValueError(
                f"Pictures to paint are (N, 3, H, W) with N at least 1, H and W at least {self.info.smallest}; "
                f"got {shape}."
            )
        if "float" not in str(pictures.dtype):
            raise ValueError(f"Pictures to paint are floats in 0..1; got {pictures.dtype}. Divide 0..255 by 255.")
        if isinstance(pictures, np.ndarray):
            return self.runtime.arrays(np.ascontiguousarray(pictures, np.float32))
        return self.runtime.tensors(pictures)


def load_stylizer(
    path: str | os.PathLike[str],
    *,
    runtime: str = "auto",
    precision: str = "auto",
    device: str = "auto",
    cache: str | os.PathLike[str] | None = None,
) -> Stylizer:
    """Load a network file (.safetensors) or a training checkpoint (.ckpt); no other argument is needed.

    Args:
        path: the file, or a name that `find_network` knows here: in a checkout, `starry_night`.
        runtime: `torch`, `compile`, `onnxruntime`, `openvino`; `auto` takes the fastest that is installed.
        precision: `fp32`, `bf16`, `fp16`; `auto`: bf16 where the CPU computes in it. Of photos it differs from
            float32 by about 0.01 of 1; of pictures that are all but flat, whose faint differences the normalisation
            enlarges, by more than 0.1.
        device: `cpu`, `cuda`, `mps`; `auto` takes a GPU where there is one.
        cache: folder for what runtimes prepare; None takes the system's, as ~/.cache/fast_style.

    Raises:
        ValueError: not such a file, or a damaged one; a runtime, precision or device that is not here.
    """
    file = find_network(path)
    name, place = choose(runtime, device)
    folder = Path(cache) if cache is not None else default_cache()
    candidates = fastest(place) if runtime == "auto" else [name]
    for candidate in candidates[:-1]:
        try:
            return _prepared(file, candidate, precision, place, folder)
        except RuntimeUnavailable as error:
            log.warning("A slower runtime than %s paints. %s", candidate, error)
    return _prepared(file, candidates[-1], precision, place, folder)


def _prepared(file: str | os.PathLike[str], name: RuntimeName, precision: str, device: str, cache: Path) -> Stylizer:
    if name in ("torch", "compile"):
        from fast_style.networks.serialization import load_network
        from fast_style.runtimes.pytorch import Torch, keep_compiled_in

        if name == "compile":
            keep_compiled_in(cache)
        network, origin = load_network(file)
        here = Torch(network, precision=precision, device=device, compile=name == "compile")
        return Stylizer(here, origin=origin, file=file)
    source = read_network_file(file)
    prepare = OpenVino if name == "openvino" else OnnxRuntime
    return Stylizer(prepare(source, precision=precision, device=device, cache=cache), origin=source.origin, file=file)


def style_of(path: str | os.PathLike[str]) -> str:
    """The name of the style that a network file was trained in; of a .safetensors, without torch.

    Raises:
        ValueError: not such a file, or a damaged one.
    """
    return _style(read_network_file(path).origin)


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


def _style(origin: Mapping[str, str]) -> str:
    return origin.get("style", "stylized")
