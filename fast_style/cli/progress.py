"""Progress bars of stylizing."""

import sys
from typing import NoReturn, Self

from tqdm import tqdm


class PictureProgressBar:
    """Count finished images and images per second. For a single image, show the finished share instead.

    `header` is printed before the first result, so an error before that is the only line of output. Used as a context
    manager, the bar is also closed after an error.
    """

    def __init__(self, pictures: int, *, header: str) -> None:
        self.header: str | None = header
        self.single = pictures == 1
        # A single image that is not split into strips has no bar.
        self.bar: tqdm[NoReturn] | None = None if self.single else tqdm(total=pictures, unit="picture")

    def within(self, share: float) -> None:
        """Show the finished share, 0 to 1, of a single image."""
        if self.single:
            self.bar = self.bar or tqdm(total=100, unit="%", leave=False)
            self.bar.update(round(100 * share) - self.bar.n)

    def next(self, line: str) -> None:
        """Count a finished image and print a line."""
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
