"""The contract of a file format for exported networks, and the graphs that several formats start from."""

import logging
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from fast_style.networks.generator import Generator

#: Of the stored weights; with `int8`, the runtime also computes the convolutions in 8 bits.
ExportPrecision = Literal["fp32", "fp16", "int8"]
#: Maps images `(N, 3, H, W)`, float32 in 0..1, to stylized images.
Run = Callable[[NDArray[np.float32]], NDArray[np.float32]]
#: Approximate side in pixels of the image that a graph is traced with.
EXAMPLE_SIDE = 64
#: Of height and width in ExecuTorch, which cannot pad by a number that depends on the size.
MULTIPLE = 8


@dataclass(frozen=True)
class Export:
    """What a format writes.

    Attributes:
        network: the network, in eval mode on the CPU.
        about: metadata, text by name.
        precision: of the stored weights.
        size: height and width in pixels, for formats whose `sizes` is not `any`.
        calibration: images `(1, 3, H, W)` in 0..1 for `int8`; else empty.
    """

    network: Generator
    about: Mapping[str, str]
    precision: ExportPrecision
    size: tuple[int, int] | None = None
    calibration: tuple[NDArray[np.float32], ...] = ()


class FileFormat(Protocol):
    """A module that writes and reads files of one format.

    Attributes:
        SUFFIX: of the main file.
        NEEDED: packages that writing and reading need.
        EXTRA: the extra of fast_style that installs them.
        PRECISIONS: what the weights can be stored in.
        SIZES: which images the file takes: `any` batch and size; `up_to` a largest size, one image, sides in multiples
            of 8; or one `fixed` size, one image.
    """

    SUFFIX: str
    NEEDED: tuple[str, ...]
    EXTRA: str
    PRECISIONS: tuple[ExportPrecision, ...]
    SIZES: Literal["any", "up_to", "fixed"]

    def write(self, export: Export, file: Path) -> None:
        """Write the file, and next to it any further files."""

    def read(self, file: Path) -> Run:
        """Load the file with its own runtime, which computes as exactly as it can."""


def exported(network: nn.Module) -> torch.export.ExportedProgram:
    """The network as one graph of torch operations with dynamic batch, height and width."""
    sizes = dict.fromkeys((0, 2, 3), torch.export.Dim.DYNAMIC)
    # Batch 2 and two different sizes, so that torch.export does not treat a dimension as constant.
    example = torch.rand(2, 3, EXAMPLE_SIDE + 1, EXAMPLE_SIDE + 6)
    with quiet():
        return torch.export.export(
            network, (example,), dynamic_shapes=(sizes,), prefer_deferred_runtime_asserts_over_guards=True
        )


@contextmanager
def quiet() -> Iterator[None]:
    """Silence warnings and log messages of the exporters."""
    loggers = [
        logging.getLogger(name) for name in ("torch.onnx", "torch.export", "onnxscript", "onnx_ir", "nncf", "root")
    ]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            for logger in loggers:
                logger.setLevel(logging.ERROR)
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
