"""What is seen of a painting while it takes its time."""

import sys
from typing import NoReturn, Self

from tqdm import tqdm


class PictureProgressBar:
    """Pictures and how many a second; of a single one, the share that is done, if it takes longer.

    `header` goes before the first of them that is painted: a mistake is then one sentence and nothing else. As a
    context it is closed at the end, after an error too.
    """

    def __init__(self, pictures: int, *, header: str) -> None:
        self.header: str | None = header
        self.single = pictures == 1
        # A single one that is painted whole has no parts to tell of, and no bar.
        self.bar: tqdm[NoReturn] | None = None if self.single else tqdm(total=pictures, unit="picture")

    def within(self, share: float) -> None:
        """A part of a picture is done."""
        if self.single:
            self.bar = self.bar or tqdm(total=100, unit="%", leave=False)
            self.bar.update(round(100 * share) - self.bar.n)

    def next(self, line: str) -> None:
        """A picture is done."""
        if self.header:
            tqdm.write(self.header, file=sys.stderr)
            self.header = None
        if self.bar is not None and not self.single:
            self.bar.update()
        tqdm.write(line)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.bar is not None:
            self.bar.close()
