"""Batches of content photos from shards."""

from collections.abc import Sequence

from fast_style.data.datamodule import PhotoDataModule, PhotoSplit
from fast_style.data.dataset import Pictures
from fast_style.data.image_folder import PictureFiles
from fast_style.data.shards import remote
from fast_style.data.shards.cache import ShardCache
from fast_style.data.shards.dataset import PreloadedPictures, ShardPictures
from fast_style.data.shards.index import Shard, find_shards, verify_checksums
from fast_style.data.shards.sampler import InterleavedShardOrder
from fast_style.images.listing import find_pictures


class ShardDataModule(PhotoDataModule):
    """Photos in tar files, as `scripts/prepare_shards.py` writes them and the WebDataset library reads them.

    Args:
        urls: see `find_shards`.
        held_out_root: folder of photos that are never trained on; None takes the `held_out` that would come first.
        num_streams: how many shards are read at a time; a multiple of the number of processes lets each read its own.
        cache: folder for shards from afar.
        cache_gb: what it may hold.
        verify: whether to compare the shards on this machine with their checksums first; those from afar always are.
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
        cache: str = "~/.cache/fast_style/shards",
        cache_gb: float = 20,
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
        if num_streams < 1 or cache_gb <= 0:
            raise ValueError(
                f"data.num_streams is at least 1 and data.cache_gb above 0; got {num_streams}, {cache_gb}."
            )
        self.urls, self.held_out_root, self.num_streams = urls, held_out_root, num_streams
        self.cache, self.cache_gb, self.verify = cache, cache_gb, verify

    def photo_split(self) -> PhotoSplit:
        """Read the index."""
        shards = find_shards(self.urls)
        self._check_cache(shards)
        if self.verify:
            verify_checksums(shards)
        cache = ShardCache(self.cache, max_bytes=int(self.cache_gb * 1e9))
        left_out: dict[int, list[int]] = {}
        validation: Pictures
        if self.held_out_root is None:
            everything = ShardPictures(shards, cache=cache)
            kept = self._first_ones(everything)
            for shard, number in sorted(everything.locate(index) for index in kept):
                left_out.setdefault(shard, []).append(number)
            validation = PreloadedPictures(everything, kept)
        else:
            validation = PictureFiles(find_pictures(self.held_out_root)[: self.held_out])
        counts = [shard.samples - len(left_out.get(number, ())) for number, shard in enumerate(shards)]
        epoch_order = InterleavedShardOrder(counts, num_streams=self.num_streams, seed=self.seed)
        training = ShardPictures(
            shards,
            cache=cache,
            left_out=left_out,
            following=epoch_order.next_in_stream,
            remembered=self.num_streams + 4,
        )
        return PhotoSplit(training, validation, epoch_order)

    def _first_ones(self, pictures: ShardPictures) -> Sequence[int]:
        if len(pictures) < 2:
            raise ValueError(
                f"The shards at {self.urls} hold {len(pictures)} photos; training needs one, and one to hold out "
                "besides. Name other shards, or set data.held_out_root."
            )
        # Those that the training would begin with lie in shards that are needed at once anyway.
        order = InterleavedShardOrder(pictures.counts, num_streams=self.num_streams, seed=self.seed).order_of(0)
        # Never more than a half, so that a small set still trains.
        return order[: min(self.held_out, len(pictures) // 2)]

    def _check_cache(self, shards: Sequence[Shard]) -> None:
        sizes = [shard.bytes for shard in shards if remote.is_remote(shard.url)]
        needed = min(sum(sizes), 2 * self.num_streams * max(sizes, default=0))
        if needed > self.cache_gb * 1e9:
            raise ValueError(
                f"{self.num_streams} shards are read at a time and as many fetched ahead, {needed / 1e9:.2g} GB in "
                f"all; data.cache_gb allows {self.cache_gb:g}: raise it, or lower data.num_streams."
            )
