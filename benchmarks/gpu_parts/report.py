"""The printed tables: a block for each part, and a summary at the end."""

from collections.abc import Mapping, Sequence
from typing import Any

Record = Mapping[str, Any]
Row = Sequence[Any]


def table(rows: Sequence[Row]) -> str:
    """Align the cells of rows: the first column to the left, the others to the right."""
    texts = [[cell(value) for value in row] for row in rows]
    columns = max((len(row) for row in texts), default=0)
    widths = [max(len(row[i]) for row in texts if i < len(row)) for i in range(columns)]
    lines = []
    for row in texts:
        cells = [
            text.ljust(width) if i == 0 else text.rjust(width)
            for i, (text, width) in enumerate(zip(row, widths, strict=False))
        ]
        lines.append("  " + "  ".join(cells).rstrip())
    return "\n".join(lines)


def cell(value: Any) -> str:
    """A number with three significant digits or more, a missing one as `-`, everything else as it is."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
    return str(value)


def part_report(name: str, record: Record) -> str:
    """What is printed when a part is over."""
    state = "" if record["status"] == "ok" else f" {record['status']}: {record.get('error', '')}"
    head = f"{name} ({record['seconds']:.0f} s){state}"
    figures = record["figures"]
    rows = TABLES.get(name, plain_rows)(figures) if figures else []
    return "\n".join([head, *([table(rows)] if rows else [])])


def summary(header: Record, parts: Mapping[str, Record]) -> str:
    """Header and state of every part."""
    what = ("date", "device", "driver", "commit")
    rows = [(key, header.get(key)) for key in what]
    rows += [(key, value) for key, value in header.get("versions", {}).items()]
    states = [(name, record["status"], record["seconds"]) for name, record in parts.items()]
    return "\n".join(["", table(rows), "", table([("part", "status", "seconds"), *states])])


def plain_rows(figures: Record, prefix: str = "") -> list[Row]:
    """All figures as rows, groups with their path."""
    rows: list[Row] = []
    for name, value in figures.items():
        if isinstance(value, Mapping):
            rows += plain_rows(value, f"{prefix}{name}, ")
        elif not isinstance(value, list):
            rows.append((f"{prefix}{name}", value))
    return rows


def groups(figures: Record, columns: Mapping[str, str]) -> list[Row]:
    """A row for each group of figures, with a column for each of some names; a failed group shows its error."""
    rows: list[Row] = [("", *columns)]
    for name, values in figures.items():
        if isinstance(values, Mapping):
            reason = values.get("error") or values.get("skipped")
            rows.append((name, reason) if isinstance(reason, str) else (name, *map(values.get, columns.values())))
    return rows if len(rows) > 1 else []


def step_rows(figures: Record) -> list[Row]:
    """Milliseconds of each side, and our images a second and shares of the peaks."""
    return groups(
        figures,
        {
            "ours ms": "ours_ms",
            "images/s": "images_per_second",
            "bare ms": "bare_ms",
            "plain ms": "plain_ms",
            "plain bf16 compiled ms": "plain_bf16_compiled_ms",
            "plain/ours": "plain_over_ours",
            "compiled plain/ours": "plain_bf16_compiled_over_ours",
            "of peak": "share_of_known_peak",
            "of measured": "share_of_measured_peak",
        },
    )


def breakdown_rows(figures: Record) -> list[Row]:
    """The variants, then the pieces of each."""
    rows = groups(
        figures,
        {
            "ms": "ms",
            "images/s": "images_per_second",
            "GPU busy ms": "busy_ms",
            "busy": "busy_share",
            "launch ms": "launch_overhead_ms",
            "kernels": "kernels",
        },
    )
    for name, values in figures.items():
        if isinstance(values, Mapping) and "pieces_ms" in values:
            rows += [(f"{name}: {piece}", milli) for piece, milli in values["pieces_ms"].items()]
    return rows


def johnson_rows(figures: Record) -> list[Row]:
    """Seconds of each row and their share of the sum."""
    total = figures.get("total_s")
    if not total:
        return plain_rows(figures)
    rows: list[Row] = [("40,000 steps", "seconds", "share")]
    rows += [(name, seconds, seconds / total) for name, seconds in figures["rows_s"].items()]
    rows.append(("sum", total, figures["total_over_goal"]))
    rows.append((f"with {figures.get('fastest_variant', 'the fastest variant')}", figures.get("total_with_fastest_s")))
    rows.append(("goal", figures["goal_s"]))
    return rows


def stylize_rows(figures: Record) -> list[Row]:
    """A row for each variant and size."""
    rows: list[Row] = [("", "ms", "images/s", "peak MiB")]
    for name, sizes in figures.items():
        if "skipped" in sizes:
            rows.append((name, sizes["skipped"]))
            continue
        for size, values in sizes.items():
            found = [values.get(key) for key in ("ms", "images_per_second", "peak_memory_mib")]
            rows.append((f"{name}, {size}", *([values["error"]] if "error" in values else found)))
    return rows


TABLES = {
    "step": step_rows,
    "breakdown": breakdown_rows,
    "autotune": breakdown_rows,
    "johnson2016": johnson_rows,
    "stylize": stylize_rows,
}
