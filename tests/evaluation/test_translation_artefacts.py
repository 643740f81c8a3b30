"""Mean artefact figures of translated images, beside those of the originals."""

import pytest
import torch
from torch import Tensor

from fast_style.evaluation.artefacts import measure_artefacts
from fast_style.evaluation.translation_artefacts import TranslationArtefacts


def pair(seed: int, side: int = 96, lines: float = 0.05) -> tuple[Tensor, Tensor]:
    """A translation with lines along its rows, and its original, which is almost flat."""
    picture = 0.5 + 0.005 * torch.randn(1, 3, side, side, generator=torch.Generator().manual_seed(seed))
    rows = torch.sin(torch.arange(float(side)) * 2 * torch.pi / 5)
    return picture + lines * rows[:, None], picture


def test_the_means_are_those_of_the_images() -> None:
    found, pairs = TranslationArtefacts(), [pair(0), pair(1, lines=0.02)]
    assert list(found.watched(pairs)) == pairs
    for number, side in ((0, "translated"), (1, "untranslated")):
        single = [measure_artefacts(images[number], images[1]) for images in pairs]
        wanted = {name: sum(figures[name] for figures in single) / 2 for name in single[0]}
        assert found.means()[side] == pytest.approx(wanted)
    assert found.means()["translated"]["banding"] > 3 > found.means()["untranslated"]["banding"]
    assert found.pictures == 2


def test_small_images_pass_unmeasured() -> None:
    found, small = TranslationArtefacts(), pair(0, side=48)
    assert list(found.watched([small])) == [small]
    assert found.pictures == 0
    assert found.means() == {"untranslated": {}, "translated": {}}


def test_the_table_has_a_row_for_each_artefact() -> None:
    found = TranslationArtefacts()
    list(found.watched([pair(0)]))
    head, *rows = (line.split() for line in found.as_table().splitlines())
    assert head == ["artefact", "untranslated", "translated"]
    means = found.means()
    assert {name: float(after) for name, _, after in rows} == pytest.approx(means["translated"], rel=0.01)
    assert {name: float(before) for name, before, _ in rows} == pytest.approx(means["untranslated"], rel=0.01)
