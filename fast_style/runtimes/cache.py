"""Exported networks in a cache folder: made once for each network, written completely or not at all."""

import hashlib
import logging
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from filelock import FileLock

from fast_style.atomic_files import atomic_write
from fast_style.networks.metadata import read_header
from fast_style.runtimes.calibration import Calibration
from fast_style.version import __version__

if TYPE_CHECKING:
    from fast_style.runtimes.formats.file_format import ExportPrecision

log = logging.getLogger(__name__)

_PACKAGE = Path(__file__).parents[1]


@dataclass(frozen=True)
class NetworkFile:
    """A network file.

    Attributes:
        path: the file.
        digest: SHA-256 of its bytes, shortened to 20 hex digits.
        origin: its metadata.
    """

    path: Path
    digest: str
    origin: Mapping[str, str]


def read_network_file(path: str | os.PathLike[str]) -> NetworkFile:
    """Read the metadata and digest of a network file; a .safetensors file needs no torch.

    Raises:
        ValueError: a missing or damaged file.
    """
    path = Path(path)
    if path.suffix == ".safetensors":
        origin = read_header(path)
    else:
        from fast_style.networks.serialization import load_network

        _, origin = load_network(path)
    with path.open("rb") as file:
        return NetworkFile(path, hashlib.file_digest(file, "sha256").hexdigest()[:20], origin)


def default_cache() -> Path:
    """The user's cache folder, such as ~/.cache/fast_style."""
    import platformdirs

    return platformdirs.user_cache_path("fast_style")


class RuntimeUnavailable(ValueError):  # noqa: N818 - a state, as UnreadablePicture
    """An installed runtime cannot be used: a package is missing, or the cache is not writable."""


def model_path(
    network_file: NetworkFile,
    cache: Path,
    format: Literal["onnx", "openvino"],
    *,
    calibration: Calibration | None = None,
) -> Path:
    """Path of the network in another format. A missing or damaged file is exported with PyTorch, in some seconds.

    With `calibration`, its convolutions are quantised to 8-bit integers.

    Only the checksum decides whether a file is damaged. Both runtimes load some damaged weights without an error, and
    they raise the same exceptions for a damaged file, a bad option and too little memory.

    Raises:
        RuntimeUnavailable: the network cannot be exported, or the file cannot be written.
    """
    name = "network" if calibration is None else f"int8-{calibration.digest()}"
    path = cache / _name(network_file) / f"{name}.{'onnx' if format == 'onnx' else 'xml'}"
    try:
        if not _is_intact(path):
            _export_once(network_file, path, format, calibration)
    except OSError as error:
        raise RuntimeUnavailable(
            f"The network for {format} cannot be written to {cache} ({error.strerror}); name another folder with "
            "cache=..., or use runtime=torch, which needs no cache."
        ) from error
    return path


def _export_once(
    network_file: NetworkFile, path: Path, format: Literal["onnx", "openvino"], calibration: Calibration | None
) -> None:
    from fast_style.networks.serialization import load_network
    from fast_style.runtimes.export import check_installed, export

    precision: ExportPrecision = "fp32" if calibration is None else "int8"
    try:
        check_installed(format, precision)
    except ValueError as error:
        other = "runtime=torch" if calibration is None else "precision=auto"
        raise RuntimeUnavailable(f"{error} Or use {other}, which needs no such package.") from error
    path.parent.mkdir(parents=True, exist_ok=True)
    # If many workers start at once, only one of them exports.
    with FileLock(path.with_suffix(".lock")):
        if not _is_intact(path):
            if _checksum_file(path).exists():
                log.info("%s is damaged; exporting again.", path)
            log.info(
                "Preparing %s for %s; this takes about 15 seconds, once for each network.",
                network_file.path.name,
                format,
            )
            network, origin = load_network(network_file.path)
            photos = [] if calibration is None else calibration.photos()
            export(network, path, origin=origin, format=format, precision=precision, calibration=photos)
            with atomic_write(_checksum_file(path)) as file:
                file.write(_checksum(path))


def _is_intact(path: Path) -> bool:
    """Whether the exported files exist and match their checksum."""
    try:
        return _checksum_file(path).read_bytes() == _checksum(path)
    except FileNotFoundError:
        return False


def _checksum_file(path: Path) -> Path:
    return path.with_name(f"{path.name}.sha256")


def _checksum(path: Path) -> bytes:
    digest = hashlib.sha256(path.read_bytes())
    if path.suffix == ".xml":  # OpenVINO stores the weights in a second file.
        digest.update(path.with_suffix(".bin").read_bytes())
    return digest.hexdigest().encode()


def blob_path(network_file: NetworkFile, cache: Path, kind: str, machine: str) -> Path:
    """Path of a runtime's compiled model for this machine."""
    fingerprint = hashlib.sha256(machine.encode()).hexdigest()[:12]
    return cache / _name(network_file) / f"{kind}-{fingerprint}.blob"


def code_fingerprint() -> str:
    """Digest of the source code that determines an export: the networks and the exporter. Takes about 1 ms."""
    sources = [
        *(_PACKAGE / "networks").rglob("*.py"),
        *(_PACKAGE / "runtimes" / name for name in ("export.py", "calibration.py")),
        *(_PACKAGE / "runtimes" / "formats").glob("*.py"),
    ]
    digest = hashlib.sha256()
    for source in sorted(sources):
        digest.update(hashlib.sha256(source.read_bytes()).digest())
    return digest.hexdigest()[:12]


def _name(network_file: NetworkFile) -> str:
    style = re.sub(r"[^\w-]+", "_", network_file.origin.get("style", "network"))
    # The fingerprint covers changes of the code between two releases, which share a version.
    return f"{style}-{network_file.digest}-{__version__}-{code_fingerprint()}"
