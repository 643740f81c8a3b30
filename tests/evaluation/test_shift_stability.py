"""A painter that follows the photo is stable; one that is tied to the pixel grid is not."""

import pytest
import torch
import torch.nn.functional as F
from artefact_cases import base
from torch import Tensor

from fast_style.evaluation.shift_stability import measure_stability


def blurred(photo: Tensor) -> Tensor:
    return F.avg_pool2d(F.pad(photo, (2,) * 4, mode="reflect"), 5, stride=1)


def blocks(photo: Tensor) -> Tensor:
    """Four pixels a block: tied to a grid with a period of 4."""
    height, width = photo.shape[-2:]
    small = F.avg_pool2d(F.pad(photo, (0, -width % 4, 0, -height % 4), mode="replicate"), 4)
    return F.interpolate(small, scale_factor=4)[..., :height, :width]


def striped(photo: Tensor) -> Tensor:
    return photo + 4 / 255 * (torch.arange(photo.shape[-1]) % 2 - 0.5)


def test_a_painter_that_follows_the_photo_does_not_change() -> None:
    found = measure_stability(blurred, base("samples/coffee.png", 120))
    assert max(found[f"shift{shift}"] for shift in (1, 2, 3)) < 1e-3
    assert found["noise"] == pytest.approx(1 / 5, rel=0.1), "the mean of 25 pixels"


def test_a_copy_of_the_photo_has_its_noise() -> None:
    assert measure_stability(lambda photo: photo, base("samples/coffee.png", 120)) == pytest.approx(
        {"shift1": 0, "shift2": 0, "shift3": 0, "noise": 1}
    )


def test_a_painter_that_is_tied_to_the_grid_changes_with_the_shift() -> None:
    found = measure_stability(blocks, base("samples/coffee.png", 120))
    assert min(found[f"shift{shift}"] for shift in (1, 2, 3)) > 5
    assert found["noise"] < 0.5


def test_a_pattern_of_period_two_moves_with_odd_shifts_only() -> None:
    found = measure_stability(striped, base("flat", 120))
    assert found == pytest.approx({"shift1": 4, "shift2": 0, "shift3": 4, "noise": 1}, abs=1e-3)


def test_a_painter_that_enlarges_noise_is_told_from_one_that_moves() -> None:
    found = measure_stability(lambda photo: 0.5 + 3 * (photo - 0.5), base("flat", 120))
    assert found == pytest.approx({"shift1": 0, "shift2": 0, "shift3": 0, "noise": 3}, abs=1e-3)


@pytest.mark.parametrize("shape", [(1, 3, 63, 90), (2, 3, 90, 90), (1, 1, 90, 90)])
def test_other_shapes_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="sides of at least 64 pixels; got"):
        measure_stability(blurred, torch.rand(shape))
