"""Run a network on images of any size within a memory budget: a batch, one whole image, or strip by strip."""

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
    """One way to run the network on an image.

    Attributes:
        device: computes the network.
        rows: rows per strip; None runs the whole image at once.
        pixels: pixels per call of the network.
    """

    device: str
    rows: int | None
    pixels: int

    @property
    def kind(self) -> tuple[str, bool]:
        """Attempts of one kind use the same memory per pixel."""
        return self.device, self.rows is None


class NetworkRunner:
    """Run a stylizer's network within a memory budget; if memory still runs out, try again in smaller parts.

    The runner remembers what ran out of memory. It does not try that again while a smaller attempt is possible.

    Args:
        stylizer: the network.
        tiles: `off`, the rows per strip, or `auto`: strips if an image does not fit as a whole.
        statistics: of strips, `exact` or `thumbnail`.
        budget: memory that the network may use.
    """

    def __init__(self, stylizer: Stylizer, *, tiles: Tiling, statistics: Statistics, budget: MemoryBudget) -> None:
        self.stylizer, self.tiles, self.statistics, self.budget = stylizer, tiles, statistics, budget
        self._ran_out: dict[tuple[str, bool], int] = {}

    def run_batch(self, colours: Sequence[Pixels], *, beside: int) -> Floats | None:
        """Stylize images of equal size in one call, to `(N, H, W, 3)`; None if there is not enough memory."""
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
                "%s ran out of memory with a batch of %d images of %dx%d pixels; using smaller batches from now on.",
                *(attempt.device, len(colours), width, height),
            )
        self._note(attempt)
        return None

    def run_one(self, colour: Pixels, progress: ProgressCallback, *, beside: int) -> Iterator[tuple[int, Floats]]:
        """Stylize one image.

        Args:
            colour: the image.
            progress: called with the finished share, 0..1, if the image is stylized in strips.
            beside: bytes of host memory for reading and writing the image.

        Yields:
            Index of a strip's first row, and its stylized rows. If memory runs out midway, the image starts again at
            its first row.

        Raises:
            ValueError: not enough memory even for the smallest strips.
        """
        height, width = colour.shape[:2]
        attempts = self.attempts(height, width, beside=beside)
        warned = False
        # The smallest attempt is always made: memory may have become free, and nothing smaller is left.
        for attempt in [a for a in attempts if self._is_open(a)] or attempts[-1:]:
            try:
                yield from self._run(attempt, colour, progress)
                return
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
            # Outside the except clause: the error in it would keep every computed tensor alive.
            self._note(attempt)
            if not warned and attempt is not attempts[-1]:
                warned = True
                log.warning(
                    "%s ran out of memory at %dx%d pixels; images of this size are now stylized in smaller parts.",
                    *(attempt.device, width, height),
                )
        way_out = "set a smaller size=" if attempts[-1].rows else "set tiles=auto, or a smaller size="
        raise ValueError(
            f"{attempts[-1].device} ran out of memory at {width}x{height} pixels"
            f"{', even in strips' if attempts[-1].rows else ''}; {way_out}."
        )

    def attempts(self, height: int, width: int, *, beside: int) -> list[Attempt]:
        """The ways to stylize an image of this size, in the order of decreasing memory.

        Raises:
            ValueError: the budget is too small even for the smallest strips.
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
            "%dx%d pixels are stylized in strips of %d rows, by PyTorch in float32 on %s.",
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
                f"There is not enough memory for {width}x{height} pixels at once, and strips are impossible: {error}"
            ) from error

    def _strip_devices(self) -> list[str]:
        """Devices for strips: the stylizer's own, if PyTorch can use it, then the CPU."""
        device = self.stylizer.runtime.device
        if device == "cpu":
            return ["cpu"]
        from fast_style.devices import usable_device

        try:
            usable_device(device)
        except ValueError:  # ONNX Runtime with CUDA next to a PyTorch without.
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
        # An unmeasured runtime is assumed to need as much as the largest.
        need = BYTES_PER_PIXEL.get(self.stylizer.runtime.name, max(BYTES_PER_PIXEL.values())) * self._channels
        return self.budget.fits_whole(pixels, need, beside=beside)

    @property
    def _channels(self) -> float:
        """The network's channels at full resolution, divided by the 32 that were measured."""
        return self.stylizer.info.full_size_channels / 32

    def _is_open(self, attempt: Attempt) -> bool:
        return attempt.pixels < self._ran_out.get(attempt.kind, math.inf)

    def _note(self, attempt: Attempt) -> None:
        self._ran_out[attempt.kind] = min(attempt.pixels, self._ran_out.get(attempt.kind, attempt.pixels))
        release_cached_memory()

    def _too_large(self, height: int, width: int, beside: int) -> str:
        wanted = PROCESS + beside + (LOWEST_STRIP + 16) * STRIP * self._channels * width
        limit = "max_memory is" if self.budget.device is None else "the limit for host memory is"
        return (
            f"An image of {width}x{height} pixels needs {wanted / MIB:,.0f} MiB even in strips, and {limit} "
            f"{self.budget.host / MIB:,.0f} MiB; allow more, or set a smaller size=."
        )


def _halved(rows: int) -> Iterator[int]:
    """Halve the rows repeatedly, down to the smallest strip; yields nothing for 0 rows."""
    while rows > LOWEST_STRIP:
        yield rows
        rows = max(LOWEST_STRIP, rows // 2 // LOWEST_STRIP * LOWEST_STRIP)
    if rows:
        yield LOWEST_STRIP
