"""One picture, of any size: whole or strip by strip, with a broader brush, and as much of the style as is wanted."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import get_args

import numpy as np
from numpy.typing import NDArray

from fast_style.images.decode import Arrays
from fast_style.images.encode import to_uint8
from fast_style.images.resize import reduced
from fast_style.stylize.blending import Blending
from fast_style.stylize.guided_upsampling import upsampled
from fast_style.stylize.memory_budget import MASK, PICTURE, MemoryBudget
from fast_style.stylize.network_runner import Floats, NetworkRunner, Pixels, ProgressCallback, Tiling
from fast_style.stylize.stylizer import Stylizer
from fast_style.stylize.tiled import Statistics

#: Rows that are blended at a time.
BLENDED_ROWS = 64


@dataclass(frozen=True, kw_only=True)
class PainterSettings:
    """How a `Painter` paints.

    Attributes:
        tiles: `off`, the rows of a strip, or `auto`: strips if the picture would not fit into `max_memory` whole.
        statistics: of strips, `exact` or `thumbnail` (`tiled.tiles.Tiles`).
        max_memory: bytes that painting may take: on the CPU the whole process, on a GPU the network's working memory
            there. None is half of what is free when the painter is made.
        brush_scale: how much broader the brush is: painted is a copy so much smaller, which is then enlarged by guided
            upsampling. 1 paints the picture itself.

    Raises:
        ValueError: a brush_scale below 1, tiles, statistics or memory that are none.
    """

    tiles: Tiling = "auto"
    statistics: Statistics = "exact"
    max_memory: int | None = None
    brush_scale: float = 1.0

    def __post_init__(self) -> None:
        if not self.brush_scale >= 1:
            raise ValueError(f"brush_scale is at least 1, how much broader the brush is; got {self.brush_scale}.")
        tiles = self.tiles
        if tiles not in ("auto", "off") and (isinstance(tiles, bool) or not isinstance(tiles, int) or tiles < 1):
            raise ValueError(f"tiles is auto, off, or the height of a strip in pixels; got {tiles!r}.")
        if self.statistics not in get_args(Statistics):
            raise ValueError(f"statistics is exact or thumbnail; got {self.statistics!r}.")
        if self.max_memory is not None and self.max_memory <= 0:
            raise ValueError(f"max_memory is more than 0; got {self.max_memory} bytes.")


class Painter:
    """Paints pictures `(H, W, 3)` of any size.

    What ran out of memory is not tried again: later pictures of such a size are painted in smaller parts at once.

    Args:
        stylizer: the style.
        settings: how.
        blending: how much of the painting goes into the photo, and where.
        budget: the memory that painting may take; None is by `max_memory` and the stylizer's device.
    """

    def __init__(
        self,
        stylizer: Stylizer,
        settings: PainterSettings | None = None,
        *,
        blending: Blending | None = None,
        budget: MemoryBudget | None = None,
    ) -> None:
        settings = settings or PainterSettings()
        self.stylizer, self.brush_scale, self.blending = stylizer, settings.brush_scale, blending or Blending()
        self.budget = budget or MemoryBudget.of(stylizer.runtime.device, max_memory=settings.max_memory)
        self.runner = NetworkRunner(stylizer, tiles=settings.tiles, statistics=settings.statistics, budget=self.budget)

    def __call__(
        self, picture: Arrays, *, blending: Blending | None = None, progress: ProgressCallback = lambda done: None
    ) -> NDArray[np.uint8]:
        """Paint a picture.

        Args:
            picture: as `decode.read_arrays` gives it.
            blending: another one than the painter's, for this picture.
            progress: told the share that is done, where it takes longer.

        Returns:
            `(H, W, 3)`, uint8.

        Raises:
            ValueError: a picture that is too small, or too large for the memory even in strips.
        """
        blending = blending or self.blending
        colour = _in_colour(picture.colour)
        painted = np.empty(colour.shape, np.uint8)
        for top, rows in self._rows(colour, progress, _io_bytes(colour, blending)):
            _put(painted, colour, top, rows, blending)
        return painted

    def paint_batch(
        self, pictures: Sequence[tuple[Arrays, Blending]], *, progress: ProgressCallback = lambda done: None
    ) -> list[NDArray[np.uint8] | ValueError]:
        """Paint pictures of one size, each with its blending: as many in a call as fit into the memory.

        Returns:
            What painting each returns or raises.
        """
        results: list[NDArray[np.uint8] | ValueError] = []
        in_a_call = len(pictures) if self.brush_scale == 1 else 1
        while rest := pictures[len(results) :]:
            in_a_call = min(in_a_call, len(rest))
            found = self._in_one_call(rest[:in_a_call]) if in_a_call > 1 else [self._alone(*rest[0], progress)]
            if found is None:
                in_a_call //= 2
            else:
                results += found
        return results

    def _in_one_call(self, pictures: Sequence[tuple[Arrays, Blending]]) -> list[NDArray[np.uint8] | ValueError] | None:
        """What becomes of each in one call; None if that takes too much memory."""
        colours = [_in_colour(picture.colour) for picture, _ in pictures]
        beside = sum(_io_bytes(colour, blending) for colour, (_, blending) in zip(colours, pictures, strict=True))
        try:
            batch = self.runner.run_batch(colours, beside=beside)
        except ValueError as error:  # One that they all have in common, as their size.
            return [error] * len(pictures)
        if batch is None:
            return None
        results: list[NDArray[np.uint8] | ValueError] = []
        for colour, rows, (_, blending) in zip(colours, batch, pictures, strict=True):
            painted = np.empty(colour.shape, np.uint8)
            try:
                _put(painted, colour, 0, rows, blending)
                results.append(painted)
            except ValueError as error:
                results.append(error)
        return results

    def _alone(self, picture: Arrays, blending: Blending, progress: ProgressCallback) -> NDArray[np.uint8] | ValueError:
        try:
            return self(picture, blending=blending, progress=progress)
        except ValueError as error:
            return error

    def is_large(self, pixels: int) -> bool:
        """Whether a picture is so large that no other one should be in the host's memory beside it."""
        return 16 * PICTURE * pixels > self.budget.host

    def _rows(self, colour: Pixels, progress: ProgressCallback, beside: int) -> Iterator[tuple[int, Floats]]:
        if self.brush_scale == 1:
            yield from self.runner.run_one(colour, progress, beside=beside)
            return
        height, width = (max(self.stylizer.info.smallest, round(side / self.brush_scale)) for side in colour.shape[:2])
        small = reduced(colour if colour.dtype == np.uint8 else colour[..., 0], height, width)  # Floats are grey.
        painted = np.empty_like(small)
        for top, rows in self.runner.run_one(small, progress, beside=beside):
            painted[top : top + len(rows)] = rows
        yield from upsampled(colour, small, painted)


def _put(painted: NDArray[np.uint8], colour: Pixels, top: int, rows: Floats, blending: Blending) -> None:
    if blending.do_nothing:
        to_uint8(rows, out=painted[top : top + len(rows)])
        return
    # Few rows at a time: floats of the whole photo would take four times its memory, and longer.
    for first in range(0, len(rows), BLENDED_ROWS):
        part = rows[first : first + BLENDED_ROWS]
        there = slice(top + first, top + first + len(part))
        to_uint8(blending(_unit(colour[there]), part, top=top + first), out=painted[there])


def _unit(colour: Pixels) -> Floats:
    unit: Floats = colour.astype(np.float32, copy=False)
    return unit / np.float32(255) if colour.dtype == np.uint8 else unit


def _in_colour(pixels: Pixels) -> Pixels:
    return pixels if pixels.ndim == 3 else np.broadcast_to(pixels[..., None], (*pixels.shape, 3))


def _io_bytes(colour: Pixels, blending: Blending) -> int:
    """Bytes that reading and writing a picture takes."""
    height, width = colour.shape[:2]
    return int(height * width) * (PICTURE + (0 if blending.mask is None else MASK))
