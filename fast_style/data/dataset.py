"""From pictures by number to batches of random crops; broken pictures included."""

from collections.abc import Callable, Sequence
from math import ceil, sqrt
from typing import NamedTuple, Protocol

import torch
from torch import Tensor
from torch.utils.data import Dataset

from fast_style.data.sampler import SampleIndex, seed_of
from fast_style.images.decode import UnreadablePicture

Transform = Callable[[Tensor], Tensor]


class Photos(NamedTuple):
    """One photo, or a batch of them after collation.

    Attributes:
        pixels: uint8, `(3, H, W)` or `(N, 3, H, W)`; a quarter of float32's bytes on the way to the device.
        unreadable: files that could not be read and were replaced by others.
        files: the file that each photo really came from.
    """

    pixels: Tensor
    unreadable: tuple[str, ...]
    files: tuple[str, ...] = ()


class Pictures(Protocol):
    """Pictures by index, wherever they lie."""

    def __len__(self) -> int:
        """Number of pictures, readable or not."""

    def name_of(self, index: int) -> str:
        """The file of a picture, as a person would name it."""

    def load(self, place: SampleIndex, *, at_least: int | None) -> Tensor:
        """The pixels as `images.load_pixels` has them; its errors, and those of the way there."""


class PhotoDataset(Dataset[Photos]):
    """Photos by `(position, index)`, each transformed by chance that depends on the seed and position alone.

    Args:
        pictures: the photos.
        transform: uint8 `(3, H, W)` of any size to uint8 of one size; may draw from torch's generator.
        seed: of the transforms.
        at_least: a JPEG may come reduced, its shorter side no less than this.
    """

    #: How many files in a row may be unreadable before the pictures are given up.
    TRIES = 100

    def __init__(self, pictures: Pictures, *, transform: Transform, seed: int, at_least: int | None = None) -> None:
        self.pictures, self.transform, self.seed, self.at_least = pictures, transform, seed, at_least

    def __len__(self) -> int:
        """Number of photos, readable or not."""
        return len(self.pictures)

    def __getitem__(self, place: SampleIndex) -> Photos:
        """Read and transform a photo; an unreadable one is replaced by the next in the list, and named.

        Raises:
            ValueError: `TRIES` files in a row, or all there are, can't be read.
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
            f"None of {len(unreadable)} photos tried could be read, {unreadable[0]} the first of them; take "
            "whole pictures."
        )


def collate(photos: Sequence[Photos]) -> Photos:
    """Make one batch of photos of equal size."""
    return Photos(
        torch.stack([photo.pixels for photo in photos]),
        tuple(file for photo in photos for file in photo.unreadable),
        tuple(file for photo in photos for file in photo.files),
    )


def shortest_side_needed(size: int, smallest_share: float) -> int | None:
    r"""How long a photo's shorter side has to be for no crop to be enlarged; None: never long enough.

    A random crop takes a share `s >= smallest_share` of the area `W H` at an aspect ratio `r` of 3/4 to 4/3, so it is
    `sqrt(s W H r)` wide and `sqrt(s W H / r)` high. Its shorter side is the least for the smallest share and either
    extreme of `r`: `sqrt(3/4 s W H) >= sqrt(3/4 s) min(W, H)`, with equality for a square photo. (Where no such crop
    fits, torchvision takes one whose shorter side is the photo's.) So no crop is shorter than `size` as long as
    `min(W, H) >= size / sqrt(3/4 s)`, and a decoder that goes no lower enlarges nothing that was large enough before.
    """
    return None if smallest_share <= 0 else ceil(size / sqrt(3 / 4 * smallest_share))
