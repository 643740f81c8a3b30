"""The order of images depends only on the seed and the position."""

from itertools import islice

import pytest
import torch

from fast_style.data.sampler import InfiniteSampler, ShuffledOrder, seed_of


def first(count, length=7, seed=3, **options):
    return list(islice(InfiniteSampler(ShuffledOrder(length, seed=seed), **options), count))


@pytest.mark.parametrize("length", [1, 2, 7])
def test_each_epoch_shows_every_image_once(length):
    places = first(4 * length, length)
    assert [position for position, _ in places] == list(range(4 * length))
    for start in range(0, 4 * length, length):
        assert sorted(index for _, index in places[start : start + length]) == list(range(length))


def orders_of(seed):
    indices = [index for _, index in first(60, 20, seed=seed)]
    return [tuple(indices[i : i + 20]) for i in (0, 20, 40)]


def test_every_epoch_has_its_own_order():
    assert len(set(orders_of(3))) == 3


def test_every_seed_has_its_own_orders():
    assert len({*orders_of(0), *orders_of(1), *orders_of(2)}) == 9


@pytest.mark.parametrize("start", [1, 6, 7, 20])
def test_a_later_start_continues_exactly(start):
    assert first(30, start=start) == first(30 + start)[start:]


def test_every_iteration_is_the_same_and_keeps_the_global_generator():
    order, before = InfiniteSampler(ShuffledOrder(5, seed=1)), torch.random.get_rng_state()
    assert list(islice(order, 12)) == list(islice(order, 12))
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize("start", [0, 8])
@pytest.mark.parametrize("world_size", [2, 3])
def test_processes_together_see_the_order_of_one_process(world_size, start):
    shares = [first(10, start=start, rank=rank, world_size=world_size) for rank in range(world_size)]
    interleaved = [place for places in zip(*shares, strict=True) for place in places]
    assert interleaved == first(10 * world_size, start=start)


@pytest.mark.parametrize("options", [{"start": -1}, {"rank": 1}, {"rank": -1}, {"rank": 2, "world_size": 2}])
def test_bad_arguments_are_refused(options):
    with pytest.raises(ValueError, match="rank from 0 to world_size - 1"):
        InfiniteSampler(ShuffledOrder(3, seed=0), **options)


def test_an_order_of_no_images_is_refused():
    with pytest.raises(ValueError, match="needs at least 1 image"):
        ShuffledOrder(0, seed=0)


def drawn(seed, position):
    return torch.randint(2**62, (1,), generator=torch.Generator().manual_seed(seed_of(seed, position))).item()


def test_every_position_has_its_own_random_numbers():
    positions = [*range(50), 10**6, 10**9]
    assert len({drawn(7, position) for position in positions}) == len(positions)
    assert drawn(7, 3) == drawn(7, 3)


@pytest.mark.parametrize("position", [0, 10**6])
def test_every_seed_has_its_own_random_numbers(position):
    assert len({drawn(seed, position) for seed in (0, 1, 2, 1234, 2**31 - 1)}) == 5
