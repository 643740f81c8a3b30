"""A blob at one place of all images is found, at a corner or at a share of the size; other blobs are not."""

import math

import pytest
import torch
from artefact_cases import ARTEFACTS, base
from torch import Tensor

from fast_style.evaluation.artefacts import FixedBlobs, measure_artefacts

NAMES = ("samples/astronaut.png", "samples/coffee.png", "samples/chelsea.png", "styles/the_scream.png")
NAMES += ("styles/shipwreck.png", "styles/wave.png", "styles/starry_night.png", "styles/van_gogh_2.png")


def stylized(sides: list[int]) -> list[tuple[Tensor, Tensor]]:
    """Photos, and what a painter makes of them: texture that has nothing to do with the place."""
    photos = [base(name, side) for name, side in zip(NAMES, sides, strict=True)]
    textures = [base(name, side).flip(-1) for name, side in zip(reversed(NAMES), sides, strict=True)]
    return [(0.5 * photo + 0.5 * texture, photo) for photo, texture in zip(photos, textures, strict=True)]


def with_blob(painted: Tensor, row: int, column: int, levels: float) -> Tensor:
    """A soft spot of about 16 pixels."""
    down, across = (torch.arange(side) - place for side, place in zip(painted.shape[-2:], (row, column), strict=True))
    return painted + levels / 255 * torch.exp(-(down[:, None].square() + across.square()) / 2 / 8**2)


def figure(pairs: list[tuple[Tensor, Tensor]]) -> float:
    blobs = FixedBlobs()
    for painted, photo in pairs:
        blobs.add(painted, photo)
    return blobs.compute()


SIDES = [176, 200, 224, 248] * 2


@pytest.mark.parametrize("place", ["corner", "far corner", "share"])
def test_a_blob_at_one_place_is_found(place: str) -> None:
    def at(side: int) -> tuple[int, int]:
        return {"corner": (50, 60), "far corner": (side - 60, side - 50), "share": (side // 3, side // 2)}[place]

    pairs = stylized(SIDES)
    values = [figure([(with_blob(p, *at(p.shape[-1]), levels), photo) for p, photo in pairs]) for levels in (0, 40, 60)]
    assert values[0] < 4
    assert values[1] > 3 * max(values[0], 2)
    assert values[2] > values[1]


def test_blobs_at_other_places_do_not_count() -> None:
    pairs = stylized(SIDES)
    places = torch.randint(40, 130, (len(pairs), 2)).tolist()
    moved = [(with_blob(p, *at, 60), photo) for (p, photo), at in zip(pairs, places, strict=True)]
    assert figure(moved) < 6


def test_a_blob_of_the_photos_does_not_count() -> None:
    pairs = [(with_blob(painted, 60, 60, 30), with_blob(photo, 60, 60, 60)) for painted, photo in stylized(SIDES)]
    assert figure(pairs) < 6


# A glow or shadow at the same place of all images is a blob.
@pytest.mark.parametrize("artefact", [name for name, case in ARTEFACTS.items() if case[2] != "clipping"])
def test_other_artefacts_are_no_blobs(artefact: str) -> None:
    add, strengths, _ = ARTEFACTS[artefact]
    assert figure([(add(painted, strengths[0]), photo) for painted, photo in stylized(SIDES)]) < 4


@pytest.mark.parametrize("name", ["flat", "samples/coffee.png", "styles/the_scream.png"])
def test_a_blob_is_no_other_artefact(name: str) -> None:
    clean = base(name)
    before, after = (measure_artefacts(with_blob(clean, 110, 120, levels), clean) for levels in (0, 25))
    allowed = {"checkerboard": 1.0, "dots": 2.0, "banding": 1.0, "border": 5.0, "clipping": 0.5}
    assert all(after[figure] == pytest.approx(before[figure], abs=change) for figure, change in allowed.items())


def test_a_few_images_tell_nothing() -> None:
    assert math.isnan(figure(stylized(SIDES)[:3]))


def test_other_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match="sides of at least 64 pixels; got"):
        FixedBlobs().add(torch.rand(1, 3, 80, 80), torch.rand(1, 3, 80, 82))
