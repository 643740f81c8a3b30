"""The figures of one part: written to a file after each measurement, so that a part that dies keeps them."""

import json
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fast_style.atomic_files import atomic_write
from gpu_parts.sizes import Sizes


@dataclass
class Figures:
    """What a part knows and what it has measured.

    Attributes:
        file: JSON file of this part.
        sizes: how much to measure.
        folder: folder that all parts share, for photos and caches; deleted at the end.
        earlier: figures of the parts that ran before, by name.
        limit: seconds after which the parent ends this part.
        imported: seconds of the imports, before the part started.
    """

    file: Path
    sizes: Sizes
    folder: Path
    earlier: dict[str, dict[str, Any]]
    limit: float
    imported: float = 0.0
    values: dict[str, Any] = field(default_factory=dict)
    started: float = field(default_factory=time.monotonic)

    def note(self, name: str, value: Any) -> None:
        """Add a figure, or a group of figures, and write the file."""
        self.values[name] = value
        self.write()

    def write(self, **more: str) -> None:
        """Write the file."""
        with atomic_write(self.file) as file:
            file.write(json.dumps({"figures": self.values, **more}).encode())

    def passed(self) -> float:
        """Seconds since the start of a process that does the same alone: its imports and all since then."""
        return self.imported + time.monotonic() - self.started

    def left(self) -> float:
        """Seconds until the limit."""
        return self.limit - (time.monotonic() - self.started)


def sentence(error: BaseException) -> str:
    """One line about an error: its type and the first line of its message."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0]}"[:300] if lines else type(error).__name__
