"""From images by index to batches of random crops; unreadable images are replaced."""

from collections.abc import Callable, Sequence
from math import ceil, sqrt
from typing import NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from fast_style.data.sampler import SampleIndex, seed_of
from fast_style.images.decode import UnreadablePicture

Transform = Callable[[Tensor], Tensor]


class Photos(NamedTuple):
    """One photo, or a batch of photos after collation.

    Attributes:
        pixels: uint8, `(3, H, W)` or `(N, 3, H, W)`; a quarter of the bytes of float32 to transfer to the device.
        unreadable: files that could not be read and were replaced by others.
        files: the file that each photo was read from.
    """

    pixels: Tensor
    unreadable: tuple[str, ...]
    files: tuple[str, ...] = ()


class Pictures(Protocol):
    """Images by index, from any storage."""

    def __len__(self) -> int:
        """Number of images, readable or not."""

    def name_of(self, index: int) -> str:
        """The name of an image's file, for messages."""

    def load(self, place: SampleIndex, *, at_least: int | None) -> Tensor:
        """The pixels as `images.load_pixels` returns them; raises its errors and those of the storage."""


class PictureSubset:
    """Some images of a storage.

    Args:
        pictures: the storage.
        indices: which images, in this order.
    """

    def __init__(self, pictures: Pictures, indices: Sequence[int] | NDArray[np.int64]) -> None:
        self.pictures, self.indices = pictures, indices

    def __len__(self) -> int:
        """Number of images, readable or not."""
        return len(self.indices)

    def name_of(self, index: int) -> str:
        """The same name as in the storage."""
        return self.pictures.name_of(int(self.indices[index]))

    def load(self, place: SampleIndex, *, at_least: int | None) -> Tensor:
        """The same pixels as from the storage."""
        position, index = place
        return self.pictures.load((position, int(self.indices[index])), at_least=at_least)


class PhotoDataset(Dataset[Photos]):
    """Photos by `(position, index)`, randomly transformed; the randomness depends only on the seed and the position.

    Args:
        pictures: the photos.
        transform: maps uint8 `(3, H, W)` of any size to uint8 of one size; may draw from torch's global generator.
        seed: of the transforms.
        at_least: a JPEG may be decoded at a reduced size, with a shorter side of at least this many pixels.
    """

    #: Number of unreadable files in a row after which loading fails.
    TRIES = 100

    def __init__(self, pictures: Pictures, *, transform: Transform, seed: int, at_least: int | None = None) -> None:
        self.pictures, self.transform, self.seed, self.at_least = pictures, transform, seed, at_least

    def __len__(self) -> int:
        """Number of photos, readable or not."""
        return len(self.pictures)

    def __getitem__(self, place: SampleIndex) -> Photos:
        """Read and transform a photo. An unreadable photo is recorded and replaced by the next one in the list.

        Raises:
            ValueError: `TRIES` files in a row, or all files, are unreadable.
        """
        position, wanted = place
        unreadable: list[str] = []
        for offset in range(min(self.TRIES, len(self.pictures))):
            index = (wanted + offset) % len(self.pictures)
            try:
                pixels = self.pictures.load((position, index), at_least=self.at_least)
            except UnreadablePicture:
                unreadable.append(self.pictures.name_of(index))
                continue
            with torch.random.fork_rng(devices=[]):
                torch.default_generator.manual_seed(seed_of(self.seed, position))
                return Photos(self.transform(pixels), tuple(unreadable), (self.pictures.name_of(index),))
        raise ValueError(
            f"None of the {len(unreadable)} photos tried could be read (first: {unreadable[0]}); replace the damaged "
            "files."
        )


def collate(photos: Sequence[Photos]) -> Photos:
    """Make one batch of photos of equal size."""
    return Photos(
        torch.stack([photo.pixels for photo in photos]),
        tuple(file for photo in photos for file in photo.unreadable),
        tuple(file for photo in photos for file in photo.files),
    )


def shortest_side_needed(size: int, smallest_share: float) -> int | None:
    r"""Length of a photo's shorter side from which no crop is enlarged; None if no length is enough.

    A random crop takes a share `s >= smallest_share` of the area `W H` at an aspect ratio `r` of 3/4 to 4/3, so it is
    `sqrt(s W H r)` wide and `sqrt(s W H / r)` high. Its shorter side is the least for the smallest share and either
    extreme of `r`: `sqrt(3/4 s W H) >= sqrt(3/4 s) min(W, H)`, with equality for a square photo. (Where no such crop
    fits, torchvision takes a crop with the photo's shorter side.) So no crop is shorter than `size` if
    `min(W, H) >= size / sqrt(3/4 s)`. A decoder that keeps this length causes no crop to be enlarged.
    """
    return None if smallest_share <= 0 else ceil(size / sqrt(3 / 4 * smallest_share))
