"""What is seen of a painting while it takes its time."""

import sys

from tqdm import tqdm


class Bar:
    """Pictures and how many a second; of a single one, the share that is done, if it takes longer.

    `said` goes before the first of them that is painted: a mistake is then one sentence and nothing else.
    """

    def __init__(self, pictures: int, *, said: str) -> None:
        self.said: str | None = said
        self.single = pictures == 1
        total, unit = (100, "%") if self.single else (pictures, "picture")
        # A single one that is painted whole has no parts to tell of.
        self.bar = tqdm(total=total, unit=unit, delay=1e9 if self.single else 0, leave=not self.single)

    def within(self, share: float) -> None:
        """A part of a picture is done."""
        if self.single:
            self.bar.delay = 2
            self.bar.update(round(100 * share) - self.bar.n)

    def next(self, line: str) -> None:
        """A picture is done."""
        if self.said:
            self.bar.write(self.said, file=sys.stderr)
            self.said = None
        self.bar.update(0 if self.single else 1)
        self.bar.write(line)

    def close(self) -> None:
        """The end."""
        self.bar.close()
