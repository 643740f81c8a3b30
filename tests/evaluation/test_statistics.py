"""Intervals of figures: known ends for constant figures, the right coverage for random ones, the same for a seed."""

import math

import numpy as np
import pytest

from fast_style.evaluation.statistics import Estimate, estimate, paired_difference

NAN = math.nan


@pytest.mark.parametrize("value", [0.0, 0.1, -3.0, 1e-9])
def test_constant_figures_have_an_interval_of_width_0(value: float) -> None:
    found = estimate([value] * 16)
    assert (found.mean, found.low, found.high) == pytest.approx((value, value, value), rel=1e-12)
    assert found.high == found.low
    assert found.photos == 16


def test_the_interval_is_about_two_standard_errors_around_the_mean() -> None:
    values = list(np.random.default_rng(0).normal(5, 2, 400))
    found = estimate(values)
    assert found.low is not None
    assert found.high is not None
    assert found.mean == pytest.approx(np.mean(values))
    assert found.std == pytest.approx(np.std(values, ddof=1))
    error = 1.96 * 2 / 20
    assert (found.low, found.high) == pytest.approx((found.mean - error, found.mean + error), abs=0.1 * error)


def test_a_seed_gives_one_interval_and_photos_without_a_figure_are_not_counted() -> None:
    values = list(np.random.default_rng(0).uniform(size=16))
    assert estimate(values, seed=1) == estimate(values, seed=1) == estimate([*values, NAN], seed=1)
    assert estimate(values, seed=1) != estimate(values, seed=2)
    assert estimate([*values, NAN]).photos == 16
    assert estimate([3.0, NAN]) == Estimate(3.0, photos=1)
    with pytest.raises(ValueError, match="at least one photo; got none"):
        estimate([NAN])


def test_a_paired_difference_is_found_although_photos_differ_more() -> None:
    photos = np.random.default_rng(0).uniform(0, 10, 16)
    one, other = list(photos + 0.1), list(photos + np.random.default_rng(1).normal(0, 0.02, 16))
    apart = estimate(one), estimate(other)
    assert apart[0].low is not None
    assert apart[1].high is not None
    assert apart[0].low < apart[1].high  # Their own intervals overlap.
    difference = paired_difference(one, other)
    assert difference is not None
    assert difference.mean == pytest.approx(0.1, abs=0.02)
    assert difference.excludes_zero
    assert not estimate([-1.0, 1.0, 2.0, -2.0]).excludes_zero


def test_a_difference_needs_photos_that_have_both_figures() -> None:
    assert paired_difference([1.0, NAN], [NAN, 1.0]) is None
    found = paired_difference([1.0, NAN, 5.0], [0.5, 1.0, 4.5])
    assert found is not None
    assert (found.mean, found.low, found.high, found.photos) == (0.5, 0.5, 0.5, 2)
