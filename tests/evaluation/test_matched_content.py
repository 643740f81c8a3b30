"""Blending reaches the content error that is asked for, within few rounds."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from fast_style.evaluation.judged_sides import JudgedSides, Match
from fast_style.evaluation.judges import Judge
from fast_style.evaluation.matched_content import MAX_ROUNDS, TOLERANCE, StrengthSearch, blended
from fast_style.evaluation.style_metrics import StyleMetrics
from fast_style.networks.loss_network import LossNetwork


@pytest.fixture
def judge(tiny_loss_network: LossNetwork) -> Judge:
    return Judge("tiny", tiny_loss_network, ("relu1", "conv2"), ("relu1", "relu2"))


def smooth(seed: int) -> Tensor:
    values = torch.rand(1, 3, 8, 8, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.interpolate(values, size=(32, 32), mode="bilinear")


@pytest.mark.parametrize("curve", [lambda a: a, lambda a: a**1.5, lambda a: a**2, lambda a: (a + a**3) / 2])
@pytest.mark.parametrize("wanted", [0.3, 0.6, 0.9])
def test_the_strength_of_a_known_curve_is_found(curve: Callable[[float], float], wanted: float) -> None:
    search = StrengthSearch(3.0, 3 * curve(wanted))
    rounds = 0
    while (strength := search.next_strength) is not None and rounds < 9:
        search.add(strength, 3 * curve(strength))
        rounds += 1
    assert 1 <= rounds <= 3
    assert search.contents[search.best] == pytest.approx(search.target, rel=TOLERANCE)
    assert search.best == pytest.approx(wanted, rel=0.01)


@pytest.mark.parametrize(("target", "possible"), [(3.0, True), (2.0, True), (3.1, False), (0.0, False)])
def test_blending_reaches_no_more_content_error_than_the_images_have(target: float, possible: bool) -> None:
    search = StrengthSearch(3.0, target)
    assert search.is_possible == possible
    assert (search.next_strength is not None) == (target == 2.0)


@pytest.mark.parametrize("jump", [0.4, 0.61, 0.9])
def test_a_search_that_finds_nothing_ends(jump: float) -> None:
    search, rounds = StrengthSearch(3.0, 1.0), 0
    while (strength := search.next_strength) is not None:
        assert rounds < MAX_ROUNDS
        search.add(strength, 2.0 if strength > jump else 0.5)
        rounds += 1


@pytest.mark.parametrize("strength", [0, 0.25, 0.5, 0.75])
def test_a_blend_has_less_content_error(judge: Judge, strength: float) -> None:
    photo, painted = smooth(0), smooth(1)
    metrics = StyleMetrics(judge, {32: smooth(2)}, scales=[1])
    features = metrics.photo_features(photo)
    full, less = (metrics.errors(p, features).content_error for p in (painted, blended(painted, photo, strength)))
    assert 0 <= less < full
    assert torch.equal(blended(painted, photo, 1.0), painted)


def matched(judge: Judge, sides: list[list[Tensor]], photos: list[Tensor], match: Match) -> list[dict[str, float]]:
    found = JudgedSides(judge, {32: smooth(9)}, sides=len(sides), scales=[1, 2], match_content=match)
    for index, photo in enumerate(photos):
        found.add(photo, [side[index] for side in sides])
    while strengths := found.next_strengths():
        for index, photo in enumerate(photos):
            found.add_blends(photo, {number: side[index] for number, side in enumerate(sides)}, strengths)
    return [{name: sum(v) / len(v) if isinstance(v, list) else v for name, v in own.items()} for own in found.figures()]


def test_a_side_is_blended_until_it_is_as_faithful_as_the_other(judge: Judge) -> None:
    """The second side at strength 0.6 is the first side, so its figures at matched content are known."""
    photos, far = [smooth(0), smooth(1)], [smooth(2), smooth(3)]
    near = [blended(picture, photo, 0.6) for picture, photo in zip(far, photos, strict=True)]
    lower, higher = matched(judge, [near, far], photos, "lowest")
    assert lower["content"] < higher["content"]
    for name in ("style/scale1", "style/scale2", "content"):
        assert lower[f"matched/{name}"] == lower[name]
        assert higher[f"matched/{name}"] == pytest.approx(lower[name], rel=0.02)
    assert lower["matched/strength"] == 1
    assert higher["matched/strength"] == pytest.approx(0.6, abs=0.01)


def test_a_content_error_can_be_given(judge: Judge) -> None:
    photos, painted = [smooth(0), smooth(1)], [smooth(2), smooth(3)]
    [full] = matched(judge, [painted], photos, 100.0)
    assert not any(name.startswith("matched/") for name in full)  # More than the images themselves have.
    [found] = matched(judge, [painted], photos, full["content"] / 2)
    assert found["matched/content"] == pytest.approx(full["content"] / 2, rel=TOLERANCE)
    assert 0.5 < found["matched/strength"] < 0.9
    [unmatched] = matched(judge, [painted], photos, None)
    assert unmatched == full


def test_a_side_that_is_the_photo_leaves_nothing_to_match(judge: Judge) -> None:
    photos, painted = [smooth(0)], [smooth(2)]
    figures = matched(judge, [photos, painted], photos, "lowest")
    assert not any(name.startswith("matched/") for own in figures for name in own)
