"""Huge images in bounded memory: run a network strip by strip with the normalisation statistics of the whole image.

Instance normalisation uses the mean and variance of the whole image, so strips stylized independently would differ in
style. Here all strips share their statistics. `exact` gathers them over all strips, layer by layer: the result equals
that of the whole image. `thumbnail` takes them from a small copy that is stylized first (URST, Chen et al. 2022), which
saves passes over the image.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fast_style.networks.generator import Generator
from fast_style.networks.layers import InstanceNorm
from fast_style.networks.strip_plan import (
    AddInput,
    BilinearUpsampling,
    Convolution,
    Normalization,
    Pointwise,
    Residual,
    StripPlan,
    StripStep,
    Upsampling,
)
from fast_style.stylize.tiled import Statistics
from fast_style.stylize.tiled.lazy_rows import (
    BilinearRows,
    ConvRows,
    DiskRows,
    MapRows,
    PhotoRows,
    Rows,
    SumRows,
    UpsampleRows,
    strips,
)

#: Shorter side, in pixels, of the small copy for `thumbnail`.
THUMBNAIL = 512
Moments = tuple[Tensor, Tensor]  # mean, variance
Pixels = NDArray[np.uint8] | NDArray[np.float32]


class Tiles:
    """Run a generator strip by strip, on the device of its weights.

    Args:
        network: a generator with a strip plan.
        rows: image rows per strip; multiples of 8 are best.
        statistics: `exact` or `thumbnail`.
        spool: folder for intermediate feature maps; None is the system's folder for temporary files. Those of
            `generator=johnson` need 3/4 x pixels x network width x 4 bytes: 96 bytes per pixel for 32 channels.

    Raises:
        ValueError: unknown statistics, or a network that cannot run in strips (`Generator.strip_plan`).
    """

    def __init__(
        self, network: Generator, *, rows: int, statistics: Statistics = "exact", spool: Path | None = None
    ) -> None:
        if statistics not in get_args(Statistics):
            raise ValueError(f"statistics is one of {', '.join(get_args(Statistics))}; got {statistics!r}.")
        with torch.inference_mode():
            self.plan = network.strip_plan()
        self.network, self.rows, self.statistics, self.spool = network.eval(), max(8, rows), statistics, spool

    @torch.inference_mode()
    def paint(
        self, pixels: Pixels, *, progress: Callable[[float], None] = lambda done: None
    ) -> Iterator[tuple[int, NDArray[np.float32]]]:
        """Stylize `(H, W, 3)`, uint8 or float32 in 0..1.

        Args:
            pixels: the image.
            progress: called with the finished share, 0..1, after each strip of each pass.

        Yields:
            From top to bottom, the index of a strip's first row and its pixels `(rows, W, 3)`, float32 in 0..1.
        """
        height, width = pixels.shape[:2]
        device = next(self.network.parameters()).device
        photo = PhotoRows(pixels, multiple=self.plan.multiple, device=device)
        with ExitStack() as stack:
            work = _Work(self, progress, photo)
            stack.callback(work.close)
            if self.statistics == "thumbnail":
                work.known = thumbnail_moments(self.network, pixels)
            painted = work.through(photo, self.plan.steps)
            for top, bottom in work.strips_of(painted):
                if top < height:
                    strip = painted.rows(top, min(bottom, height))[0, :, :, :width]
                    yield top, strip.permute(1, 2, 0).contiguous().cpu().numpy()


class _Work:
    """One image on its way through the network.

    Feature maps of a quarter of the image's height or less, and those of the coarsest scale, are computed once and
    stored on disk, and so is every sum of a residual connection. Other feature maps are recomputed whenever needed.
    """

    def __init__(self, tiles: Tiles, progress: Callable[[float], None], photo: Rows) -> None:
        self.rows, self.folder, self.progress, self.photo = tiles.rows, tiles.spool, progress, photo
        self.height = photo.height
        self.known: dict[InstanceNorm, Moments] | None = None
        self._spooled: list[DiskRows] = []
        self._stored = _stored_height(tiles.plan, self.height)
        self._passes, self._passed = _passes(tiles.plan, self.height, exact=tiles.statistics == "exact"), 0

    def close(self) -> None:
        for spooled in self._spooled:
            spooled.close()

    def strips_of(self, source: Rows) -> Iterator[tuple[int, int]]:
        """Strips that cover equal heights of the image at every scale; report the progress after each strip."""
        rows = max(2, self.rows * source.height // self.height)
        for top, bottom in strips(source.height, rows):
            yield top, bottom
            self.progress(min(1.0, (self._passed + bottom / source.height) / self._passes))
        self._passed += 1

    def through(self, features: Rows, steps: tuple[StripStep, ...]) -> Rows:
        """The output of the steps. It is lazy: only feature maps that are stored on disk are computed here."""
        held = len(self._spooled)
        for step in steps:
            match step:
                case Convolution(conv):
                    features = ConvRows(features, conv)
                case Upsampling(kernel):
                    features = UpsampleRows(features, kernel)
                case BilinearUpsampling():
                    features = BilinearRows(features)
                case Pointwise(function):
                    features = MapRows(features, function)
                case AddInput(function):
                    features = SumRows(features, MapRows(self.photo, function))
                case Normalization(norm, relu):
                    before = len(self._spooled)
                    features = self._normalised(features, norm, relu)
                    if len(self._spooled) > before:
                        self._drop(held, before)  # The inputs of this feature map.
                case Residual(branch):
                    features = self._kept(SumRows(features, self.through(features, branch)))
                    self._drop(held, len(self._spooled) - 1)
        return features

    def _normalised(self, features: Rows, norm: InstanceNorm, relu: bool) -> Rows:
        spool = features.height <= self._stored
        if self.known is None:
            features, moments = self._gathered(features, spool=spool)
        else:
            moments = self.known[norm]
            features = self._kept(features) if spool else features
        mean, variance = moments
        assert norm.weight is not None
        scale = norm.weight * (variance + norm.eps).rsqrt()
        shift = norm.bias - mean * scale
        scale, shift = scale[:, None, None], shift[:, None, None]
        return MapRows(
            features, lambda x: torch.addcmul(shift, x, scale).relu_() if relu else torch.addcmul(shift, x, scale)
        )

    def _gathered(self, features: Rows, *, spool: bool) -> tuple[Rows, Moments]:
        """Mean and variance of each channel over the whole image; float32, summed in float64."""
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
            # Chan et al. (1979): combine the moments of parts without cancellation.
            variance, part = torch.var_mean(rows[0], dim=(1, 2), correction=0)
            size = (bottom - top) * features.width
            delta = part.cpu().double() - mean  # Apple GPUs have no float64.
            squares += variance.cpu().double() * size + delta.square() * count * size / (count + size)
            mean += delta * size / (count + size)
            count += size
        device = features.device
        return kept or features, (mean.float().to(device), (squares / count).float().to(device))

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


def _stored_height(plan: StripPlan, height: int) -> int:
    """Feature maps with at most this number of rows are stored on disk."""
    coarsest = min(rows for _, rows in _heights(plan.steps, height))
    return max(coarsest, height // 4)


def _heights(steps: tuple[StripStep, ...], height: int) -> Iterator[tuple[StripStep, int]]:
    """Every step, also inside of branches, with the rows of its output."""
    for step in steps:
        match step:
            case Convolution(conv):
                height //= conv.stride[0]
            case Upsampling() | BilinearUpsampling():
                height *= 2
            case Residual(branch):
                yield from _heights(branch, height)
        yield step, height


def _passes(plan: StripPlan, height: int, *, exact: bool) -> int:
    """Number of passes over the whole image: one per normalisation and per sum, and one for the output."""
    stored, passes = _stored_height(plan, height), 1
    for step, rows in _heights(plan.steps, height):
        passes += isinstance(step, Residual) or (isinstance(step, Normalization) and (exact or rows <= stored))
    return passes


def thumbnail_moments(network: Generator, pixels: Pixels) -> dict[InstanceNorm, Moments]:
    """Mean and variance of the input of each normalisation, measured on a small copy of the image."""
    moments: dict[InstanceNorm, Moments] = {}

    def note(module: nn.Module, inputs: tuple[Any, ...]) -> None:
        variance, mean = torch.var_mean(inputs[0][0].float(), dim=(1, 2), correction=0)
        assert isinstance(module, InstanceNorm)
        moments[module] = (mean, variance)

    small = _thumbnail(pixels, network.smallest).to(next(network.parameters()).device)
    hooks = [module.register_forward_pre_hook(note) for module in network.modules() if isinstance(module, InstanceNorm)]
    try:
        network(small)
    finally:
        for hook in hooks:
            hook.remove()
    return moments


def _thumbnail(pixels: Pixels, smallest: int) -> Tensor:
    """The small copy `(1, 3, h, w)` in 0..1, shorter side at most THUMBNAIL; area averaging, strip by strip."""
    height, width = pixels.shape[:2]
    scale = min(1.0, THUMBNAIL / min(height, width))
    size = max(smallest, round(height * scale)), max(smallest, round(width * scale))
    rows = []
    for row in range(size[0]):
        top, bottom = height * row // size[0], max(height * row // size[0] + 1, height * (row + 1) // size[0])
        strip = torch.from_numpy(np.ascontiguousarray(pixels[top:bottom])).float().mean(0).T
        rows.append(torch.nn.functional.adaptive_avg_pool1d(strip[None], size[1])[0])
    small = torch.stack(rows, 1)[None]
    return small / 255 if pixels.dtype == np.uint8 else small
