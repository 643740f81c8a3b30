"""Network files: weights, architecture and training recipe in one safetensors file.

Loading needs no other argument. Untrusted files are only data: the reader accepts a safetensors file or a pickle of
plain tensors, and never runs code from a file.
"""

import json
import os
import pickle
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from fast_style.atomic_files import atomic_write
from fast_style.networks.fast_net import FastNet
from fast_style.networks.generator import Generator
from fast_style.networks.metadata import cleaned
from fast_style.networks.transform_net import TransformNet

FORMAT = "fast_style/1"
LARGEST_FILE = 2**32  # Bytes; the largest valid file, a full VGG-19, has 575 MB.
#: The only classes that a network file can build.
GENERATORS: dict[str, type[Generator]] = {"FastNet": FastNet, "TransformNet": TransformNet}

WeightPrecision = Literal["fp32", "fp16"]


def describe(network: Generator, origin: Mapping[str, str]) -> dict[str, str]:
    """Return the metadata of a network file: text by name, as safetensors requires."""
    return {
        "format": FORMAT,
        "network": type(network).__name__,
        "architecture": json.dumps(network.architecture),
        # For runtimes without PyTorch; `metadata.generator_info` reads these values.
        "smallest": str(network.smallest),
        "full_size_channels": str(network.full_size_channels),
        "num_styles": str(network.num_styles),
        **origin,
    }


def save_network(
    path: str | os.PathLike[str],
    network: Generator,
    *,
    origin: Mapping[str, str],
    precision: WeightPrecision = "fp32",
) -> None:
    """Write a network file atomically.

    Args:
        path: the file; missing folders are created.
        network: an instance of a class in `GENERATORS`.
        origin: metadata such as `style`, `recipe` and `version`.
        precision: precision of the stored weights; `fp16` halves the file size and changes pixels only by rounding.

    Raises:
        ValueError: a weight is not finite; an existing file is kept.
    """
    dtype = torch.float16 if precision == "fp16" else torch.float32
    tensors = {name: tensor.detach().cpu().to(dtype).contiguous() for name, tensor in network.state_dict().items()}
    check_finite(tensors, path)
    with atomic_write(path) as file:
        file.write(save(tensors, metadata=describe(network, origin)))


def check_finite(tensors: Mapping[str, Tensor], path: str | os.PathLike[str]) -> None:
    """Raise a ValueError if a weight is NaN or infinite, so that such a network never overwrites a good file."""
    broken = [name for name, tensor in tensors.items() if not tensor.isfinite().all()]
    if broken:
        raise ValueError(
            f"Weights of the network are NaN or infinite (first: {broken[0]}), so {os.fspath(path)} was not written. "
            "The training diverged; resume from an earlier checkpoint or use a lower learning rate."
        )


def load_network(path: str | os.PathLike[str]) -> tuple[Generator, dict[str, str]]:
    """Load a network and its metadata from a network file or from a training checkpoint.

    Raises:
        ValueError: the file is no network file, is damaged, has a newer format, or is a pickle that would run code.
    """
    tensors, metadata = read_tensors(path)
    return rebuild(tensors, metadata, source=str(path)), metadata


def rebuild(tensors: Mapping[str, Tensor], metadata: Mapping[str, str], *, source: str) -> Generator:
    """Build the network that `metadata` describes, with the weights `tensors`, in float32 and eval mode."""
    if metadata.get("format") != FORMAT:
        raise ValueError(
            f"{source} is no network file of fast_style: expected format {FORMAT!r}, found "
            f"{metadata.get('format', 'none')!r}; train a network with scripts/train.py."
        )
    if metadata.get("network") not in GENERATORS:
        raise ValueError(
            f"{source} needs the generator {metadata.get('network')}, but GENERATORS only has {', '.join(GENERATORS)}: "
            "add the class to fast_style/networks/serialization.py."
        )
    try:
        build = GENERATORS[metadata["network"]]
        # On the meta device, without memory: a damaged file may state any width, and initial weights are not needed.
        with torch.device("meta"):
            network = build(**json.loads(metadata["architecture"]))
        network.load_state_dict({name: tensor.float().contiguous() for name, tensor in tensors.items()}, assign=True)
    except (KeyError, TypeError, RuntimeError, ValueError) as error:
        raise ValueError(
            f"{source} is damaged: its weights do not fit its architecture ({_first_line(error)})."
        ) from error
    return network.eval()


def read_tensors(path: str | os.PathLike[str]) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return tensors and metadata of a safetensors file, a plain state_dict, or a fast_style training checkpoint.

    Raises:
        ValueError: the file is missing, too large or damaged, or is a pickle that would run code.
    """
    path = Path(path)
    if not path.is_file():
        found = "a folder" if path.is_dir() else "nothing"
        raise ValueError(f"Expected a file of weights at {path}, found {found}; check the path.")
    if path.stat().st_size > LARGEST_FILE:
        raise ValueError(
            f"{path} has over {LARGEST_FILE:,} bytes, which is larger than any network file of fast_style."
        )
    return _read_safetensors(path) if path.suffix == ".safetensors" else _read_pickle(path)


def _read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    try:
        with safe_open(path, framework="pt") as file:
            names = list(file.keys())
            return {name: file.get_tensor(name) for name in names}, cleaned(file.metadata() or {})
    except (OSError, SafetensorError) as error:
        raise ValueError(
            f"{path} is not a complete safetensors file ({_first_line(error)}); copy or create it again."
        ) from error


def _read_pickle(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Unusual pickles warn; the errors below cover unreadable files.
            content: Any = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ValueError(
            f"{path} is damaged, or is a pickle that would run code when loaded. Ask its author for a .safetensors "
            "file."
        ) from error
    except (OSError, RuntimeError, EOFError, ValueError, KeyError) as error:
        raise ValueError(f"{path} is not a complete PyTorch file ({_first_line(error)}).") from error
    if isinstance(content, dict) and "fast_style" in content:
        ours = content["fast_style"]
        if not isinstance(ours, dict) or not all(isinstance(ours.get(part), dict) for part in ("tensors", "metadata")):
            raise ValueError(f"{path} is damaged: the checkpoint contains no network.")
        return dict(ours["tensors"]), cleaned(ours["metadata"])
    if not isinstance(content, dict) or not all(isinstance(v, Tensor) for v in content.values()):
        raise ValueError(f"{path} holds no state_dict (a mapping of names to tensors).")
    return content, {}


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
