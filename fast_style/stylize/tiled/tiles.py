"""Huge pictures in bounded memory: a network computed strip by strip, with the statistics of the whole picture.

Instance normalisation looks at the whole picture, so strips painted on their own differ in style. Here each
normalisation has the statistics of the whole: `exact`, gathered over all strips layer by layer, so that the result is
the untiled one; or `thumbnail`, of a small copy that is painted first (URST, Chen et al. 2022), in one pass less a
layer.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fast_style.networks.blocks import FractionalConv, ResidualBlock, ResizeConv
from fast_style.networks.layers import InstanceNorm
from fast_style.networks.transform_net import STRIDE, TransformNet
from fast_style.stylize.tiled.lazy_rows import (
    ConvRows,
    DiskRows,
    MapRows,
    PhotoRows,
    Rows,
    SumRows,
    UpsampleRows,
    strips,
)

Statistics = Literal["exact", "thumbnail"]
#: Shorter side in pixels of the copy whose statistics `thumbnail` takes.
THUMBNAIL = 512
Moments = tuple[Tensor, Tensor]


class Tiles:
    """A generator that paints strip by strip.

    Args:
        network: without unpadded residual blocks.
        rows: of the picture, in a strip; a multiple of 8 is best.
        statistics: `exact` or `thumbnail`.
        spool: folder for features on the way, three quarters of a picture's pixels times the network's width times 4
            bytes (96 a pixel for 32 channels); None takes the system's for temporary files.

    Raises:
        ValueError: statistics of another name, or a network whose residual blocks are not padded.
    """

    def __init__(
        self, network: TransformNet, *, rows: int, statistics: Statistics = "exact", spool: Path | None = None
    ) -> None:
        if statistics not in get_args(Statistics):
            raise ValueError(f"statistics is one of {', '.join(get_args(Statistics))}; got {statistics!r}.")
        if network.border:
            raise ValueError("A network with residual_padding=none, as the paper's, is not tiled; take tiles=off.")
        self.network, self.rows, self.statistics, self.spool = network.eval(), max(8, rows), statistics, spool

    @torch.inference_mode()
    def paint(
        self, pixels: NDArray[np.uint8] | NDArray[np.float32], *, progress: Callable[[float], None] = lambda done: None
    ) -> Iterator[tuple[int, NDArray[np.float32]]]:
        """Paint `(H, W, 3)`, uint8 or float32 in 0..1.

        Args:
            pixels: the picture.
            progress: told the share that is done, 0..1, now and then.

        Yields:
            From the top on, the number of a strip's first row and its pixels `(rows, W, 3)`, float32 in 0..1.
        """
        height, width = pixels.shape[:2]
        photo = PhotoRows(pixels, multiple=STRIDE)
        with ExitStack() as stack:
            work = _Work(self, progress, photo.height)
            stack.callback(work.close)
            if self.statistics == "thumbnail":
                work.known = thumbnail_moments(self.network, pixels)
            features = work.decoded(work.through_residuals(work.encoded(photo)))
            painted = MapRows(ConvRows(features, self.network.to_rgb), self._to_picture)
            for top, bottom in work.strips_of(painted):
                if top < height:
                    strip = painted.rows(top, min(bottom, height))[0, :, :, :width]
                    yield top, strip.permute(1, 2, 0).contiguous().numpy()

    def _to_picture(self, z: Tensor) -> Tensor:
        return 0.5 * (torch.tanh(self.network.output_gain * z) + 1)


class _Work:
    """One picture on its way through the network."""

    def __init__(self, tiles: Tiles, progress: Callable[[float], None], height: int) -> None:
        self.network, self.rows, self.folder, self.progress = tiles.network, tiles.rows, tiles.spool, progress
        self.known: list[Moments] | None = None
        self._norms = 0
        self._spooled: list[DiskRows] = []
        blocks = len(tiles.network.residual)
        exact = tiles.statistics == "exact"
        # Passes over the picture: encoder, two a residual block and its sum, decoder and painting.
        self._passes, self._passed = (3 if exact else 1) + 3 * blocks + (3 if exact else 1), 0.0

    def close(self) -> None:
        for spooled in self._spooled:
            spooled.close()

    def strips_of(self, source: Rows) -> Iterator[tuple[int, int]]:
        """Strips that are as high in the picture, whatever the stride, and a word on the progress after each."""
        rows = max(2, self.rows * source.height // (STRIDE * (self.quarter_height)))
        for top, bottom in strips(source.height, rows):
            yield top, bottom
            self.progress(min(1.0, (self._passed + bottom / source.height) / self._passes))
        self._passed += 1

    def encoded(self, photo: PhotoRows) -> Rows:
        self.quarter_height = photo.height // STRIDE
        features: Rows = photo
        for block in self.network.encoder:
            last = block is self.network.encoder[-1]
            features = self._normalised(self._convolved(features, block), block, spool=last)
        return features

    def through_residuals(self, features: Rows) -> Rows:
        for block in self.network.residual:
            assert isinstance(block, ResidualBlock)
            branch, held = features, len(self._spooled)
            for part in block.branch:
                branch = self._normalised(self._convolved(branch, part), part, spool=True)
                self._drop(held, len(self._spooled) - 1)  # What this part was made of.
            features = self._kept(SumRows(features, branch))
            self._drop(0, len(self._spooled) - 1)
        return features

    def decoded(self, features: Rows) -> Rows:
        for block in self.network.decoder:
            assert isinstance(block, nn.Sequential)
            conv = block[0]
            assert isinstance(conv, FractionalConv | ResizeConv)
            features = self._normalised(UpsampleRows(features, conv), block, spool=False)
        return features

    def _convolved(self, features: Rows, block: Any) -> Rows:
        conv = block[0]
        assert isinstance(conv, nn.Conv2d)
        return ConvRows(features, conv)

    def _normalised(self, features: Rows, block: Any, *, spool: bool) -> Rows:
        """What comes out of a block's normalisation, and of its ReLU if it has one."""
        norm = block[1]
        assert isinstance(norm, InstanceNorm)
        if self.known is None:
            features, moments = self._gathered(features, spool=spool)
        else:
            moments = self.known[self._norms]
            features = self._kept(features) if spool else features
        self._norms += 1
        mean, variance = moments
        assert norm.weight is not None
        scale = norm.weight * (variance + norm.eps).rsqrt()
        shift = norm.bias - mean * scale
        scale, shift = scale[:, None, None], shift[:, None, None]
        relu = len(block) > 2
        return MapRows(
            features, lambda x: torch.addcmul(shift, x, scale).relu_() if relu else torch.addcmul(shift, x, scale)
        )

    def _gathered(self, features: Rows, *, spool: bool) -> tuple[Rows, Moments]:
        """Mean and variance of each channel over the whole picture, float32 of sums in float64."""
        kept = self._file(features) if spool else None
        count, mean, squares = (
            0,
            torch.zeros(features.channels, dtype=torch.float64),
            torch.zeros(features.channels, dtype=torch.float64),
        )
        for top, bottom in self.strips_of(features):
            rows = features.rows(top, bottom)
            if kept is not None:
                kept.put(top, rows)
            # Chan et al. (1979): moments of parts, joined without cancellation.
            variance, part = torch.var_mean(rows[0], dim=(1, 2), correction=0)
            size = (bottom - top) * features.width
            delta = part.double() - mean
            squares += variance.double() * size + delta.square() * count * size / (count + size)
            mean += delta * size / (count + size)
            count += size
        return kept or features, (mean.float(), (squares / count).float())

    def _kept(self, features: Rows) -> Rows:
        kept = self._file(features)
        for top, bottom in self.strips_of(features):
            kept.put(top, features.rows(top, bottom))
        return kept

    def _file(self, like: Rows) -> DiskRows:
        self._spooled.append(DiskRows(like, self.folder, torch.float32))
        return self._spooled[-1]

    def _drop(self, first: int, end: int) -> None:
        for spooled in self._spooled[first:end]:
            spooled.close()
        del self._spooled[first:end]


def thumbnail_moments(network: TransformNet, pixels: NDArray[np.uint8] | NDArray[np.float32]) -> list[Moments]:
    """Mean and variance before each normalisation while a small copy is painted, in the order of the layers."""
    moments: list[Moments] = []

    def note(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        variance, mean = torch.var_mean(inputs[0][0].float(), dim=(1, 2), correction=0)
        moments.append((mean, variance))

    small = _thumbnail(pixels)
    hooks = [module.register_forward_pre_hook(note) for module in network.modules() if isinstance(module, InstanceNorm)]
    try:
        network(small)
    finally:
        for hook in hooks:
            hook.remove()
    return moments


def _thumbnail(pixels: NDArray[np.uint8] | NDArray[np.float32]) -> Tensor:
    """`(1, 3, h, w)` in 0..1, its shorter side THUMBNAIL at most: areas averaged, strip by strip."""
    height, width = pixels.shape[:2]
    scale = min(1.0, THUMBNAIL / min(height, width))
    size = max(16, round(height * scale)), max(16, round(width * scale))
    rows = []
    for row in range(size[0]):
        top, bottom = height * row // size[0], max(height * row // size[0] + 1, height * (row + 1) // size[0])
        strip = torch.from_numpy(np.ascontiguousarray(pixels[top:bottom])).float().mean(0).T
        rows.append(torch.nn.functional.adaptive_avg_pool1d(strip[None], size[1])[0])
    small = torch.stack(rows, 1)[None]
    return small / 255 if pixels.dtype == np.uint8 else small
