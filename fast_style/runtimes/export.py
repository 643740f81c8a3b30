"""Export a trained network for another runtime, and check the file against PyTorch before it gets its name."""

import copy
import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Literal, cast, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from fast_style.networks.generator import Generator
from fast_style.runtimes.formats.file_format import MULTIPLE, Export, ExportPrecision, FileFormat, Run

Format = Literal["onnx", "openvino", "torch_export", "executorch", "tflite"]
#: Height and width if a format needs a size and none is given: of the largest image, and of the only size.
DEFAULT_SIZES: dict[str, tuple[int, int]] = {"up_to": (1024, 1024), "fixed": (512, 512)}
#: Height and width of one of the checked images, if a format needs a largest size.
LEAST_UP_TO = (96, 96)
#: Batch size, height and width of the two checks: one image and two, even and odd sides.
SIZES = ((1, 96, 128), (2, 131, 77))
#: Largest allowed difference, of 1.0. Its causes: another order of summation, and rounded weights. 8-bit integers
#: change some pixels by more, so their mean difference is checked instead.
TOLERANCES: dict[ExportPrecision, float] = {"fp32": 1e-4, "fp16": 2e-3, "int8": 0.03}


class ParityError(ValueError):
    """The exported network differs from PyTorch by more than the tolerance."""


@dataclass(frozen=True)
class Parity:
    """Differences, of 1.0, from PyTorch in float32, for an input of `shape` `(N, 3, H, W)`.

    Attributes:
        shape: of the input.
        difference: largest absolute difference.
        mean: mean absolute difference.
    """

    shape: tuple[int, ...]
    difference: float
    mean: float


def file_format(format: Format) -> FileFormat:
    """The module of a format.

    Raises:
        ValueError: an unknown format.
    """
    if format not in get_args(Format):
        raise ValueError(f"format is one of {', '.join(get_args(Format))}; got {format!r}.")
    return cast(FileFormat, import_module(f"fast_style.runtimes.formats.{format}_format"))


def export(
    network: Generator,
    target: str | os.PathLike[str],
    *,
    origin: Mapping[str, str],
    format: Format = "onnx",
    precision: ExportPrecision = "fp32",
    size: int | Sequence[int] | None = None,
    calibration: Sequence[NDArray[np.float32]] = (),
) -> list[Parity]:
    """Export a network. `onnx`, `openvino` and `torch_export` take any batch size and any image size.

    Args:
        network: maps `(N, 3, H, W)` in 0..1 to the same shape and range.
        target: the file; its folder is created if missing. OpenVINO writes a second file next to it, `.bin`.
        origin: metadata for the file; a description of input and output is added.
        format: `onnx` runs in most programs, and in browsers; `openvino`; `torch_export` is for torch.export.load;
            `executorch` and `tflite` are for phones.
        precision: of the stored weights; `fp16` needs half the bytes, and the runtime chooses the precision of
            computing. With `int8`, convolutions are computed in 8-bit integers.
        size: height and width in pixels, or one number for both: the largest image of `executorch`, the only size of
            `tflite`. None is 1024 and 512.
        calibration: for `int8`, photos `(1, 3, H, W)` in 0..1, about ten.

    Returns:
        The differences of the written file from PyTorch.

    Raises:
        ValueError: an unknown format, a setting that the format does not support, or a missing package; ParityError
            above the tolerance. Then nothing is written.
    """
    check_installed(format, precision)
    kind = file_format(format)
    target = Path(target)
    if target.suffix != kind.SUFFIX:
        raise ValueError(f"A file of format={format} ends in {kind.SUFFIX}; got {target.name}.")
    sides = _sides(format, kind, size, smallest=network.smallest)
    _check_calibration(precision, calibration)
    _make_folder(target)
    network = copy.deepcopy(network).eval().cpu()
    about = describe(origin, precision, smallest=network.smallest)
    with tempfile.TemporaryDirectory(prefix=f".{target.stem}-", dir=target.parent) as folder:
        file = Path(folder) / target.name
        kind.write(Export(network, about, precision, sides, tuple(calibration)), file)
        run = kind.read(file)
        parities = parity(network, run, _checked_sizes(kind, sides))
        if calibration:  # 8-bit integers are near PyTorch on photos; on other images, the result has to be finite.
            _check_finite(parities, format)
            parities = parity(network, run, photos=calibration)
        _check(parities, format, precision)
        # The main file last: when it appears, its .bin file is already there.
        for part in sorted(Path(folder).iterdir(), key=lambda part: part == file):
            part.replace(target.parent / part.name)
    return parities


def _check_calibration(precision: ExportPrecision, calibration: Sequence[NDArray[np.float32]]) -> None:
    if precision == "int8" and not calibration:
        raise ValueError("precision=int8 needs photos for the calibration; name a folder of photos, calibration=...")
    if precision != "int8" and calibration:
        raise ValueError(f"Photos for the calibration are for precision=int8; got precision={precision}.")


def _make_folder(target: Path) -> None:
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except FileExistsError as error:
        raise ValueError(
            f"Expected a folder for {target.name} at {error.filename}, found a file; name another output."
        ) from error


def check_installed(format: Format, precision: ExportPrecision = "fp32") -> None:
    """Raise a ValueError for an unknown format or precision, or if packages are not installed."""
    kind = file_format(format)
    if precision not in kind.PRECISIONS:
        raise ValueError(f"precision of format={format} is one of {', '.join(kind.PRECISIONS)}; got {precision!r}.")
    quantizer = ("nncf",) if (format, precision) == ("openvino", "int8") else ()
    missing = [package for package in (*kind.NEEDED, *quantizer) if find_spec(package) is None]
    if missing:
        extras = ",".join([*([kind.EXTRA] if missing != ["nncf"] else []), *(["int8"] if "nncf" in missing else [])])
        raise ValueError(
            f"format={format} needs {' and '.join(missing)}, not installed here: pip install 'fast_style[{extras}]'."
        )


def _sides(
    format: Format, kind: FileFormat, size: int | Sequence[int] | None, *, smallest: int
) -> tuple[int, int] | None:
    """Height and width for the format; None if it takes any size."""
    if kind.SIZES == "any":
        if size is not None:
            raise ValueError(f"A file of format={format} takes images of any size; leave size out.")
        return None
    given = DEFAULT_SIZES[kind.SIZES] if size is None else (size, size) if isinstance(size, int) else tuple(size)
    if len(given) != 2:
        raise ValueError(f"size is one number, or height and width, in pixels; got {list(given)}.")
    height, width = given
    least = smallest if kind.SIZES == "fixed" else max(smallest, *LEAST_UP_TO)
    if min(height, width) < least:
        raise ValueError(f"size is at least {least} for this network in format={format}; got {height}x{width}.")
    if kind.SIZES == "fixed":
        return height, width
    return height // MULTIPLE * MULTIPLE, width // MULTIPLE * MULTIPLE


def _checked_sizes(kind: FileFormat, sides: tuple[int, int] | None) -> Sequence[tuple[int, int, int]]:
    if sides is None:
        return SIZES
    if kind.SIZES == "fixed":
        return [(1, *sides)]
    return [(1, *LEAST_UP_TO), (1, *sides)]


def _check_finite(parities: Sequence[Parity], format: Format) -> None:
    if not all(np.isfinite(p.difference) for p in parities):
        raise ParityError(f"The {format} file gives values that are not finite; nothing was written.")


def _check(parities: Sequence[Parity], format: Format, precision: ExportPrecision) -> None:
    by_mean = precision == "int8"
    worst = float(np.max([p.mean if by_mean else p.difference for p in parities]))  # NaN if one is NaN.
    if not worst <= TOLERANCES[precision]:
        raise ParityError(
            f"The {format} file differs from PyTorch by {worst:.2g}{' in the mean' if by_mean else ''}, and "
            f"{TOLERANCES[precision]:g} is allowed; nothing was written. Try another version of the exporting package, "
            "or another format."
        )


def describe(origin: Mapping[str, str], precision: ExportPrecision, *, smallest: int) -> dict[str, str]:
    """Metadata of the file: origin of the network, input and output."""
    return {
        **{name: origin[name] for name in ("style", "direction", "recipe", "version") if name in origin},
        "input": f"pictures: float32 (N, 3, H, W), RGB (sRGB), 0 to 1, H and W at least {smallest}",
        "output": "painted: the same shape and range",
        "weights": precision,
    }


def parity(
    network: nn.Module,
    run: Run,
    sizes: Sequence[tuple[int, int, int]] = SIZES,
    *,
    photos: Sequence[NDArray[np.float32]] = (),
) -> list[Parity]:
    """Differences of `run` from `network` on photos, or on gradients with noise, which cover the range 0..1."""
    result = []
    for pictures in photos or [_gradients(*size) for size in sizes]:
        with torch.inference_mode():
            wanted = network(torch.from_numpy(pictures)).numpy()
        error = np.abs(run(pictures) - wanted)
        result.append(Parity(pictures.shape, float(error.max()), float(error.mean())))
    return result


def _gradients(count: int, height: int, width: int) -> NDArray[np.float32]:
    slopes = np.add.outer(np.linspace(0, 0.5, height), np.linspace(0, 0.5, width))
    noise = np.random.default_rng(height).random((count, 3, height, width))
    pictures: NDArray[np.float32] = (0.7 * slopes + 0.3 * noise).astype(np.float32)
    return pictures
