"""Photos on which the ranges of 8-bit integers are measured (`precision=int8`)."""

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fast_style.data.bundled_files import find_bundled
from fast_style.images.listing import find_pictures

PHOTOS = 12  # More of them changed nothing in our measurements.
SIZE = 384  # Shorter side in pixels.


@dataclass(frozen=True)
class Calibration:
    """The first photos of a folder, by name.

    Attributes:
        files: their paths.
    """

    files: tuple[str, ...]

    @classmethod
    def from_folder(cls, folder: str | os.PathLike[str]) -> "Calibration":
        """The first 12 photos of a folder, such as `data/samples`, which comes with the project.

        Raises:
            ValueError: no folder, or a folder without images.
        """
        return cls(tuple(find_pictures(find_bundled(folder))[:PHOTOS]))

    def digest(self) -> str:
        """SHA-256 of the bytes of all files, shortened to 12 hex digits."""
        digest = hashlib.sha256()
        for file in self.files:
            digest.update(hashlib.sha256(Path(file).read_bytes()).digest())
        return digest.hexdigest()[:12]

    def photos(self) -> list[NDArray[np.float32]]:
        """The photos `(1, 3, H, W)`, RGB in 0..1, with a shorter side of 384 pixels.

        Raises:
            ValueError: a file that cannot be read as an image.
        """
        from fast_style.images.tensors import load_image

        return [load_image(file, size=SIZE).numpy() for file in self.files]
