"""Read the metadata of a network file without torch, because importing torch takes seconds."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError, safe_open

from fast_style.atomic_files import safe_file_name

#: Metadata that becomes part of file names.
_NAMES = ("style", "direction")
_NUMBERS = ("smallest", "full_size_channels", "num_styles")


@dataclass(frozen=True)
class GeneratorInfo:
    """Properties of a saved generator that are known without building it; see `generator.Generator`.

    Attributes:
        smallest: minimum height and width in pixels.
        full_size_channels: channels at full image size; the memory for stylizing is proportional to this number.
        num_styles: number of styles in the network.
    """

    smallest: int = 16
    full_size_channels: int = 32
    num_styles: int = 1


def read_header(path: str | os.PathLike[str]) -> dict[str, str]:
    """Return the `cleaned` metadata of a safetensors file: `style`, `recipe`, `version`, ...

    Raises:
        ValueError: the file is missing or is no complete safetensors file.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(
            f"Expected a network file at {path}, found {'a folder' if path.is_dir() else 'nothing'}; check the path."
        )
    try:
        with safe_open(path, framework="numpy") as file:
            return cleaned(file.metadata() or {})
    except (OSError, SafetensorError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ValueError(f"{path} is not a complete safetensors file ({reason}); copy or create it again.") from error


def cleaned(metadata: Mapping[object, object]) -> dict[str, str]:
    """Make the metadata of an untrusted file safe for file names and for the terminal.

    `style` and `direction` become safe file names: a style called `../../x` would otherwise leave the output folder. In
    other values, unprintable characters are removed.
    """
    text = {str(key): str(value) for key, value in metadata.items()}
    return {
        key: safe_file_name(value) if key in _NAMES else "".join(c for c in value if c.isprintable() or c in "\n\t")
        for key, value in text.items()
    }


def generator_info(metadata: Mapping[str, str]) -> GeneratorInfo:
    """Read the generator properties from metadata; files of the first release contain only the architecture.

    Raises:
        ValueError: the values are no valid numbers.
    """
    try:
        width = json.loads(metadata.get("architecture", "{}")).get("width", GeneratorInfo.full_size_channels)
        said = {"full_size_channels": width} | {name: metadata[name] for name in _NUMBERS if name in metadata}
        info = GeneratorInfo(**{name: int(value) for name, value in said.items()})
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(
            f"The network file is damaged: the generator properties in its metadata are invalid ({error})."
        ) from error
    if min(info.smallest, info.full_size_channels, info.num_styles) < 1:
        raise ValueError(f"The network file is damaged: generator properties must be at least 1; got {info}.")
    return info
