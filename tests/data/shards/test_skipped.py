"""A skipped image is one line of two columns, for any file name."""

import os
from pathlib import Path

import pytest

from fast_style.data.shards.skipped import SKIPPED, in_one_line, write_skipped


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("a photo.jpg", "a photo.jpg"),
        ("two\nlines\tof  it\r\n", "two lines of it"),
        (os.fsdecode(b"caf\xe9.jpg"), "caf\\udce9.jpg"),
        ("œuvre.jpg", "œuvre.jpg"),
        ("", ""),
    ],
)
def test_any_text_is_one_line_of_unicode(text: str, line: str) -> None:
    assert in_one_line(text) == line
    assert in_one_line(line) == line


def test_the_list_has_one_row_per_image(tmp_path: Path) -> None:
    write_skipped(tmp_path, [("a\nb.jpg", "an empty file"), (os.fsdecode(b"\xff"), "of two\tparts")])
    rows = [line.split("\t") for line in (tmp_path / SKIPPED).read_text(encoding="utf-8").splitlines()]
    assert rows == [["name", "reason"], ["a b.jpg", "an empty file"], ["\\udcff", "of two parts"]]
