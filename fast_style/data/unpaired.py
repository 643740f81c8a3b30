"""Batches from two unpaired collections of images."""

import random
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import torch
from torchvision.transforms import InterpolationMode, v2

from fast_style.data.datamodule import InfiniteDataModule, Split
from fast_style.data.dataset import PhotoDataset, Photos, Transform
from fast_style.data.image_folder import PictureFiles
from fast_style.data.sampler import EpochOrder, SampleIndex, ShuffledOrder, seed_of
from fast_style.images.decode import UnreadablePicture, size_of
from fast_style.images.listing import find_pictures


class UnpairedDataModule(InfiniteDataModule):
    """Two collections, A and B: batches `(N, 2, 3, size, size)`, float32 in 0..1, `[:, 0]` of A and `[:, 1]` of B.

    Each collection has its own order and its own epochs, so the two may differ in size.

    Args:
        root: folder with trainA and trainB, and optionally testA and testB for validation; None if `a` and `b` are set.
        a, b: the two training folders.
        test_a, test_b: validation folders; None takes `held_out` images of `a` or `b` and does not train on them.
        load_size: shorter side in pixels to which images are resized before a crop of `size`; 286 in the paper.
        enlarge: True enlarges images that are smaller than a crop; False refuses them.
    """

    def __init__(
        self,
        *,
        root: str | None = None,
        a: str | None = None,
        b: str | None = None,
        test_a: str | None = None,
        test_b: str | None = None,
        held_out: int = 8,
        size: int = 256,
        load_size: int = 286,
        enlarge: bool = False,
        batch_size: int = 1,
        flip: float = 0.5,
        workers: int = 2,
        seed: int = 0,
    ) -> None:
        super().__init__(held_out=held_out, size=size, batch_size=batch_size, workers=workers, seed=seed)
        if load_size < size:
            raise ValueError(f"data.load_size must be at least data.size, the crop's side; got {load_size} and {size}.")
        if (root is None) == (a is None and b is None) or (a is None) != (b is None):
            raise ValueError(
                "Two collections are wanted: data.root=FOLDER with trainA and trainB in it, or data.a=FOLDER "
                f"data.b=FOLDER; got data.root={root}, data.a={a}, data.b={b}."
            )
        self.root, self.a, self.b, self.test_a, self.test_b = root, a, b, test_a, test_b
        self.load_size, self.enlarge, self.flip = load_size, enlarge, flip

    def build_split(self) -> Split:
        """List the images of both collections."""
        sides = [self._side(*named) for named in self._folders()]
        for training, kept in sides:
            self._check_sizes([*training, *kept])
        # Another seed for B: with the same seed, A and B would get the same crops and flips.
        seeds = [self.seed, seed_of(self.seed, 1)]
        crop = self.augmentation()
        frame = v2.Compose([_resized(self.size), v2.CenterCrop(self.size)])

        def samples(files: Sequence[str], seed: int, transform: Transform, at_least: int) -> PhotoDataset:
            return PhotoDataset(PictureFiles(files), transform=transform, seed=seed, at_least=at_least)

        (train_a, kept_a), (train_b, kept_b) = sides
        one, other = (
            samples(files, s, crop, self.load_size) for files, s in zip((train_a, train_b), seeds, strict=True)
        )
        held = [samples(files, s, frame, self.size) for files, s in zip((kept_a, kept_b), seeds, strict=True)]
        return Split(
            UnpairedDataset(one, other, other_order=ShuffledOrder(len(other), seed=seeds[1])),
            UnpairedDataset(*held, other_order=InOrder(len(held[1]))),
            ShuffledOrder(len(one), seed=seeds[0]),
        )

    def augmentation(self) -> Transform:
        """Resize, crop, flip horizontally.

        The authors' release resizes every image to a square first; here the aspect ratio is kept.
        """
        crop = v2.RandomCrop(self.size)
        return v2.Compose([_resized(self.load_size), crop, v2.RandomHorizontalFlip(self.flip)])  # type: ignore[no-any-return]

    @property
    def number(self) -> int:
        """Number of training images of both collections together."""
        assert isinstance(self.training, UnpairedDataset)
        return len(self.training.one) + len(self.training.other)

    def _folders(self) -> list[tuple[str, str | None]]:
        """The training folder and the validation folder of each collection."""
        if self.root is None:
            assert self.a is not None
            assert self.b is not None
            return [(self.a, self.test_a), (self.b, self.test_b)]
        folder = Path(self.root)
        missing = [name for name in ("trainA", "trainB") if not (folder / name).is_dir()]
        if missing:
            raise ValueError(
                f"data.root={self.root} has no folder {' and no '.join(missing)}; it needs trainA and trainB (testA "
                "and testB are optional). Or set the two folders by data.a=FOLDER data.b=FOLDER."
            )
        tests = [str(folder / name) if (folder / name).is_dir() else None for name in ("testA", "testB")]
        given = [self.test_a or tests[0], self.test_b or tests[1]]
        return [(str(folder / name), test) for name, test in zip(("trainA", "trainB"), given, strict=True)]

    def _side(self, folder: str, test: str | None) -> tuple[list[str], list[str]]:
        """The training files and the validation files of a collection."""
        files = find_pictures(folder)
        if test is not None:
            return files, find_pictures(test)[: self.held_out]
        if len(files) < 2:
            raise ValueError(
                f"{folder} holds one image, but training and validation need one each; add images, or set data.test_a "
                "and data.test_b."
            )
        random.Random(self.seed).shuffle(files)
        count = min(self.held_out, len(files) // 2)
        return sorted(files[count:]), files[:count]

    def _check_sizes(self, files: Sequence[str]) -> None:
        """Check all sizes before the first step, so that a small image does not end the run hours later."""
        if self.enlarge:
            return
        small: list[str] = []
        for file in files:
            with suppress(UnreadablePicture):  # An unreadable file is skipped and reported when it is loaded.
                width, height = size_of(file)
                small += [f"{file} ({width}x{height})"] if min(width, height) < self.size else []
        if small:
            raise ValueError(
                f"{len(small)} of {len(files)} images are smaller than data.size={self.size} (first: {small[0]}); set "
                "data.enlarge=true, remove these images, or lower data.size."
            )


class UnpairedDataset:
    """One image of each collection by `(position, index)`: the index selects in `one`, the position in `other`.

    Args:
        one, other: the collections.
        other_order: the order of `other` in each epoch.
    """

    def __init__(self, one: PhotoDataset, other: PhotoDataset, *, other_order: EpochOrder) -> None:
        self.one, self.other, self.other_order = one, other, other_order
        self._pass = -1
        self._order: Sequence[int] = ()

    def __len__(self) -> int:
        """Number of images in the larger collection: one epoch."""
        return max(len(self.one), len(self.other))

    def __getitem__(self, place: SampleIndex) -> Photos:
        """Pixels `(2, 3, H, W)`."""
        position, index = place
        epoch, offset = divmod(position, len(self.other_order))
        # Kept, because shuffling a large collection for every image would take longer than loading the image.
        if epoch != self._pass:
            self._pass, self._order = epoch, self.other_order.order_of(epoch)
        pair = self.one[position, index % len(self.one)], self.other[position, self._order[offset]]
        return Photos(
            torch.stack([photo.pixels for photo in pair]),
            tuple(file for photo in pair for file in photo.unreadable),
            tuple(file for photo in pair for file in photo.files),
        )


class InOrder:
    """Epochs in list order."""

    def __init__(self, length: int) -> None:
        self.length = length

    def __len__(self) -> int:
        """Number of images."""
        return self.length

    def order_of(self, epoch: int) -> Sequence[int]:
        """The same order for every epoch."""
        return range(self.length)


def _resized(size: int) -> v2.Resize:
    return v2.Resize(size, interpolation=InterpolationMode.BICUBIC, antialias=True)  # As in the authors' release.
