"""Blending reaches the content error that is asked for, and the interpolation agrees with a search."""

import math

import pytest
import torch
from torch import Tensor

from fast_style.evaluation.judged_sides import JudgedSides
from fast_style.evaluation.judges import Judge
from fast_style.evaluation.matched_content import STRENGTHS, at_strength, blended, strength_of_content
from fast_style.evaluation.style_metrics import StyleMetrics
from fast_style.networks.loss_network import LossNetwork

GRID = (0.0, *STRENGTHS, 1.0)


@pytest.fixture
def judge(tiny_loss_network: LossNetwork) -> Judge:
    return Judge("tiny", tiny_loss_network, ("relu1", "conv2"), ("relu1", "relu2"))


def smooth(seed: int) -> Tensor:
    values = torch.rand(1, 3, 8, 8, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.interpolate(values, size=(32, 32), mode="bilinear")


@pytest.mark.parametrize("power", [1, 1.5, 2])
def test_the_strength_of_a_known_curve_is_found(power: float) -> None:
    contents = {strength: 3 * strength**power for strength in GRID}
    for strength in (0.3, 0.5, 0.6, 0.75, 0.9):
        assert strength_of_content(contents, 3 * strength**power) == pytest.approx(strength, abs=0.02)
    assert strength_of_content(contents, 3.0) == 1
    assert strength_of_content(contents, 3.1) is None


def test_values_are_interpolated_photo_by_photo() -> None:
    values = {strength: [strength, 2 - strength, math.nan] for strength in GRID}
    found = at_strength(values, 0.6)
    assert list(found[:2]) == pytest.approx([0.6, 1.4])
    assert math.isnan(found[2])
    assert list(at_strength({1.0: [0.25, 0.5]}, 1.0)) == [0.25, 0.5]


@pytest.mark.parametrize("strength", [0, 0.25, 0.5, 0.75])
def test_a_blend_has_less_content_error(judge: Judge, strength: float) -> None:
    photo, painted = smooth(0), smooth(1)
    metrics = StyleMetrics(judge, {32: smooth(2)}, scales=[1])
    features = metrics.photo_features(photo)
    full, less = (metrics.errors(p, features).content_error for p in (painted, blended(painted, photo, strength)))
    assert 0 <= less < full
    assert torch.equal(blended(painted, photo, 1.0), painted)


def matched(
    judge: Judge, sides: list[list[Tensor]], photos: list[Tensor], match: float | str
) -> list[dict[str, float]]:
    found = JudgedSides(judge, {32: smooth(9)}, sides=len(sides), scales=[1, 2], match_content=match)  # type: ignore[arg-type]
    for index, photo in enumerate(photos):
        found.add(photo, [side[index] for side in sides])
    return [{name: sum(v) / len(v) if isinstance(v, list) else v for name, v in own.items()} for own in found.figures()]


def test_the_figures_agree_with_a_search_over_blends(judge: Judge) -> None:
    photos, far = [smooth(0), smooth(1)], [smooth(2), smooth(3)]
    near = [blended(picture, photo, 0.6) for picture, photo in zip(far, photos, strict=True)]
    lower, higher = matched(judge, [near, far], photos, "lowest")
    assert lower["matched/strength"] == 1
    assert lower["matched/style/scale2"] == lower["style/scale2"]
    assert lower["matched/content"] == lower["content"] == higher["matched/content"] < higher["content"]
    # The second side at strength 0.6 is the first side.
    assert higher["matched/strength"] == pytest.approx(0.6, abs=0.01)
    for scale in (1, 2):
        assert higher[f"matched/style/scale{scale}"] == pytest.approx(lower[f"style/scale{scale}"], rel=0.03)


def test_a_content_error_can_be_given(judge: Judge) -> None:
    photos, painted = [smooth(0), smooth(1)], [smooth(2), smooth(3)]
    [full] = matched(judge, [painted], photos, 100.0)
    assert not any(name.startswith("matched/") for name in full)  # More than the images themselves have.
    [found] = matched(judge, [painted], photos, full["content"] / 2)
    assert found["matched/content"] == full["content"] / 2
    assert 0.5 < found["matched/strength"] < 0.9
