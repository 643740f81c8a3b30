"""The image pool: the paper's rule, counted over 10,000 draws, and a state that resumes bit for bit."""

import math
from itertools import pairwise

import pytest
import torch
from torch import Tensor

from fast_style.methods.image_pool import ImagePool


def numbered(start: int, count: int = 1) -> Tensor:
    """Images that contain their own number."""
    return torch.arange(start, start + count).float().view(-1, 1, 1, 1).expand(-1, 3, 2, 2)


def shown(pool: ImagePool, start: int, count: int) -> list[int]:
    return [int(pool.exchange(numbered(number))[0, 0, 0, 0]) for number in range(start, start + count)]


def test_until_it_is_full_each_picture_is_kept_and_shown() -> None:
    pool = ImagePool(50, seed=0)
    assert shown(pool, 0, 50) == list(range(50))
    assert len(pool) == 50
    assert pool.state_dict()["pictures"][:, 0, 0, 0].tolist() == list(range(50))


def test_the_rule_over_10_000_draws() -> None:
    draws, size = 10_000, 50
    pool = ImagePool(size, seed=3)
    shown(pool, 0, size)
    came = shown(pool, size, draws)
    new = [number == size + step for step, number in enumerate(came)]
    # Half of them are new: within four standard deviations of a fair coin.
    assert abs(sum(new) / draws - 0.5) < 4 * 0.5 / math.sqrt(draws)
    # The draws are independent: half of them equal the draw before.
    alike = sum(a == b for a, b in pairwise(new)) / (draws - 1)
    assert abs(alike - 0.5) < 4 * 0.5 / math.sqrt(draws)
    old = [(size + step) - number for step, number in enumerate(came) if not new[step]]
    # No image returns twice. Ages follow a geometric distribution: replaced with probability 1/100, mean 100.
    kept = [number for step, number in enumerate(came) if not new[step]]
    assert len(set(kept)) == len(kept)
    late = old[500:]
    assert sum(late) / len(late) == pytest.approx(2 * size, rel=0.08)
    assert sum(age > 2 * size for age in late) / len(late) == pytest.approx(math.exp(-1), abs=0.03)


def test_every_place_is_taken_equally_often() -> None:
    pool, size, draws = ImagePool(10, seed=1), 10, 10_000
    shown(pool, 0, size)
    counts = torch.zeros(size)
    before = pool.state_dict()["pictures"][:, 0, 0, 0]
    for number in range(size, size + draws):
        pool.exchange(numbered(number))
        now = pool.state_dict()["pictures"][:, 0, 0, 0]
        counts += now != before
        before = now
    expected = draws / 2 / size
    assert ((counts - expected).abs() < 5 * math.sqrt(expected)).all()


def test_a_batch_is_exchanged_picture_by_picture() -> None:
    one, other = ImagePool(4, seed=2), ImagePool(4, seed=2)
    batches = torch.cat([one.exchange(numbered(start, 3)) for start in range(0, 30, 3)])
    assert batches[:, 0, 0, 0].int().tolist() == shown(other, 0, 30)
    assert batches.shape == (30, 3, 2, 2)


def test_what_is_shown_has_no_gradient_and_is_no_view_of_what_changes() -> None:
    pool, pictures = ImagePool(3, seed=0), torch.rand(2, 3, 2, 2, requires_grad=True)
    answer = pool.exchange(pictures)
    assert not answer.requires_grad
    with torch.no_grad():
        pictures.zero_()
    assert pool.state_dict()["pictures"].max() > 0


def test_an_empty_pool_shows_new_ones_alone() -> None:
    pool = ImagePool(0, seed=0)
    assert shown(pool, 0, 100) == list(range(100))
    assert pool.state_dict()["pictures"].shape == (0,)
    pool.load_state_dict(pool.state_dict())


@pytest.mark.parametrize("before", [0, 2, 60])
def test_a_state_goes_on_to_the_bit(before: int) -> None:
    straight, resumed = ImagePool(5, seed=7), ImagePool(5, seed=8)
    shown(straight, 0, before)
    resumed.load_state_dict({name: value.clone() for name, value in straight.state_dict().items()})
    assert shown(resumed, before, 100) == shown(straight, before, 100)


def test_a_state_may_be_a_row_of_many_processes() -> None:
    states = [ImagePool(1, seed=seed).state_dict()["random"] for seed in (1, 2)]
    rows = torch.stack(states)
    pool = ImagePool(1, seed=0)
    pool.load_state_dict({"pictures": torch.empty(0), "random": rows[1]})
    assert torch.equal(pool.state_dict()["random"], states[1])


def test_nothing_else_that_is_left_to_chance_changes() -> None:
    pool = ImagePool(2, seed=0)
    before = torch.get_rng_state()
    shown(pool, 0, 50)
    assert torch.equal(before, torch.get_rng_state())


def test_a_picture_that_is_not_finite_does_not_come_back() -> None:
    pool = ImagePool(1, seed=0)
    assert pool.exchange(torch.full((1, 3, 2, 2), torch.nan)).isnan().all()
    assert all(pool.exchange(numbered(number)).isfinite().all() for number in range(20))


def test_the_precision_is_kept() -> None:
    pool = ImagePool(2, seed=0)
    pictures = torch.rand(2, 3, 2, 2).bfloat16()
    assert pool.exchange(pictures).dtype == torch.bfloat16
    assert torch.equal(pool.state_dict()["pictures"], pictures)


def test_what_does_not_do_is_refused() -> None:
    with pytest.raises(ValueError, match=r"pool_size \(images kept per side\) must be 0 or more; got -1"):
        ImagePool(-1, seed=0)
    full = ImagePool(3, seed=0)
    shown(full, 0, 3)
    with pytest.raises(ValueError, match="saved pool has 3 images, but this pool holds only 2"):
        ImagePool(2, seed=0).load_state_dict(full.state_dict())
