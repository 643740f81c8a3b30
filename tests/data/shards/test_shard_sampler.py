"""The order over shards: all images once per epoch, few shards at a time, few shards per process, reproducible."""

from itertools import accumulate, islice

import pytest

from fast_style.data.sampler import InfiniteSampler
from fast_style.data.shards.sampler import InterleavedShardOrder

COUNTS = {
    "equal": [5] * 8,
    "last-short": [5] * 7 + [2],
    "unequal": [3, 9, 1, 7, 7, 4],
    "empty-one": [3, 0, 4],
    "one-shard": [6],
    "one-picture": [1],
}


def epoch_order(counts, num_streams=4, seed=3):
    return InterleavedShardOrder(counts, num_streams=num_streams, seed=seed)


def shard_of(counts, index):
    return next(shard for shard, end in enumerate(accumulate(counts)) if index < end)


@pytest.mark.parametrize("num_streams", [1, 2, 4, 100])
@pytest.mark.parametrize("counts", COUNTS.values(), ids=COUNTS)
def test_each_epoch_shows_every_image_once(counts, num_streams):
    for number in range(3):
        order = epoch_order(counts, num_streams).order_of(number)
        assert sorted(order) == list(range(sum(counts)))
        assert len(order) == sum(counts)


@pytest.mark.parametrize("start", [0, 1, 17, 40, 41, 95])
def test_the_order_can_start_at_any_position(start):
    straight = list(islice(InfiniteSampler(epoch_order([5] * 8)), 110))
    assert list(islice(InfiniteSampler(epoch_order([5] * 8), start=start), 10)) == straight[start : start + 10]


def orders_of(seed):
    return [tuple(epoch_order([20] * 3, num_streams=2, seed=seed).order_of(number)) for number in range(3)]


def test_every_epoch_and_every_seed_has_its_own_order():
    assert len({*orders_of(0), *orders_of(1), *orders_of(2)}) == 9


def test_images_are_shuffled_within_shards_and_shards_are_shuffled():
    counts = [50] * 4
    order = list(epoch_order(counts, num_streams=1).order_of(0))
    shards = [shard_of(counts, index) for index in order[::50]]
    assert sorted(shards) == [0, 1, 2, 3] != shards
    assert any(order[i] > order[i + 1] for i in range(49))


@pytest.mark.parametrize("num_streams", [1, 2, 4])
def test_as_many_shards_as_streams_are_read_at_a_time(num_streams):
    counts = [10] * 8
    order = [shard_of(counts, index) for index in epoch_order(counts, num_streams).order_of(0)]
    for start in range(0, 80, 10 * num_streams):
        assert len(set(order[start : start + 10 * num_streams])) == num_streams
    assert len(set(order[:num_streams])) == num_streams


@pytest.mark.parametrize(("counts", "exactly"), [([10] * 8, True), ([10, 12, 9, 11, 10, 13, 8, 10], False)])
@pytest.mark.parametrize("world_size", [2, 4])
def test_each_process_reads_its_own_shards(counts, exactly, world_size):
    seen = [set() for _ in range(world_size)]
    total = sum(counts)
    for rank in range(world_size):
        order = InfiniteSampler(epoch_order(counts), rank=rank, world_size=world_size)
        # Streams end up to a shard apart; until then each process reads only its own shards.
        for position, index in islice(order, total // world_size):
            if exactly or position < total - 4 * max(counts):
                seen[rank].add(shard_of(counts, index))
    assert sum(len(shards) for shards in seen) == len(set().union(*seen))
    assert all(seen)


def test_streams_end_less_than_a_shard_apart():
    order = epoch_order([7, 9, 30, 8, 10, 12, 9, 9, 14, 11] * 3).order_of(1)
    lengths = [
        sum(epoch_order([7, 9, 30, 8, 10, 12, 9, 9, 14, 11] * 3).counts[s] for s in stream) for stream in order.dealt
    ]
    assert max(lengths) - min(lengths) <= 30


def test_a_hundred_million_images_are_handled_quickly():
    order = epoch_order([10_000] * 10_000, num_streams=16)
    places = list(islice(InfiniteSampler(order, start=123_456_789), 32))
    assert len({index // 10_000 for _, index in places}) == 16


@pytest.mark.parametrize("wrong", [{"counts": []}, {"counts": [0]}, {"num_streams": 0}])
def test_bad_arguments_are_refused(wrong):
    with pytest.raises(ValueError, match="at least 1 image and 1 stream"):
        epoch_order(**{"counts": [3], **wrong})


def test_an_offset_beyond_the_end_raises_an_index_error():
    order = epoch_order([3, 4]).order_of(0)
    assert order[1:4] == [order[1], order[2], order[3]]
    for offset in (7, -1):
        with pytest.raises(IndexError):
            order[offset]
