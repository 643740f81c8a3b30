"""Each artefact raises its own figure and no other, on flat images, photos and paintings."""

from pathlib import Path

import pytest
import torch
from artefact_cases import ARTEFACTS, BASES, base
from torch import Tensor

from fast_style import load_image, save_image
from fast_style.evaluation.artefacts import flat_checkerboard, measure_artefacts

#: Changes below this are no change: levels, dots for 10,000 pixels, percent.
SMALL = {"checkerboard": 1.0, "dots": 2.0, "banding": 1.0, "border": 5.0, "clipping": 0.5}
QUICK = ("flat", "styles/the_scream.png")
NAMES = [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in BASES]


@pytest.mark.parametrize("name", NAMES)
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


def test_flat_colours_show_a_checkerboard_of_the_network() -> None:
    add = ARTEFACTS["checkerboard of period 2"][0]
    assert flat_checkerboard(lambda photo: 0.9 * photo, size=64) == 0
    assert flat_checkerboard(lambda photo: add(0.1 + 0.8 * photo, 3)) == pytest.approx(3, rel=0.01)
    with pytest.raises(ValueError, match="at least 64 pixels; got 63"):
        flat_checkerboard(lambda photo: photo, size=63)


def as_jpeg(pixels: Tensor, quality: int, folder: Path) -> Tensor:
    save_image(pixels, folder / "image.jpg", quality=quality)
    return load_image(folder / "image.jpg")


@pytest.mark.parametrize("quality", [95, 85, 60])
@pytest.mark.parametrize("name", ["samples/coffee.png", "styles/the_scream.png"])
def test_the_blocks_of_jpeg_are_no_artefact(quality: int, name: str, tmp_path: Path) -> None:
    clean = base(name)
    found = measure_artefacts(as_jpeg(clean, quality, tmp_path), clean)
    assert all(value < small for value, small in zip(found.values(), SMALL.values(), strict=True)), found


def test_a_checkerboard_survives_a_good_jpeg(tmp_path: Path) -> None:
    board = ARTEFACTS["checkerboard of period 4"][0](base("samples/coffee.png"), 6)
    before = measure_artefacts(board, board)["checkerboard"]
    assert measure_artefacts(as_jpeg(board, 95, tmp_path), board)["checkerboard"] == pytest.approx(before, rel=0.1)


def test_lines_and_dots_of_the_photo_do_not_count() -> None:
    clean = base("samples/coffee.png")
    for artefact, strength in (("dots in rows", 40), ("lines along rows", 24)):
        add, _, own = ARTEFACTS[artefact]
        photo = add(clean, strength)
        assert measure_artefacts(0.2 + 0.6 * photo, photo)[own] < 0.3 * measure_artefacts(photo, clean)[own]
