"""Photos from shards: tar files of photos."""

from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from itertools import accumulate

from torch import Tensor

from fast_style.data.sampler import SampleIndex
from fast_style.data.shards.index import INDEX, Shard
from fast_style.data.shards.tar import Members, bytes_of, name_within, pictures_in
from fast_style.images.tensors import load_pixels


class ShardPictures:
    """Images in the order of the shards and of the files within them.

    Args:
        shards: the shards to read.
        left_out: sorted numbers of the images to leave out, by shard.
        remembered: number of shards with headers kept in memory.
    """

    def __init__(
        self,
        shards: Sequence[Shard],
        *,
        left_out: Mapping[int, Sequence[int]] | None = None,
        remembered: int = 20,
    ) -> None:
        self.shards, self.left_out, self.remembered = shards, left_out or {}, remembered
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
        """The pixels of an image; errors of `images.load_pixels`, and OSError for a shard that is gone."""
        shard, number = self.locate(place[1])
        data = bytes_of(self.shards[shard].url, self._members_of(shard), number)
        return load_pixels(self.name_of(place[1]), data=data, at_least=at_least)

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
            members = pictures_in(shard.url)
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
