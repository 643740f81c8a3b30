"""Stylize one image of any size: whole or in strips, with brush_scale and blending."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from fast_style.images.decode import Arrays
from fast_style.images.encode import to_uint8
from fast_style.images.resize import reduced
from fast_style.stylize.blending import Blending
from fast_style.stylize.guided_upsampling import upsampled
from fast_style.stylize.input_noise import trained_noise, with_noise
from fast_style.stylize.memory_budget import MASK, PICTURE, MemoryBudget
from fast_style.stylize.network_runner import Floats, NetworkRunner, Pixels, ProgressCallback, Tiling
from fast_style.stylize.stylizer import Stylizer
from fast_style.stylize.tiled import Statistics

#: Shorter side of the copy that `brush_scale=auto` stylizes: about the size at which networks see photos in training
#: (crops of 160 to 256 pixels, of photos up to twice as large), and that of the examples in the documentation.
WORKING_SIDE = 512
#: Rows blended at a time.
BLENDED_ROWS = 64


@dataclass(frozen=True, kw_only=True)
class PainterSettings:
    """How a `Painter` paints.

    Attributes:
        tiles: `off`, the rows per strip, or `auto`: strips if the whole image does not fit into `max_memory`.
        statistics: of strips, `exact` or `thumbnail` (`tiled.tiles.Tiles`).
        max_memory: bytes; on a CPU for the whole process, on a GPU for the network's working memory. None is half of
            the memory that is free when the painter is created.
        brush_scale: width of the brush strokes relative to normal. 2 stylizes a copy of half the size and enlarges it
            by guided upsampling; 1 stylizes the image itself. `auto` stylizes a copy with a shorter side of
            `WORKING_SIDE`, so that the strokes have the same size relative to the picture at every resolution. Smaller
            images are stylized themselves.
        noise: standard deviation of noise on the photo (images are in 0 to 1), from which the network makes strokes and
            stars in smooth areas (`input_noise.with_noise`); `auto` is the noise of the network's training. Every frame
            of a video gets the same noise.

    Raises:
        ValueError: a brush_scale that is neither auto nor at least 1; noise that is neither auto nor 0 to 1; invalid
            tiles, statistics or max_memory.
    """

    tiles: Tiling = "auto"
    statistics: Statistics = "exact"
    max_memory: int | None = None
    brush_scale: float | Literal["auto"] = 1.0
    noise: float | Literal["auto"] = 0.0

    def __post_init__(self) -> None:
        scale = self.brush_scale
        if scale != "auto" and (not isinstance(scale, int | float) or not scale >= 1):
            raise ValueError(f"brush_scale is at least 1 (2: strokes twice as broad), or auto; got {scale}.")
        noise = self.noise
        if noise != "auto" and (not isinstance(noise, int | float) or not 0 <= noise <= 1):
            raise ValueError(f"noise (standard deviation of noise on the photo) is from 0 to 1, or auto; got {noise}.")
        tiles = self.tiles
        if tiles not in ("auto", "off") and (isinstance(tiles, bool) or not isinstance(tiles, int) or tiles < 1):
            raise ValueError(f"tiles is auto, off, or the height of a strip in pixels, at least 1; got {tiles!r}.")
        if self.statistics not in get_args(Statistics):
            raise ValueError(f"statistics is exact or thumbnail; got {self.statistics!r}.")
        if self.max_memory is not None and self.max_memory <= 0:
            raise ValueError(f"max_memory is more than 0; got {self.max_memory} bytes.")


class Painter:
    """Stylize images `(H, W, 3)` of any size.

    If an image size ran out of memory, later images of that size are stylized in smaller parts from the start.

    Args:
        stylizer: the network.
        settings: strips, memory, brush_scale and noise.
        blending: how the result is blended with the photo.
        budget: memory for stylizing; None derives it from `max_memory` and the stylizer's device.
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
        self.stylizer, self.brush_scale = stylizer, settings.brush_scale
        self.noise = trained_noise(stylizer.origin) if settings.noise == "auto" else settings.noise
        self.blending = blending or Blending()
        self.budget = budget or MemoryBudget.of(stylizer.runtime.device, max_memory=settings.max_memory)
        self.runner = NetworkRunner(stylizer, tiles=settings.tiles, statistics=settings.statistics, budget=self.budget)

    def __call__(
        self, picture: Arrays, *, blending: Blending | None = None, progress: ProgressCallback = lambda done: None
    ) -> NDArray[np.uint8]:
        """Stylize an image.

        Args:
            picture: as `decode.read_arrays` returns it.
            blending: replaces the painter's blending for this image.
            progress: called with the finished share, 0..1, if the image is stylized in strips.

        Returns:
            `(H, W, 3)`, uint8.

        Raises:
            ValueError: an image that is too small, or too large for the memory even in strips.
        """
        blending = blending or self.blending
        colour = _in_colour(picture.colour)
        painted = np.empty(colour.shape, np.uint8)
        for top, rows in self._rows(colour, progress, self._io_bytes(colour, blending)):
            _put(painted, colour, top, rows, blending)
        return painted

    def paint_batch(
        self, pictures: Sequence[tuple[Arrays, Blending]], *, progress: ProgressCallback = lambda done: None
    ) -> list[NDArray[np.uint8] | ValueError]:
        """Stylize images of equal size, each with its blending; as many per call as fit into the memory.

        Returns:
            For each image its result, or the ValueError it raised.
        """
        results: list[NDArray[np.uint8] | ValueError] = []
        # They have one size, and so one working size.
        whole = not pictures or self._working_size(pictures[0][0].colour) == pictures[0][0].colour.shape[:2]
        in_a_call = len(pictures) if whole else 1
        while rest := pictures[len(results) :]:
            in_a_call = min(in_a_call, len(rest))
            found = self._in_one_call(rest[:in_a_call]) if in_a_call > 1 else [self._alone(*rest[0], progress)]
            if found is None:
                in_a_call //= 2
            else:
                results += found
        return results

    def _in_one_call(self, pictures: Sequence[tuple[Arrays, Blending]]) -> list[NDArray[np.uint8] | ValueError] | None:
        """Stylize all images in one call; None if there is not enough memory."""
        colours = [_in_colour(picture.colour) for picture, _ in pictures]
        beside = sum(self._io_bytes(colour, blending) for colour, (_, blending) in zip(colours, pictures, strict=True))
        try:
            batch = self.runner.run_batch([with_noise(colour, self.noise) for colour in colours], beside=beside)
        except ValueError as error:  # It concerns all of them: they have one size.
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
        """Whether an image of this many pixels should be alone in host memory."""
        return 16 * PICTURE * pixels > self.budget.host

    def _io_bytes(self, colour: Pixels, blending: Blending) -> int:
        """Bytes of host memory for reading and writing an image, and for a copy with noise."""
        height, width = colour.shape[:2]
        noisy = 3 * colour.itemsize if self.noise else 0
        return int(height * width) * (PICTURE + noisy + (0 if blending.mask is None else MASK))

    def _working_size(self, colour: Pixels) -> tuple[int, int]:
        """Height and width at which an image is stylized."""
        height, width = colour.shape[:2]
        scale = max(1.0, min(height, width) / WORKING_SIDE) if self.brush_scale == "auto" else self.brush_scale
        if scale == 1:
            return height, width
        smallest = self.stylizer.info.smallest
        return max(smallest, round(height / scale)), max(smallest, round(width / scale))

    def _rows(self, colour: Pixels, progress: ProgressCallback, beside: int) -> Iterator[tuple[int, Floats]]:
        height, width = self._working_size(colour)
        if (height, width) == colour.shape[:2]:
            yield from self.runner.run_one(with_noise(colour, self.noise), progress, beside=beside)
            return
        small = reduced(colour if colour.dtype == np.uint8 else colour[..., 0], height, width)  # Float images are grey.
        painted = np.empty_like(small)
        for top, rows in self.runner.run_one(with_noise(small, self.noise), progress, beside=beside):
            painted[top : top + len(rows)] = rows
        yield from upsampled(colour, small, painted)


def _put(painted: NDArray[np.uint8], colour: Pixels, top: int, rows: Floats, blending: Blending) -> None:
    if blending.do_nothing:
        to_uint8(rows, out=painted[top : top + len(rows)])
        return
    # A few rows at a time: the whole photo in float32 would need four times its memory, and more time.
    for first in range(0, len(rows), BLENDED_ROWS):
        part = rows[first : first + BLENDED_ROWS]
        there = slice(top + first, top + first + len(part))
        to_uint8(blending(_unit(colour[there]), part, top=top + first), out=painted[there])


def _unit(colour: Pixels) -> Floats:
    unit: Floats = colour.astype(np.float32, copy=False)
    return unit / np.float32(255) if colour.dtype == np.uint8 else unit


def _in_colour(pixels: Pixels) -> Pixels:
    return pixels if pixels.ndim == 3 else np.broadcast_to(pixels[..., None], (*pixels.shape, 3))
