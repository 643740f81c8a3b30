"""Noise on the photo: its size, its range, and that it is repeatable."""

import json

import numpy as np
import pytest

from fast_style.stylize.input_noise import ROWS, trained_noise, with_noise

GREY = {"uint8": np.full((2 * ROWS + 5, 70, 3), 128, np.uint8), "float32": np.full((2 * ROWS + 5, 70, 3), 0.5, "f4")}


@pytest.mark.parametrize("dtype", GREY)
def test_the_noise_has_the_deviation_and_keeps_the_mean(dtype: str) -> None:
    scale = 255 if dtype == "uint8" else 1
    noise = (with_noise(GREY[dtype], 0.05).astype(float) - GREY[dtype]) / scale
    assert noise.std() == pytest.approx(0.05, rel=0.02)
    assert abs(noise.mean()) < 0.002


@pytest.mark.parametrize("dtype", GREY)
def test_the_same_image_gets_the_same_noise(dtype: str) -> None:
    noisy = with_noise(GREY[dtype], 0.05)
    assert noisy.dtype == GREY[dtype].dtype
    assert np.array_equal(noisy, with_noise(GREY[dtype], 0.05))
    noise = noisy.astype(float) - GREY[dtype]
    assert not np.array_equal(noise[:ROWS], noise[ROWS : 2 * ROWS])  # No pattern of strips.
    assert np.abs(np.corrcoef(noise.reshape(-1, 3).T) - np.eye(3)).max() < 0.05  # The channels are independent.


@pytest.mark.parametrize("level", [0, 255])
def test_the_range_is_kept(level: int) -> None:
    noisy = with_noise(np.full((8, 8, 3), level, np.uint8), 0.5)
    # A value that wrapped round would be at the other end.
    assert (noisy == level).mean() > 0.4
    whole = with_noise(np.full((8, 8, 3), level / 255, np.float32), 0.5)
    assert whole.min() >= 0
    assert whole.max() <= 1


def test_a_grey_image_of_one_channel_may_be_a_view() -> None:
    view = np.broadcast_to(np.full((9, 8, 1), 0.5, np.float32), (9, 8, 3))
    noisy = with_noise(view, 0.1)
    assert noisy.shape == (9, 8, 3)
    assert noisy.std() == pytest.approx(0.1, rel=0.2)


def test_without_noise_it_is_the_image_itself() -> None:
    assert with_noise(GREY["uint8"], 0) is GREY["uint8"]


@pytest.mark.parametrize("said", [0.08, "0.08", 1, 0])
def test_the_noise_of_a_training_is_read(said: object) -> None:
    assert trained_noise({"recipe": json.dumps({"method": {"noise_std": said}})}) == float(str(said))


@pytest.mark.parametrize(
    "recipe",
    [
        "{",
        "[]",
        "{}",
        '{"method": 3}',
        '{"method": {"noise_std": null}}',
        '{"method": {"noise_std": [1]}}',
        '{"method": {"noise_std": NaN}}',
        '{"method": {"noise_std": 1e999}}',
        '{"method": {"noise_std": -0.1}}',
        f'{{"method": {{"noise_std": 1{"0" * 400}}}}}',
        "[" * 100_000,
    ],
    ids=lambda recipe: recipe[:40],
)
def test_a_wrong_recipe_means_no_noise(recipe: str) -> None:
    assert trained_noise({"recipe": recipe}) == 0
    assert trained_noise({}) == 0
