"""Batches of two collections of pictures, of which no two belong together."""

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

    Each collection has an order of its own and starts anew when it is through, so they need not be of a size.

    Args:
        root: folder with trainA and trainB, and testA and testB to validate with; None if they are named one by one.
        a, b: the two folders to train on.
        test_a, test_b: folders to validate with; None holds `held_out` pictures of `a`, or `b`, back.
        load_size: shorter side that pictures are resized to before a crop of `size` is taken; 286 in the paper.
        enlarge: whether pictures smaller than a crop are enlarged, or refused.
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
            raise ValueError(f"data.load_size is at least data.size, which is cut from it; got {load_size} and {size}.")
        if (root is None) == (a is None and b is None) or (a is None) != (b is None):
            raise ValueError(
                "Two collections are wanted: data.root=FOLDER with trainA and trainB in it, or data.a=FOLDER "
                f"data.b=FOLDER; got data.root={root}, data.a={a}, data.b={b}."
            )
        self.root, self.a, self.b, self.test_a, self.test_b = root, a, b, test_a, test_b
        self.load_size, self.enlarge, self.flip = load_size, enlarge, flip

    def build_split(self) -> Split:
        """List both sides."""
        sides = [self._side(*named) for named in self._folders()]
        for training, kept in sides:
            self._check_sizes([*training, *kept])
        # Another seed for B: the same chance for both would crop and mirror them alike.
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
        """Resize, crop, mirror.

        The authors' release squeezes every picture to a square first; here its aspect ratio stays.
        """
        crop = v2.RandomCrop(self.size)
        return v2.Compose([_resized(self.load_size), crop, v2.RandomHorizontalFlip(self.flip)])  # type: ignore[no-any-return]

    @property
    def number(self) -> int:
        """Pictures to train on, of both sides together."""
        assert isinstance(self.training, UnpairedDataset)
        return len(self.training.one) + len(self.training.other)

    def _folders(self) -> list[tuple[str, str | None]]:
        """To train on and to validate with, for either side."""
        if self.root is None:
            assert self.a is not None
            assert self.b is not None
            return [(self.a, self.test_a), (self.b, self.test_b)]
        folder = Path(self.root)
        missing = [name for name in ("trainA", "trainB") if not (folder / name).is_dir()]
        if missing:
            raise ValueError(
                f"data.root={self.root} has no folder {' and no '.join(missing)}; it needs trainA and trainB, and may "
                "have testA and testB. Or name the two collections one by one: data.a=FOLDER data.b=FOLDER."
            )
        tests = [str(folder / name) if (folder / name).is_dir() else None for name in ("testA", "testB")]
        given = [self.test_a or tests[0], self.test_b or tests[1]]
        return [(str(folder / name), test) for name, test in zip(("trainA", "trainB"), given, strict=True)]

    def _side(self, folder: str, test: str | None) -> tuple[list[str], list[str]]:
        """Files to train on, and files to validate with."""
        files = find_pictures(folder)
        if test is not None:
            return files, find_pictures(test)[: self.held_out]
        if len(files) < 2:
            raise ValueError(
                f"{folder} holds one picture; training needs one to hold out besides. Add pictures, or set data.test_a "
                "and data.test_b."
            )
        random.Random(self.seed).shuffle(files)
        count = min(self.held_out, len(files) // 2)
        return sorted(files[count:]), files[:count]

    def _check_sizes(self, files: Sequence[str]) -> None:
        """Look at all of them before the first step: one that comes after a night would end the run then."""
        if self.enlarge:
            return
        small: list[str] = []
        for file in files:
            with suppress(UnreadablePicture):  # Such a one is skipped and named when it is met.
                width, height = size_of(file)
                small += [f"{file} ({width}x{height})"] if min(width, height) < self.size else []
        if small:
            raise ValueError(
                f"{len(small)} of {len(files)} pictures are smaller than data.size={self.size}, {small[0]} the first "
                "of them; enlarge them with data.enlarge=true, leave them out, or take a smaller data.size."
            )


class UnpairedDataset:
    """A picture of each side by `(position, index)`: the index is one side's, the position finds the other's.

    Args:
        one, other: the sides.
        other_order: the passes of the other side.
    """

    def __init__(self, one: PhotoDataset, other: PhotoDataset, *, other_order: EpochOrder) -> None:
        self.one, self.other, self.other_order = one, other, other_order
        self._pass = -1
        self._order: Sequence[int] = ()

    def __len__(self) -> int:
        """The larger side's number of pictures: an epoch."""
        return max(len(self.one), len(self.other))

    def __getitem__(self, place: SampleIndex) -> Photos:
        """Pixels `(2, 3, H, W)`."""
        position, index = place
        epoch, offset = divmod(position, len(self.other_order))
        if epoch != self._pass:  # Kept: shuffling a large side anew for each picture would take longer than it.
            self._pass, self._order = epoch, self.other_order.order_of(epoch)
        pair = self.one[position, index % len(self.one)], self.other[position, self._order[offset]]
        return Photos(
            torch.stack([photo.pixels for photo in pair]),
            tuple(file for photo in pair for file in photo.unreadable),
            tuple(file for photo in pair for file in photo.files),
        )


class InOrder:
    """Epochs in the order of the list."""

    def __init__(self, length: int) -> None:
        self.length = length

    def __len__(self) -> int:
        """Number of pictures."""
        return self.length

    def order_of(self, epoch: int) -> Sequence[int]:
        """The same each time."""
        return range(self.length)


def _resized(size: int) -> v2.Resize:
    return v2.Resize(size, interpolation=InterpolationMode.BICUBIC, antialias=True)  # As the authors' release.
