"""Load a trained network and stylize tensors or arrays with it."""

import copy
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
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
    """Stylize images in one style.

    Attributes:
        runtime: executes the network.
        origin: metadata of the network file: `style`, `recipe`, `version`.
    """

    def __init__(
        self, runtime: Runtime, *, origin: Mapping[str, str], file: str | os.PathLike[str] | None = None
    ) -> None:
        self.runtime = runtime
        self.origin = dict(origin)
        #: Facts about the generator, available for every runtime.
        self.info = generator_info(origin)
        self._file = file
        self._networks: dict[str, Generator] = {}

    @property
    def style(self) -> str:
        """The style's name."""
        return _style(self.origin)

    def network(self, *, device: str = "cpu") -> "Generator":
        """The network in PyTorch and float32 on a device, whatever the runtime; loaded once for each device.

        Raises:
            ValueError: the stylizer has neither a PyTorch network nor a file.
        """
        if device not in self._networks:
            self._networks[device] = self._network_on(device)
        return self._networks[device]

    def _network_on(self, device: str) -> "Generator":
        own = getattr(self.runtime, "network", None)
        if own is not None and (self.runtime.name, self.runtime.device) == ("torch", device):
            return own  # type: ignore[no-any-return] # Its weights are float32 at every precision.
        if self._file is not None:
            from fast_style.networks.serialization import load_network

            return load_network(self._file)[0].to(device)
        if own is None or self.runtime.name != "torch":
            raise ValueError("This stylizer was made without a file, so it has no PyTorch network for strips.")
        # A copy: moving the runtime's own network would take it off the runtime's device.
        return copy.deepcopy(own).to(device)  # type: ignore[no-any-return]

    @overload
    def __call__(self, pictures: NDArray[np.float32]) -> NDArray[np.float32]: ...
    @overload
    def __call__(self, pictures: "Tensor") -> "Tensor": ...

    def __call__(self, pictures: Any) -> Any:
        """Stylize `(N, 3, H, W)`, RGB floats in 0..1, H and W at least 16.

        Returns:
            float32 of the same shape: an array for an array, a tensor on the same device for a tensor.

        Raises:
            ValueError: another shape or dtype.
        """
        shape = tuple(pictures.shape)
        if len(shape) != 4 or shape[0] < 1 or shape[1] != 3 or min(shape[-2:]) < self.info.smallest:
            raise ValueError(
                f"Images must be (N, 3, H, W) with N at least 1, H and W at least {self.info.smallest}; got {shape}."
            )
        if "float" not in str(pictures.dtype):
            raise ValueError(f"Images must be floats in 0..1; got {pictures.dtype}. Divide 0..255 by 255.")
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
    calibration: str | os.PathLike[str] | None = None,
) -> Stylizer:
    """Load a network file (.safetensors) or a training checkpoint (.ckpt), ready to stylize.

    Args:
        path: the file, or a name in the folder `checkpoints`, such as `starry_night` in a checkout (`find_network`).
        runtime: `torch`, `compile`, `onnxruntime`, `openvino`; `auto` is the fastest one installed.
        precision: `fp32`, `bf16`, `fp16`; `auto` is bf16 where the device supports it. On photos bf16 differs from
            float32 by about 0.01 of 1. On almost flat images it differs by more than 0.1, because the normalisation
            amplifies faint differences. `int8` computes convolutions in 8-bit integers, with `openvino` only.
        device: `cpu`, `cuda`, `mps`; `auto` uses a GPU if there is one.
        cache: folder for prepared runtimes; None is the user's cache folder, such as ~/.cache/fast_style.
        calibration: for `int8`, a folder of photos on which the ranges of the integers are measured.

    Raises:
        ValueError: a missing, wrong or damaged file; a runtime, precision or device that is not available.
    """
    file = find_network(path)
    if precision == "int8" and runtime == "auto":
        runtime = "openvino"  # The only one that computes in 8-bit integers.
    name, place = choose(runtime, device)
    folder = Path(cache) if cache is not None else default_cache()
    candidates = fastest(place) if runtime == "auto" else [name]
    prepare = partial(_prepared, file, precision=precision, device=place, cache=folder, calibration=calibration)
    for candidate in candidates[:-1]:
        try:
            return prepare(candidate)
        except RuntimeUnavailable as error:
            log.warning("Using a slower runtime instead of %s. %s", candidate, error)
    return prepare(candidates[-1])


def _prepared(
    file: str | os.PathLike[str],
    name: RuntimeName,
    *,
    precision: str,
    device: str,
    cache: Path,
    calibration: str | os.PathLike[str] | None,
) -> Stylizer:
    if name in ("torch", "compile"):
        from fast_style.networks.serialization import load_network
        from fast_style.runtimes.pytorch import Torch, keep_compiled_in

        if name == "compile":
            keep_compiled_in(cache)
        network, origin = load_network(file)
        here = Torch(network, precision=precision, device=device, compile=name == "compile")
        return Stylizer(here, origin=origin, file=file)
    source = read_network_file(file)
    made = _from_file(name, calibration)(source, precision=precision, device=device, cache=cache)
    return Stylizer(made, origin=source.origin, file=file)


def _from_file(name: RuntimeName, calibration: str | os.PathLike[str] | None) -> Callable[..., Runtime]:
    """The class of a runtime that reads the network file itself."""
    return partial(OpenVino, calibration=calibration) if name == "openvino" else OnnxRuntime


def style_of(path: str | os.PathLike[str]) -> str:
    """The style name of a network file; reading it from a .safetensors file needs no torch.

    Raises:
        ValueError: a missing, wrong or damaged file.
    """
    return _style(read_network_file(path).origin)


def find_network(
    path: str | os.PathLike[str], folders: Sequence[str | os.PathLike[str]] = ("checkpoints",)
) -> str | os.PathLike[str]:
    """Resolve a path or a network name: the file at this path, else the network of this name in the first folder.

    Names refer to the files in `folders`, relative to the current folder by default: the installed package contains no
    networks.

    Raises:
        ValueError: an unknown name; the message lists the known names.
    """
    given = Path(path)
    if given.is_file() or given.suffix in (".safetensors", ".ckpt"):
        return path
    # Reversed, so that earlier folders override later ones.
    known = {
        file.relative_to(folder).with_suffix("").as_posix(): file
        for folder in reversed(folders)
        for pattern in ("*.safetensors", "*/*.safetensors")
        for file in sorted(Path(folder).glob(pattern))
    }
    if str(path) not in known and given.name != str(path):
        return path
    if str(path) not in known:
        raise ValueError(
            f"{path} is neither a file nor the name of a network in {' or '.join(map(str, folders))}; "
            f"known names: {', '.join(sorted(known)) or 'none'}."
        )
    return known[str(path)]


def _style(origin: Mapping[str, str]) -> str:
    return origin.get("style", "stylized")
