"""Optimise an image from files to a file, with progress bar, logs and intermediate images."""

import os
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import torch
from torch import Tensor

from fast_style.image_optimization.callbacks import (
    CallbackList,
    ProgressBarCallback,
    SnapshotCallback,
    TensorBoardCallback,
)
from fast_style.image_optimization.loss import Style
from fast_style.image_optimization.memory import check_memory
from fast_style.image_optimization.method import Callback, Iterate, PictureOptimization
from fast_style.image_optimization.scales import Size, resized
from fast_style.images.color_transfer import luminance
from fast_style.images.decode import StrPath
from fast_style.images.encode import WRITABLE_SUFFIXES
from fast_style.images.tensors import Picture, load_image, read_picture, save_image
from fast_style.interrupts import Interrupted, SignalHandler


@dataclass(frozen=True)
class StyleFiles:
    """Files of the style images, with weights and masks.

    Attributes:
        images: at least one style image.
        weights: one weight per style image; None: equal weights.
        masks: one mask file per style image, as large as the photo, white where the style applies. None: everywhere.
    """

    images: Sequence[StrPath]
    weights: Sequence[float] | None = None
    masks: Sequence[StrPath] | None = None

    def __post_init__(self) -> None:
        if not self.images or any(image is None for image in self.images):
            raise ValueError("No style image is given: set style.image=my.jpg, or style=NAME of conf/style/.")
        if not all(isinstance(weight, int | float) for weight in self.weights or []):
            raise ValueError(f"style.weights must be numbers, one per style; got {self.weights}.")
        for name, given in (("weights", self.weights), ("masks", self.masks)):
            if given is not None and len(given) != len(self.images):
                raise ValueError(
                    f"style.{name} has {len(given)} entries for {len(self.images)} styles "
                    f"({', '.join(os.fspath(image) for image in self.images)}): give one per style."
                )


@dataclass(frozen=True)
class OptimizationResult:
    """Files and losses of a finished optimisation.

    Attributes:
        output: file of the result.
        folder: folder of the TensorBoard log; None without a log.
        terms: unweighted terms of the last evaluation by name.
    """

    output: Path
    folder: Path | None
    terms: dict[str, float]


def optimize_file(
    method: PictureOptimization,
    *,
    content: StrPath | None,
    style_files: StyleFiles,
    output: StrPath,
    size: int | Sequence[int] | None = 512,
    init_image: StrPath | None = None,
    seed: int = 0,
    save_every: int | None = None,
    log_every: int = 10,
    runs: StrPath | None = "runs",
    max_memory: float | None = None,
) -> OptimizationResult:
    """Stylize a photo file, or make a texture.

    Args:
        method: the recipe.
        content: file of the photo; None makes a texture.
        style_files: the style images.
        output: file of the result; it is written completely or not at all.
        size: shorter side of the result in pixels; None: the photo's size. For a texture: one side or
            `[width, height]`.
        init_image: file of the start image.
        seed: seed of the noise.
        save_every: evaluations between intermediate images; None: no intermediate images.
        log_every: evaluations between points of the TensorBoard curves.
        runs: parent folder of the TensorBoard log; None: no log.
        max_memory: memory limit in GiB; None: the free memory.

    Raises:
        ValueError: an invalid argument or file, or a loss that is NaN or infinite; the message says what to do.
        Interrupted: Ctrl-C or SIGTERM; the best image so far is in `output`.
    """
    target = Path(output)
    _check_output(target, [content, *style_files.images, *(style_files.masks or [])], on_the_way=save_every is not None)
    if runs is not None:
        _check_folder(Path(runs) / "run", "The folder of the TensorBoard log (runs)")
    photo, full = _photo(content, size)
    styles = _styles(style_files, photo, full, size=method.style_size)
    pixels = None if photo is None else resized(photo.pixels, full)
    first = None if init_image is None else load_image(init_image)
    check_memory(method, full, limit=max_memory)
    folder = None if runs is None else Path(runs) / "optimized" / target.stem / f"{datetime.now():%Y-%m-%d_%H-%M-%S}"
    last = _Last()
    callbacks: list[Callback] = [last, *_callbacks(target, folder, log_every, save_every)]
    with SignalHandler() as request, CallbackList(callbacks) as callback:
        picture = method.run(
            pixels,
            styles,
            size=full if photo is None else None,
            init_image=first,
            seed=seed,
            callback=callback,
            stop=lambda: request.signal_number is not None,
        )
    height, width = picture.shape[-2:]
    alpha = None if photo is None or photo.alpha is None else resized(photo.alpha, (height, width))
    save_image(picture, target, alpha=alpha)
    if request.signal_number is not None:
        raise _interrupted(last.iterate, target, request.signal_number)
    return OptimizationResult(target, folder, {name: float(term) for name, term in last.iterate.terms.items()})


def _interrupted(last: Iterate, target: Path, signal_number: int) -> Interrupted:
    height, width = last.size
    return Interrupted(
        f"Stopped at evaluation {last.step} of {last.steps}; the best image so far, {width}x{height} pixels, is "
        f"{target}. Continue from it with {_said('init_image', target)}",
        signal_number,
        saved=target,
    )


class _Last:
    """Keep the last iterate."""

    iterate: Iterate

    def __call__(self, iterate: Iterate) -> None:
        self.iterate = iterate


def _callbacks(target: Path, folder: Path | None, log_every: int, save_every: int | None) -> list[Callback]:
    callbacks: list[Callback] = [ProgressBarCallback()]
    if folder is not None:
        callbacks.append(TensorBoardCallback(folder, every=log_every))
    if save_every is not None:
        callbacks.append(SnapshotCallback(target, every=save_every))
    return callbacks


def _said(key: str, path: Path) -> str:
    """Return the argument `key=path`, quoted for a shell."""
    plain = f"{key}={path}"
    return plain if re.fullmatch(r"[\w./=-]+", plain) else shlex.quote(f'{key}="{path}"')


def _check_output(target: Path, inputs: Sequence[StrPath | None], *, on_the_way: bool) -> None:
    """Raise an error now if the output could not be saved after the optimisation."""
    if target.suffix.lower() not in WRITABLE_SUFFIXES:
        raise ValueError(f"The output {target} needs a suffix of {', '.join(sorted(WRITABLE_SUFFIXES))}.")
    if target.is_dir():
        raise ValueError(f"The output {target} is a folder: give a file name.")
    if any(path is not None and target.resolve() == Path(path).resolve() for path in inputs):
        raise ValueError(f"The output {target} is one of the input images: give another output.")
    kept = re.compile(rf"{re.escape(target.stem)}_\d{{5,}}{re.escape(target.suffix)}")
    for path in (Path(given) for given in inputs if given is not None):
        if on_the_way and kept.fullmatch(path.name) and path.resolve().parent == target.resolve().parent:
            raise ValueError(f"save_every would overwrite the input image {path}: give another output.")
    _check_folder(target, f"The output {target}")


def _check_folder(target: Path, name: str) -> None:
    # Missing folders are created later, when there is a file to write.
    folder = next(folder for folder in target.absolute().parents if folder.exists())
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        raise ValueError(f"{name} can't be written: {folder} is not a folder, or you may not write there.")


def _photo(content: StrPath | None, size: int | Sequence[int] | None) -> tuple[Picture | None, Size]:
    """Return the photo at its own size, and the height and width of the result."""
    sides = size if size is None or isinstance(size, Sequence) else [size]
    if sides is not None and (len(sides) not in (1, 2) or not all(isinstance(s, int) and s >= 1 for s in sides)):
        raise ValueError(f"size is a whole number of pixels, or for a texture also [width,height]; got {size}.")
    if content is None:
        if sides is None:
            raise ValueError("A texture needs a size, a number of pixels or [width,height]; got size=null.")
        return None, (sides[-1], sides[0])
    if sides is not None and len(sides) > 1:
        raise ValueError(f"A photo keeps its aspect ratio: size is its shorter side in pixels; got {size}.")
    photo = read_picture(content)
    height, width = photo.pixels.shape[-2:]
    scale = 1.0 if sides is None else sides[0] / min(height, width)
    return photo, (max(1, round(height * scale)), max(1, round(width * scale)))


def _styles(style_files: StyleFiles, photo: Picture | None, full: Size, *, size: int | None) -> list[Style]:
    weights = style_files.weights or [1.0] * len(style_files.images)
    masks: Sequence[StrPath | None] = style_files.masks or [None] * len(style_files.images)
    return [
        Style(_painting(image, size), weight, None if mask is None else _region(mask, photo, full))
        for image, weight, mask in zip(style_files.images, weights, masks, strict=True)
    ]


def _painting(image: StrPath, size: int | None) -> Tensor:
    """Load the style image, resized to a shorter side with the same filter as in training.

    A slightly softer filter loses 5 % of the norms of the Gram matrices, and a texture then lacks that detail.
    """
    painting = load_image(image)
    return painting if size is None or min(painting.shape[-2:]) <= size else load_image(image, size=size)


def _region(mask: StrPath, photo: Picture | None, full: Size) -> Tensor:
    if photo is None:
        raise ValueError(f"A texture has no photo, so it cannot use the mask {mask}: leave style.masks out.")
    region = luminance(load_image(mask))
    found, wanted = region.shape[-2:], photo.pixels.shape[-2:]
    if found != wanted:
        raise ValueError(
            f"The mask {mask} has {found[1]}x{found[0]} pixels, but the photo has {wanted[1]}x{wanted[0]}: resize the "
            "mask."
        )
    if not torch.any(region > 0.5):
        raise ValueError(f"The mask {mask} is empty: make it white where the style applies.")
    return resized(region, full)
