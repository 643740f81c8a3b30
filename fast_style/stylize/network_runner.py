"""A network on pictures of any size, in the memory there is: several in a call, one whole, or strip by strip."""

import logging
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from fast_style.images.encode import to_hwc, to_nchw
from fast_style.stylize.memory_budget import BYTES_PER_PIXEL, LOWEST_STRIP, PROCESS, STRIP, MemoryBudget
from fast_style.stylize.out_of_memory import is_out_of_memory, release_cached_memory
from fast_style.stylize.stylizer import Stylizer
from fast_style.stylize.tiled import Statistics

if TYPE_CHECKING:
    from fast_style.stylize.tiled.tiles import Tiles

log = logging.getLogger(__name__)

Tiling = Literal["auto", "off"] | int
ProgressCallback = Callable[[float], None]
Floats = NDArray[np.float32]
Pixels = NDArray[Any]  # (H, W, 3), uint8, or float32 in 0..1
MIB = 2**20


@dataclass(frozen=True)
class Attempt:
    """A way to run the network on one picture.

    Attributes:
        device: that computes.
        rows: of a strip; None is the whole picture.
        pixels: that the network has at once.
    """

    device: str
    rows: int | None
    pixels: int

    @property
    def kind(self) -> tuple[str, bool]:
        """What takes the same memory for the same number of pixels."""
        return self.device, self.rows is None


class NetworkRunner:
    """Runs a stylizer's network, within a budget; where memory runs out all the same, with less of it.

    What ran out of memory is remembered for as long as the runner lives: no later picture tries it again while there
    is a way that takes less.

    Args:
        stylizer: the network.
        tiles: `off`, the rows of a strip, or `auto`: strips if a picture does not fit whole.
        statistics: of strips, `exact` or `thumbnail`.
        budget: what the network may take.
    """

    def __init__(self, stylizer: Stylizer, *, tiles: Tiling, statistics: Statistics, budget: MemoryBudget) -> None:
        self.stylizer, self.tiles, self.statistics, self.budget = stylizer, tiles, statistics, budget
        self._ran_out: dict[tuple[str, bool], int] = {}

    def run_batch(self, colours: Sequence[Pixels], *, beside: int) -> Floats | None:
        """Several pictures of one size in one call, `(N, H, W, 3)`; None if that takes more memory than there is."""
        height, width = colours[0].shape[:2]
        attempt = Attempt(self.stylizer.runtime.device, None, len(colours) * height * width)
        if not self._is_open(attempt) or not self._may_be_whole(height, width, attempt.pixels, beside):
            return None
        try:
            return to_hwc(self.stylizer(to_nchw(np.stack(colours))))
        except Exception as error:
            if not is_out_of_memory(error):
                raise
        if attempt.kind not in self._ran_out:
            log.warning(
                "The memory of %s ran out with %d pictures of %dx%d pixels in a call; fewer are in one from now on.",
                *(attempt.device, len(colours), width, height),
            )
        self._note(attempt)
        return None

    def run_one(self, colour: Pixels, progress: ProgressCallback, *, beside: int) -> Iterator[tuple[int, Floats]]:
        """One picture.

        Args:
            colour: the picture.
            progress: told the share that is done, where it takes longer.
            beside: bytes on the host that reading and writing the picture takes meanwhile.

        Yields:
            The number of a strip's first row, and the painted rows. Where memory runs out in the middle, it begins
            again at the first row.

        Raises:
            ValueError: there is too little memory, however it is painted.
        """
        height, width = colour.shape[:2]
        attempts = self.attempts(height, width, beside=beside)
        warned = False
        # The last one is tried whatever is remembered: by now there may be room, and nothing smaller is left.
        for attempt in [a for a in attempts if self._is_open(a)] or attempts[-1:]:
            try:
                yield from self._run(attempt, colour, progress)
                return
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
            # Outside of the clause above, which holds the error, and with it all that was computed.
            self._note(attempt)
            if not warned and attempt is not attempts[-1]:
                warned = True
                log.warning(
                    "The memory of %s ran out at %dx%d pixels; such pictures are painted in smaller parts now.",
                    *(attempt.device, width, height),
                )
        way_out = "paint at a smaller size=" if attempts[-1].rows else "take tiles=auto, or paint at a smaller size="
        raise ValueError(
            f"The memory of {attempts[-1].device} ran out at {width}x{height} pixels"
            f"{', even in strips' if attempts[-1].rows else ''}; {way_out}."
        )

    def attempts(self, height: int, width: int, *, beside: int) -> list[Attempt]:
        """The ways to paint a picture of this size, each with less memory than the one before.

        Raises:
            ValueError: the budget has not enough for any.
        """
        whole = Attempt(self.stylizer.runtime.device, None, height * width)
        if self.tiles == "off" or min(height, width) < self.stylizer.info.smallest:
            return [whole]
        found = [whole] if self._may_be_whole(height, width, whole.pixels, beside) else []
        for device in self._strip_devices():
            rows = self._highest_strip(width, beside, on_host=device == "cpu")
            if found:
                rows = min(rows, max(LOWEST_STRIP, height // 2 // LOWEST_STRIP * LOWEST_STRIP))
            found += [Attempt(device, each, each * width) for each in _halved(rows)]
        if not found:
            raise ValueError(self._too_large(height, width, beside))
        return found

    def _run(self, attempt: Attempt, colour: Pixels, progress: ProgressCallback) -> Iterator[tuple[int, Floats]]:
        if attempt.rows is None:
            yield 0, to_hwc(self.stylizer(to_nchw(colour)))[0]
            return
        tiles = self._tiles(attempt, colour)
        log.info(
            "%dx%d pixels are painted in strips of %d rows, by PyTorch in float32 on %s.",
            *(*colour.shape[1::-1], attempt.rows, attempt.device),
        )
        yield from tiles.paint(colour, progress=progress)

    def _tiles(self, attempt: Attempt, colour: Pixels) -> "Tiles":
        from fast_style.stylize.tiled.tiles import Tiles

        assert attempt.rows is not None
        try:
            network = self.stylizer.network(device=attempt.device)
            return Tiles(network, rows=attempt.rows, statistics=self.statistics)
        except ValueError as error:
            if self.tiles != "auto":
                raise
            height, width = colour.shape[:2]
            raise ValueError(
                f"{width}x{height} pixels take too much memory to be painted whole, and strips are impossible: {error}"
            ) from error

    def _strip_devices(self) -> list[str]:
        """Where strips are painted: the stylizer's device, if PyTorch can use it, and then the CPU."""
        device = self.stylizer.runtime.device
        if device == "cpu":
            return ["cpu"]
        from fast_style.devices import usable_device

        try:
            usable_device(device)
        except ValueError:  # As of an ONNX Runtime with CUDA beside a PyTorch without.
            return ["cpu"]
        return [device, "cpu"]

    def _highest_strip(self, width: int, beside: int, *, on_host: bool) -> int:
        if isinstance(self.tiles, int):
            return max(LOWEST_STRIP, self.tiles)
        return self.budget.rows_of_strips(width, STRIP * self._channels, beside=beside, on_host=on_host)

    def _may_be_whole(self, height: int, width: int, pixels: int, beside: int) -> bool:
        if self.tiles == "off" or min(height, width) < self.stylizer.info.smallest:
            return True
        if isinstance(self.tiles, int):
            return False
        # A runtime that was not measured takes as much as the one that takes most.
        need = BYTES_PER_PIXEL.get(self.stylizer.runtime.name, max(BYTES_PER_PIXEL.values())) * self._channels
        return self.budget.fits_whole(pixels, need, beside=beside)

    @property
    def _channels(self) -> float:
        """Of the network at the picture's own size, as a share of the 32 that were measured."""
        return self.stylizer.info.full_size_channels / 32

    def _is_open(self, attempt: Attempt) -> bool:
        return attempt.pixels < self._ran_out.get(attempt.kind, math.inf)

    def _note(self, attempt: Attempt) -> None:
        self._ran_out[attempt.kind] = min(attempt.pixels, self._ran_out.get(attempt.kind, attempt.pixels))
        release_cached_memory()

    def _too_large(self, height: int, width: int, beside: int) -> str:
        wanted = PROCESS + beside + (LOWEST_STRIP + 16) * STRIP * self._channels * width
        limit = "max_memory is" if self.budget.device is None else "of the host's memory it may take"
        return (
            f"A picture of {width}x{height} takes {wanted / MIB:,.0f} MiB even in strips, and {limit} "
            f"{self.budget.host / MIB:,.0f} MiB; give it more, or paint at a smaller size=."
        )


def _halved(rows: int) -> Iterator[int]:
    """Rows, and half of them again and again, down to the lowest strip; nothing of 0."""
    while rows > LOWEST_STRIP:
        yield rows
        rows = max(LOWEST_STRIP, rows // 2 // LOWEST_STRIP * LOWEST_STRIP)
    if rows:
        yield LOWEST_STRIP
