"""A network file that rebuilds itself: weights, architecture and origin in one safetensors file.

Nobody has to remember the flags a network was trained with. Files from outside are data: a safetensors header or a
pickle of plain tensors is read, code never runs.
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
from fast_style.networks.generator import Generator
from fast_style.networks.metadata import cleaned
from fast_style.networks.transform_net import TransformNet

FORMAT = "fast_style/1"
LARGEST_FILE = 2**32  # Bytes; the largest honest file, a full VGG-19, has 575 MB.
#: What a network file may name; nothing else is ever built of one.
GENERATORS: dict[str, type[Generator]] = {"TransformNet": TransformNet}

WeightPrecision = Literal["fp32", "fp16"]


def describe(network: Generator, origin: Mapping[str, str]) -> dict[str, str]:
    """Everything but the weights that a network file says: text by name, as safetensors metadata wants it."""
    return {
        "format": FORMAT,
        "network": type(network).__name__,
        "architecture": json.dumps(network.architecture),
        # For those who run the network without PyTorch; `metadata.generator_info` reads them.
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
    """Write the slim file of a network, whole or not at all.

    Args:
        path: where; missing folders are made.
        network: any of `GENERATORS`.
        origin: `style`, `recipe`, `version` and whatever else is worth knowing of where it came from.
        precision: of the stored weights; `fp16` halves the file and moves no pixel by more than rounding.

    Raises:
        ValueError: weights that are not finite; a file that is there stays.
    """
    dtype = torch.float16 if precision == "fp16" else torch.float32
    tensors = {name: tensor.detach().cpu().to(dtype).contiguous() for name, tensor in network.state_dict().items()}
    check_finite(tensors, path)
    with atomic_write(path) as file:
        file.write(save(tensors, metadata=describe(network, origin)))


def check_finite(tensors: Mapping[str, Tensor], path: str | os.PathLike[str]) -> None:
    """ValueError if any weight is NaN or infinite: such a network must not take a good file's place."""
    broken = [name for name, tensor in tensors.items() if not tensor.isfinite().all()]
    if broken:
        raise ValueError(
            f"The network has weights that are NaN or infinite ({broken[0]} the first), so {os.fspath(path)} was not "
            "written: the training diverged; go on from an earlier checkpoint, or with a lower learning rate."
        )


def load_network(path: str | os.PathLike[str]) -> tuple[Generator, dict[str, str]]:
    """Rebuild a network from its slim file, or from a training checkpoint, with the metadata it carries.

    Raises:
        ValueError: not such a file, damaged, from a newer format, or a pickle that wants to run code.
    """
    tensors, metadata = read_tensors(path)
    return rebuild(tensors, metadata, source=str(path)), metadata


def rebuild(tensors: Mapping[str, Tensor], metadata: Mapping[str, str], *, source: str) -> Generator:
    """Make the network that `metadata` describes and fill it with `tensors`, in float32 and eval mode."""
    if metadata.get("format") != FORMAT:
        raise ValueError(
            f"{source} is no network file of fast_style (format {FORMAT!r}, found "
            f"{metadata.get('format', 'none')!r}); train one with scripts/train.py."
        )
    try:
        build = GENERATORS[metadata["network"]]
        # Without memory of its own: a damaged file may claim any width, and random weights would be thrown away.
        with torch.device("meta"):
            network = build(**json.loads(metadata["architecture"]))
        network.load_state_dict({name: tensor.float().contiguous() for name, tensor in tensors.items()}, assign=True)
    except (KeyError, TypeError, RuntimeError, ValueError) as error:
        raise ValueError(
            f"{source} is damaged: its weights do not fit the network it describes ({_first_line(error)})."
        ) from error
    return network.eval()


def read_tensors(path: str | os.PathLike[str]) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors and metadata of a safetensors file, a plain state_dict, or a training checkpoint of ours.

    Raises:
        ValueError: a missing, oversized or damaged file, or a pickle that wants to run code.
    """
    path = Path(path)
    if not path.is_file():
        found = "a folder" if path.is_dir() else "nothing"
        raise ValueError(f"A file of weights was wanted at {path}, where there is {found}.")
    if path.stat().st_size > LARGEST_FILE:
        raise ValueError(f"{path} has over {LARGEST_FILE:,} bytes, more than any network file of ours.")
    return _read_safetensors(path) if path.suffix == ".safetensors" else _read_pickle(path)


def _read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    try:
        with safe_open(path, framework="pt") as file:
            names = list(file.keys())
            return {name: file.get_tensor(name) for name in names}, cleaned(file.metadata() or {})
    except (OSError, SafetensorError) as error:
        raise ValueError(
            f"{path} is no whole safetensors file ({_first_line(error)}); copy or make it again."
        ) from error


def _read_pickle(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Of odd pickles; what cannot be read is said below.
            content: Any = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ValueError(
            f"{path} is not read: it is damaged, or a pickle that would run code when loaded. Ask its maker for a "
            ".safetensors file."
        ) from error
    except (OSError, RuntimeError, EOFError, ValueError, KeyError) as error:
        raise ValueError(f"{path} is no whole PyTorch file ({_first_line(error)}).") from error
    if isinstance(content, dict) and "fast_style" in content:
        ours = content["fast_style"]
        if not isinstance(ours, dict) or not all(isinstance(ours.get(part), dict) for part in ("tensors", "metadata")):
            raise ValueError(f"{path} is damaged: the network is missing from this checkpoint.")
        return dict(ours["tensors"]), cleaned(ours["metadata"])
    if not isinstance(content, dict) or not all(isinstance(v, Tensor) for v in content.values()):
        raise ValueError(f"{path} holds no state_dict (a mapping of names to tensors).")
    return content, {}


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
