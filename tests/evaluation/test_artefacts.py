"""Each artefact raises its own figure and no other, on flat images, photos and paintings."""

import pytest
import torch
from artefact_cases import ARTEFACTS, BASES, base

from fast_style.evaluation.artefacts import flat_checkerboard, measure_artefacts

#: Changes below this are no change: levels, dots for 10,000 pixels, percent.
SMALL = {"checkerboard": 1.0, "dots": 2.0, "banding": 1.0, "border": 5.0, "clipping": 0.5}


@pytest.mark.parametrize("name", BASES)
@pytest.mark.parametrize("artefact", ARTEFACTS)
def test_an_artefact_raises_its_own_figure_and_no_other(artefact: str, name: str) -> None:
    add, strengths, own = ARTEFACTS[artefact]
    clean = base(name)
    before = measure_artefacts(clean, clean)
    found = [measure_artefacts(add(clean, strength), clean) for strength in strengths]
    values = [figures[own] for figures in found]
    assert values == sorted(values), "a stronger artefact has a higher figure"
    assert values[0] > before[own]
    assert values[-1] > 3 * max(before[own], SMALL[own] / 3)
    for figure in before.keys() - {own}:
        for figures in found[:2]:
            assert figures[figure] == pytest.approx(before[figure], rel=0.25, abs=SMALL[figure]), figure


def test_a_flat_image_has_no_artefacts() -> None:
    flat = base("flat")
    assert set(measure_artefacts(flat, flat).values()) == {0}


@pytest.mark.parametrize("shape", [(64, 64), (65, 90), (130, 70), (97, 203)])
def test_images_of_any_size_are_measured(shape: tuple[int, int]) -> None:
    found = measure_artefacts(torch.rand(1, 3, *shape), torch.rand(1, 3, *shape))
    assert all(value >= 0 for value in found.values())


@pytest.mark.parametrize(
    ("painted", "photo"),
    [((1, 3, 63, 80), (1, 3, 63, 80)), ((1, 3, 80, 80), (1, 3, 80, 81)), ((2, 3, 80, 80),) * 2, ((1, 1, 80, 80),) * 2],
)
def test_other_shapes_are_refused(painted: tuple[int, ...], photo: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="sides of at least 64 pixels; got"):
        measure_artefacts(torch.rand(painted), torch.rand(photo))


def test_flat_photos_show_a_checkerboard_of_the_network() -> None:
    add = ARTEFACTS["checkerboard of period 2"][0]
    assert flat_checkerboard(lambda photo: 0.9 * photo, size=96) == 0
    assert flat_checkerboard(lambda photo: add(0.1 + 0.8 * photo, 3), size=96) == pytest.approx(3, rel=0.01)
