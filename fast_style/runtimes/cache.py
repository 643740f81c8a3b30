"""What runtimes are given instead of a network: made once, kept in a cache folder, whole or not there."""

import hashlib
import logging
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from filelock import FileLock

from fast_style.atomic_files import atomic_write
from fast_style.networks.metadata import read_header
from fast_style.version import __version__

log = logging.getLogger(__name__)

_PACKAGE = Path(__file__).parents[1]


@dataclass(frozen=True)
class NetworkFile:
    """A network file.

    Attributes:
        path: the file.
        digest: of its bytes.
        origin: what it says of itself.
    """

    path: Path
    digest: str
    origin: Mapping[str, str]


def read_network_file(path: str | os.PathLike[str]) -> NetworkFile:
    """The network file there; of a .safetensors nothing but its header is read, and that without torch.

    Raises:
        ValueError: no such file, or a damaged one.
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
    """Where the system keeps what can be made again."""
    import platformdirs

    return platformdirs.user_cache_path("fast_style")


class RuntimeUnavailable(ValueError):  # noqa: N818 - a state, as UnreadablePicture
    """A runtime is installed and can't be given its network: a package or a place to write is missing."""


def model_path(network_file: NetworkFile, cache: Path, format: Literal["onnx", "openvino"]) -> Path:
    """The network in another format; exported if it is not there as it was made, which takes PyTorch and some seconds.

    Whether a file is damaged is decided by its checksum alone. Both runtimes load some damaged weights without a word,
    and their exceptions for a damaged file and for a bad option or too little memory are the same.

    Raises:
        RuntimeUnavailable: it can't be exported, or not kept.
    """
    path = cache / _name(network_file) / f"network.{'onnx' if format == 'onnx' else 'xml'}"
    try:
        if not _is_intact(path):
            _export_once(network_file, path, format)
    except OSError as error:
        raise RuntimeUnavailable(
            f"The network for {format} can't be kept in {cache} ({error.strerror}): name another folder with "
            "cache=..., or take runtime=torch, which keeps nothing."
        ) from error
    return path


def _export_once(network_file: NetworkFile, path: Path, format: Literal["onnx", "openvino"]) -> None:
    from fast_style.networks.serialization import load_network
    from fast_style.runtimes.export import check_installed, export

    try:
        check_installed(format)
    except ValueError as error:
        raise RuntimeUnavailable(f"{error} Or take runtime=torch, which needs none of them.") from error
    path.parent.mkdir(parents=True, exist_ok=True)
    # Of many workers that start at once, one exports.
    with FileLock(path.with_suffix(".lock")):
        if not _is_intact(path):
            if _checksum_file(path).exists():
                log.info("%s is damaged, and made again.", path)
            log.info("Preparing %s for %s, once; this takes a quarter of a minute.", network_file.path.name, format)
            network, origin = load_network(network_file.path)
            export(network, path, origin=origin, format=format)
            with atomic_write(_checksum_file(path)) as file:
                file.write(_checksum(path))


def _is_intact(path: Path) -> bool:
    """Whether the exported files are there, with the checksum that they were made with."""
    try:
        return _checksum_file(path).read_bytes() == _checksum(path)
    except FileNotFoundError:
        return False


def _checksum_file(path: Path) -> Path:
    return path.with_name(f"{path.name}.sha256")


def _checksum(path: Path) -> bytes:
    digest = hashlib.sha256(path.read_bytes())
    if path.suffix == ".xml":  # OpenVINO keeps the weights in a file of their own.
        digest.update(path.with_suffix(".bin").read_bytes())
    return digest.hexdigest().encode()


def blob_path(network_file: NetworkFile, cache: Path, kind: str, machine: str) -> Path:
    """Where a runtime keeps what it compiled, for this machine."""
    fingerprint = hashlib.sha256(machine.encode()).hexdigest()[:12]
    return cache / _name(network_file) / f"{kind}-{fingerprint}.blob"


def code_fingerprint() -> str:
    """Of the source code that decides what an export computes: the networks, and the exporter. Takes about 1 ms."""
    sources = [*(_PACKAGE / "networks").rglob("*.py"), _PACKAGE / "runtimes" / "export.py"]
    digest = hashlib.sha256()
    for source in sorted(sources):
        digest.update(hashlib.sha256(source.read_bytes()).digest())
    return digest.hexdigest()[:12]


def _name(network_file: NetworkFile) -> str:
    style = re.sub(r"[^\w-]+", "_", network_file.origin.get("style", "network"))
    # The version alone would not tell of a changed network between two releases.
    return f"{style}-{network_file.digest}-{__version__}-{code_fingerprint()}"
