"""Download the original paintings of the named styles once, verify and cache them, with pooch."""

import hashlib
import logging
import os
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import pooch  # type: ignore[import-untyped]
import requests
from filelock import FileLock

from fast_style.atomic_files import safe_file_name
from fast_style.data.http_file import TooLarge, download
from fast_style.images.decode import PICTURE_SUFFIXES

log = logging.getLogger(__name__)
# pooch logs to its own stream what this file logs already.
pooch.get_logger().setLevel(logging.WARNING)

#: Tries after the first one; pooch waits 1 and 2 seconds before them.
RETRIES = 2
#: Seconds to wait for a connection, and then for further bytes, before the connection counts as dropped.
TIMEOUT = (10.0, 30.0)
#: A larger file is not a style image; its download is stopped.
MAX_BYTES = 64_000_000


@dataclass(frozen=True, kw_only=True)
class Painting:
    """The style image of a style in conf/style/.

    Attributes:
        work: painter, title and year.
        texture: path of the bundled texture; None if there is none.
        url: address of the original.
        sha256: the original's checksum.
    """

    work: str
    texture: str | None = None
    url: str
    sha256: str

    def fetched(self, name: str, *, cache: str | os.PathLike[str]) -> Path:
        """Path of the original in the folder `cache`; it is downloaded if it is not there.

        Any number of processes may ask at once. An interrupted download starts over.

        Raises:
            ValueError: the file can't be downloaded or stored, or it is another file. The message names alternatives.
        """
        suffix = Path(urlsplit(self.url).path).suffix.lower()
        if suffix not in PICTURE_SUFFIXES:
            raise ValueError(f"The original of {name} was wanted as an image, found the URL {self.url}; correct it.")
        path = Path(cache).expanduser().absolute() / f"{safe_file_name(name)}{suffix}"
        if self._is_at(path):  # The user may have put it there, into a read-only folder.
            return path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(path.with_name(f".{path.name}.lock")):
                self._retrieve(path)
        except (requests.RequestException, TooLarge, ValueError, OSError) as error:
            other = " in place of the other file there now" if path.exists() else ""
            elsewhere = ", set another folder with style.cache=...," if _is_of_this_machine(error) else ""
            raise ValueError(
                f"The original of {name} ({self.work}) was wanted from {self.url}, but {_why(error)}; put the "
                f"file at {path} by hand{other}{elsewhere} or use the texture, which needs no download: "
                "style.source=texture."
            ) from error
        return path

    def _is_at(self, path: Path) -> bool:
        if not path.is_file():
            return False
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == self.sha256

    def _retrieve(self, path: Path) -> None:
        # pooch downloads nothing if another process did so while this one waited for the lock. The file gets its name
        # only after its checksum was verified.
        pooch.create(
            path.parent,
            base_url="",
            registry={path.name: f"sha256:{self.sha256}"},
            urls={path.name: self.url},
            retry_if_failed=RETRIES,
        ).fetch(path.name, downloader=_download)


def _download(url: str, output_file: str, _: object) -> None:
    log.info("Downloading %s.", url)
    download(url, output_file, limit=MAX_BYTES, timeout=TIMEOUT, show_progress=True)


def _is_of_this_machine(error: Exception) -> bool:
    return isinstance(error, OSError) and not isinstance(error, requests.RequestException)


def _why(error: Exception) -> str:
    if _is_of_this_machine(error):
        return f"it can't be stored ({error})"
    if isinstance(error, TooLarge):
        return f"the server sends a file larger than {MAX_BYTES // 1_000_000} MB"
    if not isinstance(error, requests.RequestException):
        return "the server sends another file (its SHA-256 differs)"  # pooch raised a ValueError.
    if error.response is not None:
        return f"the server answers {error.response.status_code} {error.response.reason}"
    return f"it can't be reached ({type(error).__name__})"
