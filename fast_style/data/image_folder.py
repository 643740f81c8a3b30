"""Batches of content photos from a folder."""

import random
from collections.abc import Sequence

from torch import Tensor

from fast_style.data.datamodule import PhotoDataModule, PhotoSplit
from fast_style.data.sampler import SampleIndex, ShuffledOrder
from fast_style.images.listing import find_pictures
from fast_style.images.tensors import load_pixels


class ImageFolderDataModule(PhotoDataModule):
    """Photos from a folder tree.

    Args:
        root: folder tree of photos.
        held_out_root: folder of validation photos; None takes `held_out` photos of `root` and does not train on them.
    """

    def __init__(
        self,
        *,
        root: str,
        held_out_root: str | None = None,
        held_out: int = 8,
        size: int = 256,
        batch_size: int = 4,
        crop_scale: Sequence[float] = (0.25, 1.0),
        flip: float = 0.5,
        workers: int = 2,
        seed: int = 0,
    ) -> None:
        super().__init__(
            held_out=held_out,
            size=size,
            batch_size=batch_size,
            crop_scale=crop_scale,
            flip=flip,
            workers=workers,
            seed=seed,
        )
        self.root, self.held_out_root = root, held_out_root

    def photo_split(self) -> PhotoSplit:
        """List the files and split them."""
        files = find_pictures(self.root)
        if self.held_out_root is None:
            if len(files) < 2:
                raise ValueError(
                    f"{self.root} holds one photo, but training and validation need one each; add photos, or set "
                    "data.held_out_root."
                )
            random.Random(self.seed).shuffle(files)
            # At most half, so that a small folder has photos left to train on.
            count = min(self.held_out, len(files) // 2)
            kept, files = files[:count], sorted(files[count:])
        else:
            kept = find_pictures(self.held_out_root)[: self.held_out]
        return PhotoSplit(PictureFiles(files), PictureFiles(kept), ShuffledOrder(len(files), seed=self.seed))


class PictureFiles:
    """Image files by index."""

    def __init__(self, files: Sequence[str]) -> None:
        self.files = files

    def __len__(self) -> int:
        """Number of files, readable or not."""
        return len(self.files)

    def name_of(self, index: int) -> str:
        """The path of an image."""
        return self.files[index]

    def load(self, place: SampleIndex, *, at_least: int | None) -> Tensor:
        """The pixels of an image; errors of `images.load_pixels`."""
        return load_pixels(self.files[place[1]], at_least=at_least)
