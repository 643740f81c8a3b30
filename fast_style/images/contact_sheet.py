"""Draw images in rows and columns with labels: one image for a report.

torchvision's `make_grid` needs images of one size and writes no labels; Pillow's `ImageDraw` writes them here.
"""

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from fast_style.images.encode import to_uint8

_GAP = 8  # Pixels between cells, and around the sheet.
_WHITE, _BLACK = (255, 255, 255), (0, 0, 0)


def contact_sheet(
    rows: Sequence[Sequence[Tensor | None]],
    *,
    column_labels: Sequence[str] = (),
    row_labels: Sequence[str] = (),
    cell: int | None = 320,
    font_size: int = 16,
) -> Tensor:
    """Draw images side by side on white: column labels above, row labels at the left.

    Args:
        rows: rows of images `(1, 3, H, W)` or `(3, H, W)` in 0..1, of any sizes; None leaves a place empty.
        column_labels, row_labels: a text for each column and for each row, or no texts. A text may have several lines;
            a line that is wider than its column is broken at its spaces.
        cell: longest side of an image on the sheet in pixels. Larger images are reduced, smaller ones keep their size.
            None keeps all sizes.
        font_size: height of the text in pixels.

    Returns:
        The sheet, `(1, 3, H, W)` in 0..1.

    Raises:
        ValueError: no images, rows of unequal length, an image of another shape, or a wrong number of labels.
    """
    _check(rows, column_labels, row_labels)
    font = ImageFont.load_default(size=font_size)
    cells = [[None if found is None else _pillow(found, cell) for found in row] for row in rows]
    widths = [max(image.width if image else 0 for image in column) for column in zip(*cells, strict=True)]
    heights = [max(image.height if image else 0 for image in row) for row in cells]
    widest = max(widths)
    left = [_wrapped(text, font, widest) for text in row_labels]
    top = [_wrapped(text, font, max(width, widest // 2)) for text, width in zip(column_labels, widths, strict=False)]
    widths = [max(width, _size(text, font)[0]) for width, text in zip(widths, top or [""] * len(widths), strict=True)]
    heights = [
        max(height, _size(text, font)[1]) for height, text in zip(heights, left or [""] * len(rows), strict=True)
    ]
    columns = _starts([max((_size(text, font)[0] for text in left), default=0), *widths])
    lines = _starts([max((_size(text, font)[1] for text in top), default=0), *heights])
    sheet = Image.new("RGB", (columns[-1], lines[-1]), _WHITE)
    draw = ImageDraw.Draw(sheet)
    for column, text in zip(columns[1:], top, strict=False):
        draw.multiline_text((column, lines[0]), text, _BLACK, font)
    for line, text in zip(lines[1:], left, strict=False):
        draw.multiline_text((columns[0], line), text, _BLACK, font)
    for line, row in zip(lines[1:], cells, strict=False):
        for column, image in zip(columns[1:], row, strict=False):
            if image is not None:
                sheet.paste(image, (column, line))
    return torch.from_numpy(np.asarray(sheet, np.float32) / 255).permute(2, 0, 1)[None].contiguous()


def _check(rows: Sequence[Sequence[Tensor | None]], column_labels: Sequence[str], row_labels: Sequence[str]) -> None:
    lengths = sorted({len(row) for row in rows})
    if len(lengths) != 1 or all(found is None for row in rows for found in row):
        raise ValueError(f"A contact sheet needs rows of equal length with an image; got rows of length {lengths}.")
    for name, labels, count in (("column", column_labels, lengths[0]), ("row", row_labels, len(rows))):
        if len(labels) not in (0, count):
            raise ValueError(f"A contact sheet needs one label for each {name}, {count}, or none; got {len(labels)}.")


def _pillow(pixels: Tensor, cell: int | None) -> Image.Image:
    if pixels.ndim not in (3, 4) or pixels.shape[-3] != 3 or pixels.shape[:-3] not in ((), (1,)):
        raise ValueError(f"Images of a contact sheet must be (1, 3, H, W) or (3, H, W); got {tuple(pixels.shape)}.")
    array = pixels.detach().reshape(pixels.shape[-3:]).float().cpu().permute(1, 2, 0).numpy()
    image = Image.fromarray(to_uint8(array))
    if cell is not None:
        image.thumbnail((cell, cell), Image.Resampling.LANCZOS)
    return image


_Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


def _wrapped(text: str, font: _Font, width: int) -> str:
    """Break lines at spaces so that they are at most `width` pixels wide; a longer word stays whole."""
    lines: list[str] = []
    for given in text.splitlines():
        line = ""
        for word in given.split():
            longer = f"{line} {word}" if line else word
            if line and font.getlength(longer) > width:
                lines.append(line)
                longer = word
            line = longer
        lines.append(line)
    return "\n".join(lines)


def _size(text: str, font: _Font) -> tuple[int, int]:
    """Width and height of a text in pixels; (0, 0) for no text."""
    if not text:
        return 0, 0
    _, _, right, bottom = ImageDraw.Draw(Image.new("RGB", (1, 1))).multiline_textbbox((0, 0), text, font)
    return int(np.ceil(right)), int(np.ceil(bottom))


def _starts(lengths: Sequence[int]) -> list[int]:
    """Where each part starts, with a gap around parts that are not empty; the last number is the whole length."""
    starts = [_GAP]
    for length in lengths:
        starts.append(starts[-1] + length + (_GAP if length else 0))
    return starts
