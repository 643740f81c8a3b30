"""A comparison as a text table, as a Markdown table and as values for a JSON file."""

from collections.abc import Iterator, Sequence

from fast_style.evaluation.comparison import Comparison
from fast_style.evaluation.statistics import CONFIDENCE, Estimate

Cells = Sequence[str]


def as_json(found: Comparison) -> dict[str, object]:
    """Return plain values: the figures of each side with their spread, and the differences from the first side."""
    return {
        "photos": found.photos,
        "judges": {name: {"trained_on": list(found.trained_on[name])} for name in found.judges},
        "confidence": CONFIDENCE,
        "sides": {side: _plain(own) for side, own in found.figures.items()},
        "differences_from_first_side": {side: _plain(own) for side, own in found.differences.items()},
    }


def as_table(found: Comparison) -> str:
    """Return the figures as a text table: one column a side, and the difference of two sides."""
    head = ("", *_columns(found))
    sections = list(_sections(found))
    rows = [head, *(row for _, own in sections for row in own)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
    lines = [_aligned(head, widths)]
    for title, own in sections:
        lines += ["", title, *(_aligned(row, widths) for row in own)]
    return "\n".join(lines)


def as_markdown(found: Comparison) -> str:
    """Return the figures as one Markdown table a judge and section, with the photos and the interval."""
    lines = [f"Mean over {found.photos} photos, with its {CONFIDENCE:.0%} bootstrap interval."]
    for title, rows in _sections(found):
        head = ("figure", *_columns(found))
        lines += ["", f"**{title}**", "", _piped(head), _piped(["---"] * len(head)), *map(_piped, rows)]
    return "\n".join(lines) + "\n"


def caption(found: Comparison, side: str) -> str:
    """The name of a side and, in one line a judge, its style errors from scale 1 on and its content error."""
    figures, lines = found.figures[side], [side]
    for judge in found.judges:
        prefix = f"{judge}/style/scale"
        styles = [figure.mean for name, figure in figures.items() if name.removeprefix(prefix).isdecimal()]
        content = _figure(figures[f"{judge}/content"].mean, "")
        lines.append(f"{judge}: style {' '.join(_figure(style, '') for style in styles)}, content {content}")
    return "\n".join(lines)


def _columns(found: Comparison) -> Cells:
    names = list(found.figures)
    return [*names, f"{names[1]} - {names[0]}"] if len(names) == 2 else names


def _sections(found: Comparison) -> Iterator[tuple[str, list[Cells]]]:
    names = dict.fromkeys(name for own in found.figures.values() for name in own)
    sections = dict.fromkeys([*found.judges, *(name.partition("/")[0] for name in names)])
    for section in sections:
        trained = found.trained_on.get(section, ())
        title = section + (f" (trained on: {', '.join(trained)})" if trained else "")
        own = [name for name in names if name.partition("/")[0] == section]
        yield title, [(f"  {name.partition('/')[2]}", *_cells(found, name)) for name in own]


def _cells(found: Comparison, name: str) -> Iterator[str]:
    for own in found.figures.values():
        yield _cell(own.get(name), found.photos)
    if len(found.figures) == 2:
        (differences,) = found.differences.values()
        yield _cell(differences.get(name), found.photos, sign="+")


def _cell(found: Estimate | None, photos: int, sign: str = "") -> str:
    if found is None:
        return ""
    text = _figure(found.mean, sign)
    if found.low is not None and found.high is not None:
        text += f" [{_figure(found.low, sign)}, {_figure(found.high, sign)}]"
    # Photos that are too small for a scale have no figure there.
    return text if found.photos in (0, photos) else f"{text} ({found.photos} of {photos} photos)"


def _figure(value: float, sign: str) -> str:
    """Three significant digits."""
    return f"{value:{sign}.0f}" if abs(value) >= 100 else f"{value:{sign}.3g}"


def _plain(figures: dict[str, Estimate]) -> dict[str, object]:
    return {name: found.as_json() for name, found in figures.items()}


def _aligned(cells: Cells, widths: Sequence[int]) -> str:
    return "  ".join(f"{cell:<{width}}" for cell, width in zip(cells, widths, strict=True)).rstrip()


def _piped(cells: Cells) -> str:
    return f"| {' | '.join(cell.strip() for cell in cells)} |"
