"""What a network file says of itself, read without torch, whose import takes seconds."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError, safe_open

from fast_style.atomic_files import safe_file_name

#: Metadata that becomes a part of file names.
_NAMES = ("style", "direction")
_NUMBERS = ("smallest", "full_size_channels", "num_styles")


@dataclass(frozen=True)
class GeneratorInfo:
    """What is known of a saved generator without building it; see `generator.Generator`.

    Attributes:
        smallest: pixels a side below which a picture is refused.
        full_size_channels: the memory that painting takes is proportional to it.
        num_styles: how many styles the network holds.
    """

    smallest: int = 16
    full_size_channels: int = 32
    num_styles: int = 1


def read_header(path: str | os.PathLike[str]) -> dict[str, str]:
    """The metadata of a safetensors file, `cleaned`: `style`, `recipe`, `version`, ...

    Raises:
        ValueError: no whole safetensors file.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(
            f"A network file was wanted at {path}, where there is {'a folder' if path.is_dir() else 'nothing'}."
        )
    try:
        with safe_open(path, framework="numpy") as file:
            return cleaned(file.metadata() or {})
    except (OSError, SafetensorError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ValueError(f"{path} is no whole safetensors file ({reason}); copy or make it again.") from error


def cleaned(metadata: Mapping[object, object]) -> dict[str, str]:
    """Metadata of a file from outside: names that are safe within file names, and text that a terminal only prints.

    A style called `../../x` would otherwise lead out of the output folder.
    """
    text = {str(key): str(value) for key, value in metadata.items()}
    return {
        key: safe_file_name(value) if key in _NAMES else "".join(c for c in value if c.isprintable() or c in "\n\t")
        for key, value in text.items()
    }


def generator_info(metadata: Mapping[str, str]) -> GeneratorInfo:
    """What a network file's metadata says of its generator; files of the first release only have the architecture.

    Raises:
        ValueError: no such numbers.
    """
    try:
        width = json.loads(metadata.get("architecture", "{}")).get("width", GeneratorInfo.full_size_channels)
        said = {"full_size_channels": width} | {name: metadata[name] for name in _NUMBERS if name in metadata}
        info = GeneratorInfo(**{name: int(value) for name, value in said.items()})
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(
            f"The network file is damaged: what it says of its generator can't be read ({error})."
        ) from error
    if min(info.smallest, info.full_size_channels, info.num_styles) < 1:
        raise ValueError(f"The network file is damaged: numbers of its generator are below 1 ({info}).")
    return info
