"""One picture, of any size: whole or strip by strip, with a broader brush, and as much of the style as is wanted."""

import logging
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal

import numpy as np
import psutil
from numpy.typing import NDArray

from fast_style.images.decode import Arrays
from fast_style.images.encode import to_hwc, to_nchw, to_uint8
from fast_style.images.resize import reduced
from fast_style.stylize.blending import Blending
from fast_style.stylize.guided_upsampling import upsampled
from fast_style.stylize.stylizer import Stylizer

log = logging.getLogger(__name__)

Tiling = Literal["auto", "off"] | int
ProgressCallback = Callable[[float], None]
Floats = NDArray[np.float32]
Pixels = NDArray[Any]  # uint8, or float32 in 0..1

#: Bytes a pixel that painting a picture whole takes beyond the process itself, for 32 channels in float32; measured
#: from 1024x1024 to 2048x1536, and a tenth. In bfloat16 it is about half.
BYTES_PER_PIXEL = {"torch": 630, "compile": 900, "onnxruntime": 1200, "openvino": 380}
#: The same of a strip, by its own pixels, halos left aside; of the picture, by its pixels, read and written; of a mask.
STRIP, PICTURE, MASK = 1100, 14, 8
#: Rows that are blended at a time.
BLENDED_ROWS = 64
#: The process with PyTorch, before it has a picture.
PROCESS = 620 * 2**20


def check_painting(
    *, tiles: Tiling = "auto", statistics: str = "exact", max_memory: int | None = None, brush_scale: float = 1.0
) -> None:
    """Refuse settings of a `Painter`, before there is one.

    Raises:
        ValueError: a brush_scale below 1, tiles, statistics or memory that are none.
    """
    if not brush_scale >= 1:
        raise ValueError(f"brush_scale is at least 1, how much broader the brush is; got {brush_scale}.")
    if tiles not in ("auto", "off") and (isinstance(tiles, bool) or not isinstance(tiles, int) or tiles < 1):
        raise ValueError(f"tiles is auto, off, or the height of a strip in pixels; got {tiles!r}.")
    if statistics not in ("exact", "thumbnail"):
        raise ValueError(f"statistics is exact or thumbnail; got {statistics!r}.")
    if max_memory is not None and max_memory <= 0:
        raise ValueError(f"max_memory is more than 0; got {max_memory} bytes.")


def half_of_what_is_free(painters: int = 1) -> int:
    """Bytes for each of so many processes of this machine, which paint at the same time."""
    return PROCESS + psutil.virtual_memory().available // (2 * painters)


class Painter:
    """Paints pictures `(H, W, 3)` of any size.

    Args:
        stylizer: the style.
        tiles: `off`, the rows of a strip, or `auto`: strips if the picture would not fit into `max_memory` whole.
        statistics: of strips, `exact` or `thumbnail` (`tiling.Tiles`).
        max_memory: bytes that the whole process may take; None is half of what is free now.
        brush_scale: how much broader the brush is: painted is a copy so much smaller, which is then enlarged by guided
            upsampling. 1 paints the picture itself.
        controls: how much of the painting goes into the photo, and where.

    Raises:
        ValueError: as `check_painting`.
    """

    def __init__(
        self,
        stylizer: Stylizer,
        *,
        tiles: Tiling = "auto",
        statistics: Literal["exact", "thumbnail"] = "exact",
        max_memory: int | None = None,
        brush_scale: float = 1.0,
        controls: Blending | None = None,
    ) -> None:
        check_painting(tiles=tiles, statistics=statistics, max_memory=max_memory, brush_scale=brush_scale)
        self.stylizer, self.tiles, self.statistics = stylizer, tiles, statistics
        self.max_memory = max_memory or half_of_what_is_free()
        self.brush_scale, self.controls = brush_scale, controls or Blending()

    def __call__(
        self, picture: Arrays, *, controls: Blending | None = None, progress: ProgressCallback = lambda done: None
    ) -> NDArray[np.uint8]:
        """Paint a picture.

        Args:
            picture: as `decode.read_arrays` gives it.
            controls: other ones than the painter's, for this picture.
            progress: told the share that is done, where it takes longer.

        Returns:
            `(H, W, 3)`, uint8.

        Raises:
            ValueError: a picture that is too small, or too large for `max_memory` even in strips.
        """
        controls = controls or self.controls
        colour = _in_colour(picture.colour)
        painted = np.empty(colour.shape, np.uint8)
        for top, rows in self._strips(colour, progress, _io_bytes(colour, controls)):
            self._put(painted, colour, top, rows, controls)
        return painted

    def paint_batch(
        self, pictures: Sequence[tuple[Arrays, Blending]], *, progress: ProgressCallback = lambda done: None
    ) -> list[NDArray[np.uint8]]:
        """Paint pictures of one size, each with its controls: in one call if so many fit, else one by one.

        Raises:
            ValueError: as painting one.
        """
        colours = [_in_colour(picture.colour) for picture, _ in pictures]
        if len(pictures) < 2 or self.brush_scale != 1 or not self._fit_whole(colours, pictures):
            return [self(picture, controls=controls, progress=progress) for picture, controls in pictures]
        painted = [np.empty(colour.shape, np.uint8) for colour in colours]
        batch = to_hwc(self.stylizer(to_nchw(np.stack(colours))))
        for number, (_, controls) in enumerate(pictures):
            self._put(painted[number], colours[number], 0, batch[number], controls)
        return painted

    def _fit_whole(self, colours: Sequence[Pixels], pictures: Sequence[tuple[Arrays, Blending]]) -> bool:
        height, width = colours[0].shape[:2]
        beside = sum(_io_bytes(colour, controls) for colour, (_, controls) in zip(colours, pictures, strict=True))
        try:
            return self.rows_of_strips(height * len(colours), width, beside=beside) is None
        except ValueError:
            return False

    @staticmethod
    def _put(painted: NDArray[np.uint8], colour: Pixels, top: int, rows: Floats, controls: Blending) -> None:
        if controls.do_nothing:
            to_uint8(rows, out=painted[top : top + len(rows)])
            return
        # Few rows at a time: floats of the whole photo would take four times its memory, and longer.
        for first in range(0, len(rows), BLENDED_ROWS):
            part = rows[first : first + BLENDED_ROWS]
            there = slice(top + first, top + first + len(part))
            to_uint8(controls(_unit(colour[there]), part, top=top + first), out=painted[there])

    def is_large(self, pixels: int) -> bool:
        """Whether a picture is so large that no other one should be in memory beside it."""
        return 16 * PICTURE * pixels > self.max_memory

    def _strips(self, colour: Pixels, progress: ProgressCallback, beside: int) -> Iterator[tuple[int, Floats]]:
        if self.brush_scale == 1:
            yield from self._painted(colour, progress, beside)
            return
        height, width = (max(self.stylizer.info.smallest, round(side / self.brush_scale)) for side in colour.shape[:2])
        small = reduced(colour if colour.dtype == np.uint8 else colour[..., 0], height, width)  # Floats are grey.
        painted = np.concatenate([rows for _, rows in self._painted(small, progress, beside)])
        yield from upsampled(colour, small, painted)

    def _painted(self, colour: Pixels, progress: ProgressCallback, beside: int) -> Iterator[tuple[int, Floats]]:
        rows = self.rows_of_strips(*colour.shape[:2], beside=beside)
        if rows is None:
            yield 0, to_hwc(self.stylizer(to_nchw(colour)))[0]
            return
        from fast_style.stylize.tiled.tiles import Tiles

        log.info("%dx%d pixels are painted in strips of %d rows, by PyTorch in float32.", *colour.shape[1::-1], rows)
        yield from Tiles(self.stylizer.network(), rows=rows, statistics=self.statistics).paint(
            colour, progress=progress
        )

    def rows_of_strips(self, height: int, width: int, *, beside: int) -> int | None:
        """How high the strips of such a picture are; None if it is painted whole.

        Args:
            height, width: in pixels, of what the network paints.
            beside: bytes that reading and writing the picture takes meanwhile.
        """
        if self.tiles == "off" or min(height, width) < self.stylizer.info.smallest:
            return None
        if isinstance(self.tiles, int):
            return self.tiles
        channels = self.stylizer.info.full_size_channels / 32
        room = self.max_memory - PROCESS - beside
        if height * width * BYTES_PER_PIXEL[self.stylizer.runtime.name] * channels <= room:
            return None
        rows = math.floor(room / (STRIP * channels * width)) - 16  # Halos of the last layers.
        if rows < 8:
            wanted = self.max_memory - room + 24 * STRIP * channels * width
            raise ValueError(
                f"A picture of {width}x{height} takes {wanted / 2**20:,.0f} MiB even in strips, and max_memory is "
                f"{self.max_memory / 2**20:,.0f} MiB; give it more, or paint at a smaller size=."
            )
        return min(rows, 512) // 8 * 8


def _unit(colour: Pixels) -> Floats:
    unit: Floats = colour.astype(np.float32, copy=False)
    return unit / np.float32(255) if colour.dtype == np.uint8 else unit


def _in_colour(pixels: Pixels) -> Pixels:
    return pixels if pixels.ndim == 3 else np.broadcast_to(pixels[..., None], (*pixels.shape, 3))


def _io_bytes(colour: Pixels, controls: Blending) -> int:
    """Bytes that reading and writing a picture takes."""
    height, width = colour.shape[:2]
    return int(height * width) * (PICTURE + (0 if controls.mask is None else MASK))
