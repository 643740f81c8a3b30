"""Photos from a folder tree, at any scale, broken files included."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils.data import Dataset

from fast_style.data.endless import Place, seed_of
from fast_style.images import UnreadablePicture, load_pixels

Transform = Callable[[Tensor], Tensor]


class Photos(NamedTuple):
    """One photo, or a batch of them after collation.

    Attributes:
        pixels: uint8, `(3, H, W)` or `(N, 3, H, W)`; a quarter of float32's bytes on the way to the device.
        unreadable: files that could not be read and were replaced by others.
    """

    pixels: Tensor
    unreadable: tuple[str, ...]


class PhotoFolder(Dataset[Photos]):
    """Photos by `(position, index)`, each transformed by chance that depends on the seed and position alone.

    Args:
        files: the photos.
        transform: uint8 `(3, H, W)` of any size to uint8 of one size; may draw from torch's generator.
        seed: of the transforms.
    """

    #: How many files in a row may be unreadable before the folder is given up.
    TRIES = 100

    def __init__(self, files: Sequence[str], *, transform: Transform, seed: int) -> None:
        self.files, self.transform, self.seed = files, transform, seed

    def __len__(self) -> int:
        """Number of files, readable or not."""
        return len(self.files)

    def __getitem__(self, place: Place) -> Photos:
        """Read and transform a photo; an unreadable one is replaced by the next in the list, and named.

        Raises:
            ValueError: `TRIES` files in a row, or all there are, can't be read.
        """
        position, index = place
        unreadable: list[str] = []
        for offset in range(min(self.TRIES, len(self.files))):
            file = self.files[(index + offset) % len(self.files)]
            try:
                pixels = load_pixels(file)
            except UnreadablePicture:
                unreadable.append(file)
                continue
            with torch.random.fork_rng(devices=[]):
                torch.default_generator.manual_seed(seed_of(self.seed, position))
                return Photos(self.transform(pixels), tuple(unreadable))
        raise ValueError(
            f"None of {len(unreadable)} photos tried could be read, {unreadable[0]} the first of them; set data.root "
            "to a folder of whole pictures."
        )


def collate(photos: Sequence[Photos]) -> Photos:
    """Make one batch of photos of equal size."""
    return Photos(
        torch.stack([photo.pixels for photo in photos]),
        tuple(file for photo in photos for file in photo.unreadable),
    )
