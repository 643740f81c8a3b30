"""A contact sheet shows every image unchanged at its place, on white, with its labels."""

import pytest
import torch
from torch import Tensor

from fast_style.images.contact_sheet import contact_sheet

GAP = 8


def flat(level: float, height: int = 20, width: int = 30) -> Tensor:
    return torch.full((1, 3, height, width), level)


def test_images_stand_in_rows_and_columns_on_white() -> None:
    pictures = [[torch.rand(1, 3, 20, 30), torch.rand(3, 24, 16)], [None, torch.rand(1, 3, 10, 12)]]
    sheet = contact_sheet(pictures)
    assert sheet.shape == (1, 3, GAP + 24 + GAP + 10 + GAP, GAP + 30 + GAP + 16 + GAP)
    expected = torch.ones_like(sheet)
    for row, top in zip(pictures, (GAP, GAP + 24 + GAP), strict=True):
        for picture, left in zip(row, (GAP, GAP + 30 + GAP), strict=True):
            if picture is not None:
                height, width = picture.shape[-2:]
                expected[..., top : top + height, left : left + width] = picture
    torch.testing.assert_close(sheet, expected, rtol=0, atol=0.51 / 255)


def test_larger_images_are_reduced_with_their_aspect_ratio() -> None:
    sheet = contact_sheet([[flat(0, 400, 200), flat(0, 30, 20)]], cell=100)
    assert sheet.shape[-2:] == (GAP + 100 + GAP, GAP + 50 + GAP + 20 + GAP)
    assert contact_sheet([[flat(0, 400, 200)]], cell=None).shape[-2:] == (400 + 2 * GAP, 200 + 2 * GAP)


def test_labels_are_written_outside_the_images() -> None:
    rows = [[flat(0.5, 40, 80)], [flat(0.25, 40, 80)]]
    plain = contact_sheet(rows)
    labelled = contact_sheet(rows, column_labels=["wave"], row_labels=["a", "b"])
    height, width = (after - before for after, before in zip(labelled.shape[-2:], plain.shape[-2:], strict=True))
    assert min(height, width) > GAP
    above, left = labelled[..., :height, width:], labelled[..., height:, :width]
    assert above.min() == 0  # Black text.
    assert left.min() == 0
    wide = labelled[..., height:, width:][..., : plain.shape[-1]]
    torch.testing.assert_close(wide[..., GAP:-GAP], plain[..., GAP:-GAP])


def test_a_long_label_is_broken_at_its_spaces() -> None:
    one = contact_sheet([[flat(0, 20, 100)]], column_labels=["published"])
    two = contact_sheet([[flat(0, 20, 100)]], column_labels=["published model of the paper"])
    forced = contact_sheet([[flat(0, 20, 100)]], column_labels=["published\nmodel of\nthe paper"])
    assert one.shape[-2] < two.shape[-2] <= forced.shape[-2]
    assert two.shape[-1] == one.shape[-1]


@pytest.mark.parametrize(
    ("rows", "labels", "sentence"),
    [
        ([], {}, r"rows of equal length with an image; got rows of length \[\]"),
        ([[None]], {}, "with an image"),
        ([[flat(0)], [flat(0), flat(0)]], {}, r"length \[1, 2\]"),
        ([[flat(0)[:, :1]]], {}, r"got \(1, 1, 20, 30\)"),
        ([[flat(0)]], {"column_labels": ["a", "b"]}, "each column, 1, or none; got 2"),
        ([[flat(0)]], {"row_labels": ["a", "b"]}, "each row, 1, or none; got 2"),
    ],
)
def test_wrong_rows_and_labels_are_refused(
    rows: list[list[Tensor]], labels: dict[str, list[str]], sentence: str
) -> None:
    with pytest.raises(ValueError, match=sentence):
        contact_sheet(rows, **labels)  # type: ignore[arg-type]
