"""Batches of content photos from shards."""

from collections.abc import Sequence

from fast_style.data.datamodule import PhotoDataModule, PhotoSplit
from fast_style.data.dataset import Pictures, PictureSubset
from fast_style.data.image_folder import PictureFiles
from fast_style.data.shards.dataset import ShardPictures
from fast_style.data.shards.index import find_shards, verify_checksums
from fast_style.data.shards.sampler import InterleavedShardOrder
from fast_style.images.listing import find_pictures


class ShardDataModule(PhotoDataModule):
    """Photos in tar files, as written by `scripts/prepare_shards.py` and read by the WebDataset library.

    Args:
        urls: see `find_shards`.
        held_out_root: folder of validation photos; None takes the first `held_out` photos of the order and does not
            train on them.
        num_streams: number of shards read at a time; if it is a multiple of the number of processes, each process
            reads its own shards.
        verify: whether to verify the checksums of the shards first.
    """

    def __init__(
        self,
        *,
        urls: str | Sequence[str],
        held_out_root: str | None = None,
        held_out: int = 8,
        size: int = 256,
        batch_size: int = 4,
        crop_scale: Sequence[float] = (0.25, 1.0),
        flip: float = 0.5,
        workers: int = 2,
        seed: int = 0,
        num_streams: int = 16,
        verify: bool = False,
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
        if num_streams < 1:
            raise ValueError(f"data.num_streams must be at least 1; got {num_streams}.")
        self.urls, self.held_out_root, self.num_streams, self.verify = urls, held_out_root, num_streams, verify

    def photo_split(self) -> PhotoSplit:
        """Read the index and split the photos."""
        shards = find_shards(self.urls)
        if self.verify:
            verify_checksums(shards)
        left_out: dict[int, list[int]] = {}
        validation: Pictures
        if self.held_out_root is None:
            everything = ShardPictures(shards)
            kept = self._first_ones(everything)
            for shard, number in sorted(everything.locate(index) for index in kept):
                left_out.setdefault(shard, []).append(number)
            validation = PictureSubset(everything, kept)
        else:
            validation = PictureFiles(find_pictures(self.held_out_root)[: self.held_out])
        counts = [shard.samples - len(left_out.get(number, ())) for number, shard in enumerate(shards)]
        epoch_order = InterleavedShardOrder(counts, num_streams=self.num_streams, seed=self.seed)
        training = ShardPictures(shards, left_out=left_out, remembered=self.num_streams + 4)
        return PhotoSplit(training, validation, epoch_order)

    def _first_ones(self, pictures: ShardPictures) -> Sequence[int]:
        if len(pictures) < 2:
            raise ValueError(
                f"The shards at {self.urls} hold {len(pictures)} photos, but training and validation need one each; "
                "name other shards, or set data.held_out_root."
            )
        # The first photos of the order lie in shards that training needs at once anyway.
        order = InterleavedShardOrder(pictures.counts, num_streams=self.num_streams, seed=self.seed).order_of(0)
        # At most half, so that a small set has photos left to train on.
        return order[: min(self.held_out, len(pictures) // 2)]
