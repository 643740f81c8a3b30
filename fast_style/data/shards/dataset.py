"""Photos from shards: tar files, here or far away."""

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
    """Pictures in the order of the shards and of the files within them.

    Args:
        shards: where they lie.
        cache: brings shards to this machine.
        left_out: numbers of pictures that don't count, by shard, sorted.
        following: the shard to be read after the one that a position of the run belongs to; fetched ahead.
        remembered: of how many shards the headers are remembered.
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
        """Number of pictures, readable or not."""
        return self._firsts[-1]

    def name_of(self, index: int) -> str:
        """`shard-000003.tar/000000123.jpg`."""
        shard, number = self.locate(index)
        return name_within(self.shards[shard].name, self._members_of(shard).names[number])

    def load(self, place: SampleIndex, *, at_least: int | None) -> Tensor:
        """Its pixels; errors of `images.load_pixels` and `ShardCache.path_of`."""
        position, index = place
        shard, _ = self.locate(index)
        if self.following is not None and shard not in self._members:
            self._members_of(shard)
            self.cache.fetch_soon(self.shards[self.following(position)])
        return load_pixels(self.name_of(index), data=self.encoded(index), at_least=at_least)

    def encoded(self, index: int) -> bytes:
        """Its bytes."""
        shard, number = self.locate(index)
        members = self._members_of(shard)
        for _ in range(3):
            try:
                return bytes_of(self.cache.path_of(self.shards[shard]), members, number)
            except FileNotFoundError:
                continue  # Evicted between the two.
        raise ValueError(
            f"{self.shards[shard].url} does not stay where it was fetched to; is data.cache emptied by somebody else?"
        )

    def locate(self, index: int) -> tuple[int, int]:
        """The shard of a picture, and its number in the shard."""
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
                    f"{shard.url} holds {len(members.names)} pictures where {shard.samples} are expected; make its "
                    f"{INDEX} again."
                )
            self._members[number] = members
            if len(self._members) > self.remembered:
                self._members.popitem(last=False)
        self._members.move_to_end(number)
        return self._members[number]


class PreloadedPictures:
    """A few pictures out of shards, whose bytes stay in memory: their shards need not be fetched for them again.

    Args:
        pictures: all of them.
        indices: of the few.
    """

    def __init__(self, pictures: ShardPictures, indices: Sequence[int]) -> None:
        self.pictures, self.indices = pictures, indices
        self._bytes: dict[int, tuple[str, bytes]] = {}

    def __len__(self) -> int:
        """Number of the few."""
        return len(self.indices)

    def name_of(self, index: int) -> str:
        """As in the shards."""
        return self._kept(index)[0]

    def load(self, place: SampleIndex, *, at_least: int | None) -> Tensor:
        """As from the shards."""
        name, data = self._kept(place[1])
        return load_pixels(name, data=data, at_least=at_least)

    def _kept(self, index: int) -> tuple[str, bytes]:
        if index not in self._bytes:
            within = self.indices[index]
            self._bytes[index] = self.pictures.name_of(within), self.pictures.encoded(within)
        return self._bytes[index]
