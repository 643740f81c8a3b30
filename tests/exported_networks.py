"""A small network, exported only once for all tests of the runtimes: an export takes seconds."""

import hashlib
import pickle
import shutil
from dataclasses import dataclass
from pathlib import Path

import torch
from filelock import FileLock

from fast_style.networks.fast_net import FastNet
from fast_style.networks.generator import Generator
from fast_style.networks.transform_net import TransformNet
from fast_style.runtimes.export import Parity, describe, export, file_format

ORIGIN = {"style": "wave", "recipe": "{}", "version": "0.1.0", "format": "fast_style/1"}


def small_network(**settings) -> TransformNet:
    torch.manual_seed(0)
    return TransformNet(**({"width": 4, "blocks": 1} | settings)).eval()


def small_fast() -> FastNet:
    torch.manual_seed(0)
    return FastNet(width=4, half_width=4, coarse_width=4, coarse_blocks=1, full_width=4).eval()


@dataclass(frozen=True)
class Exported:
    """A file that tests may read, but not change."""

    file: Path
    parities: list[Parity]


class Exports:
    """Files of exported networks; a file is made at its first use, by one of the processes that run the tests."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def get(self, network: Generator, *, origin=ORIGIN, format="onnx", precision="fp32", **settings) -> Exported:
        about = [
            network.architecture,
            format,
            *describe(origin, precision, smallest=network.smallest).items(),
            settings,
        ]
        weights = b"".join(weight.numpy().tobytes() for weight in network.state_dict().values())
        folder = self.folder / hashlib.sha256(repr(about).encode() + weights).hexdigest()
        file, record = folder / f"wave{file_format(format).SUFFIX}", folder.with_suffix(".pickle")
        with FileLock(folder.with_suffix(".lock")):
            if not record.exists():
                record.write_bytes(
                    pickle.dumps(export(network, file, origin=origin, format=format, precision=precision, **settings))
                )
        return Exported(file, pickle.loads(record.read_bytes()))

    def copy(self, network: Generator, target: Path, *, origin, format, precision, calibration) -> None:
        """Replaces `export`."""
        settings = {"calibration": calibration} if calibration else {}
        exported = self.get(network, origin=origin, format=format, precision=precision, **settings)
        for part in exported.file.parent.iterdir():
            shutil.copyfile(part, target.with_suffix(part.suffix))
