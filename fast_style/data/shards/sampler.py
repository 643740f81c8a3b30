"""The order of pictures in shards: several shards at a time, a few of them for each process, all of them once a pass.

Each pass deals the shuffled shards into lanes, as checkout counters in a shop share the queue: the next shard goes to
the lane that has the fewest pictures. A lane shows the pictures of its shards one shard after another, shuffled within
the shard; the lanes take turns, position by position. So with a number of processes that divides the number of lanes
each process reads its own lanes alone (until the first lane is through, by less than a shard's length before the end of
the pass), and the order as a whole depends on neither processes nor workers.
"""

import random
from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
from typing import overload

from fast_style.data.sampler import permutation, seed_of


class LanedPasses:
    """Every pass shows all pictures of all shards in a new order, a few shards at a time.

    The index of a picture counts through the shards in the order given.

    Args:
        counts: pictures in each shard.
        lanes: how many shards are read at a time.
        seed: of the shuffling.
    """

    def __init__(self, counts: Sequence[int], *, lanes: int, seed: int) -> None:
        if sum(counts) < 1 or lanes < 1:
            raise ValueError(f"An order needs pictures and lanes; got {sum(counts)} and {lanes}.")
        self.counts, self.lanes, self.seed = counts, lanes, seed
        self.firsts = [0, *accumulate(counts)]

    def __len__(self) -> int:
        """Number of pictures."""
        return self.firsts[-1]

    def order_of(self, pass_number: int) -> "LanedOrder":
        """The order of a pass, worked out as far as it is asked for."""
        return LanedOrder(self, pass_number)

    def next_in_lane(self, position: int) -> int:
        """The shard that will follow the one read at this position of the run."""
        pass_number, offset = divmod(position, len(self))
        order = self.order_of(pass_number)
        lane, turn = order.lane_at(offset)
        following = order.shard_at(lane, turn) + 1
        shards = order.dealt[lane]
        return shards[following] if following < len(shards) else self.order_of(pass_number + 1).dealt[lane][0]


class LanedOrder(Sequence[int]):
    """One pass, an index by offset; holds the shuffled numbers of one shard a lane.

    Args:
        passes: what it is a pass of.
        pass_number: which.
    """

    def __init__(self, passes: LanedPasses, pass_number: int) -> None:
        self._passes, self._pass_number = passes, pass_number
        self.dealt = self._deal()
        counts = passes.counts
        #: By lane, the pictures in it before each of its shards, and in all.
        self._before = [[0, *accumulate(counts[shard] for shard in shards)] for shards in self.dealt]
        #: Lanes by length; the first lane is through after so many turns of all lanes, the next ...
        lengths = [before[-1] for before in self._before]
        self._through = sorted(range(len(lengths)), key=lengths.__getitem__)
        self._turns = [lengths[lane] for lane in self._through]
        #: The offset at which each of them is through.
        steps = zip(self._turns, [0, *self._turns], range(len(lengths), 0, -1), strict=False)
        self._offsets = list(accumulate((turns - earlier) * running for turns, earlier, running in steps))
        self._shuffled: dict[int, tuple[int, Sequence[int]]] = {}

    def _deal(self) -> list[list[int]]:
        passes = self._passes
        shards = [shard for shard, count in enumerate(passes.counts) if count]
        random.Random(seed_of(passes.seed, self._pass_number)).shuffle(shards)
        lengths = [0] * min(passes.lanes, len(shards))
        dealt: list[list[int]] = [[] for _ in lengths]
        for shard in shards:
            lane = lengths.index(min(lengths))
            dealt[lane].append(shard)
            lengths[lane] += passes.counts[shard]
        return dealt

    def __len__(self) -> int:
        """Number of pictures."""
        return len(self._passes)

    def lane_at(self, offset: int) -> tuple[int, int]:
        """The lane whose turn it is, and how many pictures that lane has shown."""
        ended = bisect_right(self._offsets, offset)
        since, turns = (self._offsets[ended - 1], self._turns[ended - 1]) if ended else (0, 0)
        turn, place = divmod(offset - since, len(self._through) - ended)
        return self._through[ended + place], turns + turn

    def shard_at(self, lane: int, turn: int) -> int:
        """Which of the lane's shards a turn falls into, counted from 0."""
        return bisect_right(self._before[lane], turn) - 1

    @overload
    def __getitem__(self, offset: int) -> int: ...
    @overload
    def __getitem__(self, offset: slice) -> Sequence[int]: ...
    def __getitem__(self, offset: int | slice) -> int | Sequence[int]:
        """The index of the picture at an offset from 0."""
        if isinstance(offset, slice):
            return [self[place] for place in range(*offset.indices(len(self)))]
        if not 0 <= offset < len(self):
            raise IndexError(offset)
        lane, turn = self.lane_at(offset)
        place = self.shard_at(lane, turn)
        shard = self.dealt[lane][place]
        return self._passes.firsts[shard] + self._order_within(lane, shard)[turn - self._before[lane][place]]

    def _order_within(self, lane: int, shard: int) -> Sequence[int]:
        if self._shuffled.get(lane, (-1, ()))[0] != shard:
            seed = seed_of(self._passes.seed, self._pass_number, shard)
            self._shuffled[lane] = shard, permutation(self._passes.counts[shard], seed)
        return self._shuffled[lane][1]
