"""The order of images in shards: a few shards are read at a time, and every image comes once per epoch.

Each epoch shuffles the shards and deals them into streams: the next shard goes to the stream with the fewest images. A
stream shows one shard after another, with the images of a shard shuffled. The streams take turns, position by position.
So if the number of processes divides the number of streams, each process reads only its own streams (until the first
stream ends, less than a shard's length before the end of the epoch). The order itself does not depend on the number of
processes or workers.
"""

import random
from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
from typing import overload

from fast_style.data.sampler import permutation, seed_of


class InterleavedShardOrder:
    """Every epoch shows all images of all shards in a new order, a few shards at a time.

    The index of an image counts through the shards in the given order.

    Args:
        counts: number of images in each shard.
        num_streams: number of shards read at a time.
        seed: of the shuffling.
    """

    def __init__(self, counts: Sequence[int], *, num_streams: int, seed: int) -> None:
        if sum(counts) < 1 or num_streams < 1:
            raise ValueError(f"A shard order needs at least 1 image and 1 stream; got {sum(counts)} and {num_streams}.")
        self.counts, self.num_streams, self.seed = counts, num_streams, seed
        self.firsts = [0, *accumulate(counts)]

    def __len__(self) -> int:
        """Number of images."""
        return self.firsts[-1]

    def order_of(self, epoch: int) -> "InterleavedEpoch":
        """The order of an epoch, computed only as far as it is used."""
        return InterleavedEpoch(self, epoch)


class InterleavedEpoch(Sequence[int]):
    """One epoch: the image index by offset. It keeps the shuffled numbers of one shard per stream.

    Args:
        epoch_order: the order that the epoch belongs to.
        epoch: number of the epoch.
    """

    def __init__(self, epoch_order: InterleavedShardOrder, epoch: int) -> None:
        self._passes, self._epoch = epoch_order, epoch
        self.dealt = self._deal()
        counts = epoch_order.counts
        #: By stream: the number of its images before each of its shards, then their total.
        self._before = [[0, *accumulate(counts[shard] for shard in shards)] for shards in self.dealt]
        #: Streams by length, shortest first; `_turns` are the turns after which each of them ends.
        lengths = [before[-1] for before in self._before]
        self._through = sorted(range(len(lengths)), key=lengths.__getitem__)
        self._turns = [lengths[stream] for stream in self._through]
        #: The offset at which each of them ends.
        steps = zip(self._turns, [0, *self._turns], range(len(lengths), 0, -1), strict=False)
        self._offsets = list(accumulate((turns - earlier) * running for turns, earlier, running in steps))
        self._shuffled: dict[int, tuple[int, Sequence[int]]] = {}

    def _deal(self) -> list[list[int]]:
        epoch_order = self._passes
        shards = [shard for shard, count in enumerate(epoch_order.counts) if count]
        random.Random(seed_of(epoch_order.seed, self._epoch)).shuffle(shards)
        lengths = [0] * min(epoch_order.num_streams, len(shards))
        dealt: list[list[int]] = [[] for _ in lengths]
        for shard in shards:
            stream = lengths.index(min(lengths))
            dealt[stream].append(shard)
            lengths[stream] += epoch_order.counts[shard]
        return dealt

    def __len__(self) -> int:
        """Number of images."""
        return len(self._passes)

    def stream_at(self, offset: int) -> tuple[int, int]:
        """The stream at an offset, and the number of images that it has shown before."""
        ended = bisect_right(self._offsets, offset)
        since, turns = (self._offsets[ended - 1], self._turns[ended - 1]) if ended else (0, 0)
        turn, place = divmod(offset - since, len(self._through) - ended)
        return self._through[ended + place], turns + turn

    def shard_at(self, stream: int, turn: int) -> int:
        """Which of a stream's shards a turn belongs to, counted from 0."""
        return bisect_right(self._before[stream], turn) - 1

    @overload
    def __getitem__(self, offset: int) -> int: ...
    @overload
    def __getitem__(self, offset: slice) -> Sequence[int]: ...
    def __getitem__(self, offset: int | slice) -> int | Sequence[int]:
        """The index of the image at an offset from 0."""
        if isinstance(offset, slice):
            return [self[place] for place in range(*offset.indices(len(self)))]
        if not 0 <= offset < len(self):
            raise IndexError(offset)
        stream, turn = self.stream_at(offset)
        place = self.shard_at(stream, turn)
        shard = self.dealt[stream][place]
        return self._passes.firsts[shard] + self._order_within(stream, shard)[turn - self._before[stream][place]]

    def _order_within(self, stream: int, shard: int) -> Sequence[int]:
        if self._shuffled.get(stream, (-1, ()))[0] != shard:
            seed = seed_of(self._passes.seed, self._epoch, shard)
            self._shuffled[stream] = shard, permutation(self._passes.counts[shard], seed)
        return self._shuffled[stream][1]
