"""Photos from shards: tar files, local or remote."""

from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from itertools import accumulate

from torch import Tensor

from fast_style.data.sampler import SampleIndex
from fast_style.data.shards.cache import ShardCache
from fast_style.data.shards.index import INDEX, Shard
from fast_style.data.shards.tar import Members, bytes_of, name_within, pictures_in
from fast_style.images.tensors import load_pixels


class ShardPictures:
    """Images in the order of the shards and of the files within them.

    Args:
        shards: the shards to read.
        cache: provides local paths of shards.
        left_out: sorted numbers of the images to leave out, by shard.
        following: maps a position of the run to the next shard after the one read there; it is downloaded ahead.
        remembered: number of shards with headers kept in memory.
    """

    def __init__(
        self,
        shards: Sequence[Shard],
        *,
        cache: ShardCache,
        left_out: Mapping[int, Sequence[int]] | None = None,
        following: Callable[[int], int] | None = None,
        remembered: int = 20,
    ) -> None:
        self.shards, self.cache, self.following = shards, cache, following
        self.left_out, self.remembered = left_out or {}, remembered
        self.counts = [shard.samples - len(self.left_out.get(i, ())) for i, shard in enumerate(shards)]
        self._firsts = [0, *accumulate(self.counts)]
        self._members: OrderedDict[int, Members] = OrderedDict()

    def __len__(self) -> int:
        """Number of images, readable or not."""
        return self._firsts[-1]

    def name_of(self, index: int) -> str:
        """Shard and file of an image, as in `shard-000003.tar/000000123.jpg`."""
        shard, number = self.locate(index)
        return name_within(self.shards[shard].name, self._members_of(shard).names[number])

    def load(self, place: SampleIndex, *, at_least: int | None) -> Tensor:
        """The pixels of an image; errors of `images.load_pixels` and `ShardCache.path_of`."""
        position, index = place
        shard, _ = self.locate(index)
        if self.following is not None and shard not in self._members:
            self._members_of(shard)
            self.cache.fetch_soon(self.shards[self.following(position)])
        return load_pixels(self.name_of(index), data=self.encoded(index), at_least=at_least)

    def encoded(self, index: int) -> bytes:
        """The encoded bytes of an image."""
        shard, number = self.locate(index)
        members = self._members_of(shard)
        for _ in range(3):
            try:
                return bytes_of(self.cache.path_of(self.shards[shard]), members, number)
            except FileNotFoundError:
                continue  # Evicted after path_of returned.
        raise ValueError(
            f"{self.shards[shard].url} disappeared 3 times before it could be read; check whether another program "
            "empties data.cache."
        )

    def locate(self, index: int) -> tuple[int, int]:
        """The shard of an image, and the number of the image within the shard."""
        shard = bisect_right(self._firsts, index) - 1
        number = index - self._firsts[shard]
        for left_out in self.left_out.get(shard, ()):
            number += left_out <= number
        return shard, number

    def _members_of(self, number: int) -> Members:
        if number not in self._members:
            shard = self.shards[number]
            members = pictures_in(self.cache.path_of(shard))
            if len(members.names) != shard.samples:
                raise ValueError(
                    f"{shard.url} holds {len(members.names)} images, but {shard.samples} are expected; make its "
                    f"{INDEX} again."
                )
            self._members[number] = members
            if len(self._members) > self.remembered:
                self._members.popitem(last=False)
        self._members.move_to_end(number)
        return self._members[number]


class PreloadedPictures:
    """A few images of shards with their bytes kept in memory, so that their shards are not downloaded again for them.

    Args:
        pictures: all images of the shards.
        indices: indices of the kept images.
    """

    def __init__(self, pictures: ShardPictures, indices: Sequence[int]) -> None:
        self.pictures, self.indices = pictures, indices
        self._bytes: dict[int, tuple[str, bytes]] = {}

    def __len__(self) -> int:
        """Number of kept images."""
        return len(self.indices)

    def name_of(self, index: int) -> str:
        """The same name as in the shards."""
        return self._kept(index)[0]

    def load(self, place: SampleIndex, *, at_least: int | None) -> Tensor:
        """The same pixels as from the shards."""
        name, data = self._kept(place[1])
        return load_pixels(name, data=data, at_least=at_least)

    def _kept(self, index: int) -> tuple[str, bytes]:
        if index not in self._bytes:
            within = self.indices[index]
            self._bytes[index] = self.pictures.name_of(within), self.pictures.encoded(within)
        return self._bytes[index]
