"""What a network file says of itself, read without torch, whose import takes seconds."""

import os
from pathlib import Path

from safetensors import SafetensorError, safe_open


def read_header(path: str | os.PathLike[str]) -> dict[str, str]:
    """The metadata of a safetensors file: `style`, `recipe`, `version`, ...

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
            return dict(file.metadata() or {})
    except (OSError, SafetensorError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ValueError(f"{path} is no whole safetensors file ({reason}); copy or make it again.") from error
