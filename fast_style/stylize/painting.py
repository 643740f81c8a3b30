"""One picture, of any size: whole or strip by strip, with a broader brush, and as much of the style as is wanted."""

import math
from collections.abc import Callable, Iterator
from typing import Any, Literal

import numpy as np
import psutil
from numpy.typing import NDArray

from fast_style.picture_files import Arrays, enlarged, levels_of, planes_of
from fast_style.stylize.brush import upsampled
from fast_style.stylize.controls import Controls
from fast_style.stylize.stylizer import SMALLEST, Stylizer

Tiling = Literal["auto", "off"] | int
Progress = Callable[[float], None]
Floats = NDArray[np.float32]
Pixels = NDArray[Any]  # uint8, or float32 in 0..1

#: Bytes a pixel that painting a picture whole takes beyond the process itself, for 32 channels in float32; measured
#: from 1024x1024 to 2048x1536, and a tenth. In bfloat16 it is about half.
WHOLE = {"torch": 630, "compile": 900, "onnxruntime": 1200, "openvino": 380}
#: The same of a strip, by its own pixels, halos left aside; and of the picture, by its pixels, read and written.
STRIP, PICTURE = 1100, 14
#: The process with PyTorch, before it has a picture.
PROCESS = 620 * 2**20


class Painter:
    """Paints pictures `(H, W, 3)` of any size.

    Args:
        stylizer: the style.
        tiles: `off`, the rows of a strip, or `auto`: strips if the picture would not fit into `max_memory` whole.
        statistics: of strips, `exact` or `thumbnail` (`tiling.Tiles`).
        max_memory: bytes that the whole process may take; None is half of what is free now.
        scale: how much broader the brush is: painted is a copy so much smaller, which is then enlarged by guided
            upsampling. 1 paints the picture itself.
        controls: how much of the painting goes into the photo, and where.

    Raises:
        ValueError: a scale below 1, tiles or memory that are none.
    """

    def __init__(
        self,
        stylizer: Stylizer,
        *,
        tiles: Tiling = "auto",
        statistics: Literal["exact", "thumbnail"] = "exact",
        max_memory: int | None = None,
        scale: float = 1.0,
        controls: Controls | None = None,
    ) -> None:
        if scale < 1:
            raise ValueError(f"scale is at least 1, how much broader the brush is; got {scale}.")
        if tiles not in ("auto", "off") and not (isinstance(tiles, int) and tiles > 0):
            raise ValueError(f"tiles is auto, off, or the height of a strip in pixels; got {tiles!r}.")
        self.stylizer, self.tiles, self.statistics = stylizer, tiles, statistics
        self.max_memory = max_memory or PROCESS + psutil.virtual_memory().available // 2
        self.scale, self.controls = scale, controls or Controls()

    def __call__(
        self, picture: Arrays, *, controls: Controls | None = None, progress: Progress = lambda done: None
    ) -> NDArray[np.uint8]:
        """Paint a picture.

        Args:
            picture: as `picture_files.read_arrays` gives it.
            controls: other ones than the painter's, for this picture.
            progress: told the share that is done, where it takes longer.

        Returns:
            `(H, W, 3)`, uint8.

        Raises:
            ValueError: a picture that is too small, or too large for `max_memory` even in strips.
        """
        controls = controls or self.controls
        colour: Pixels = picture.colour
        colour = colour if colour.ndim == 3 else np.repeat(colour[..., None], 3, axis=2)
        painted = np.empty(colour.shape, np.uint8)
        for top, rows in self._strips(colour, progress):
            there = slice(top, top + len(rows))
            finished = rows if controls.do_nothing else controls(_unit(colour[there]), rows, top=top)
            painted[there] = levels_of(finished.transpose(2, 0, 1)[None])
        return painted

    def _strips(self, colour: Pixels, progress: Progress) -> Iterator[tuple[int, Floats]]:
        if self.scale == 1:
            yield from self._painted(colour, progress)
            return
        height, width = (max(SMALLEST, round(side / self.scale)) for side in colour.shape[:2])
        small = enlarged(_unit(colour), width, 0, height, height).clip(0, 1)
        painted = np.concatenate([rows for _, rows in self._painted(small, progress)])
        yield from upsampled(colour, small, painted)

    def _painted(self, colour: Pixels, progress: Progress) -> Iterator[tuple[int, Floats]]:
        rows = self.rows_of_strips(*colour.shape[:2])
        if rows is None:
            yield 0, self.stylizer(planes_of(colour))[0].transpose(1, 2, 0)
            return
        from fast_style.stylize.tiling import Tiles

        yield from Tiles(self.stylizer.network(), rows=rows, statistics=self.statistics).paint(
            colour, progress=progress
        )

    def rows_of_strips(self, height: int, width: int) -> int | None:
        """How high the strips of such a picture are; None if it is painted whole."""
        if self.tiles == "off" or min(height, width) < SMALLEST:
            return None
        if isinstance(self.tiles, int):
            return self.tiles
        pixels = height * width
        if PROCESS + pixels * (PICTURE + WHOLE[self.stylizer.runtime.name]) <= self.max_memory:
            return None
        room = self.max_memory - PROCESS - pixels * PICTURE
        rows = math.floor(room / (STRIP * width)) - 16  # Halos of the last layers.
        if rows < 8:
            wanted = PROCESS + pixels * PICTURE + 24 * STRIP * width
            raise ValueError(
                f"A picture of {width}x{height} takes {wanted / 2**20:,.0f} MB even in strips, and max_memory is "
                f"{self.max_memory / 2**20:,.0f} MB; give it more, or paint at a smaller size=."
            )
        return min(rows, 512) // 8 * 8


def _unit(colour: Pixels) -> Floats:
    unit: Floats = colour.astype(np.float32, copy=False)
    return unit / np.float32(255) if colour.dtype == np.uint8 else unit
