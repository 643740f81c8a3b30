"""Time several calls alternately in one process, so that a slow moment of the machine meets all of them."""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence

Side = Callable[[], object]
PAUSE = 0.3  # Seconds. The threads of some runtimes wait actively for a while after a call, and slow the next side.


def alternated(sides: Mapping[str, Side], rounds: int, *, pause: float = 0.0) -> dict[str, list[float]]:
    """Seconds of each side in each round, after one call of each without a clock.

    Args:
        sides: calls by name.
        rounds: number of rounds; each one calls every side once.
        pause: seconds before each call.
    """
    for side in sides.values():
        side()
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name, side in sides.items():
            time.sleep(pause)
            start = time.perf_counter()
            side()
            seconds[name].append(time.perf_counter() - start)
    return seconds


def speeds(first: Sequence[float], other: Sequence[float]) -> list[float]:
    """How many times as fast the other side is, in each round."""
    return [one / another for one, another in zip(first, other, strict=True)]


def print_speeds(seconds: Mapping[str, Sequence[float]]) -> None:
    """Print the median seconds of each side, and its speed relative to the first side with the range over rounds."""
    first = next(iter(seconds.values()))
    for name, own in seconds.items():
        ratios = speeds(first, own)
        middle = statistics.median(ratios)
        print(f"  {name:32s} {statistics.median(own):8.4f} s   {middle:5.2f}x ({min(ratios):.2f} to {max(ratios):.2f})")
