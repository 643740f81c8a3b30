"""Download the original paintings of the named styles once, verify and cache them. Only this file uses pooch."""

import hashlib
import logging
import os
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import pooch  # type: ignore[import-untyped]
import requests
from filelock import FileLock
from tqdm import tqdm

from fast_style.atomic_files import safe_file_name
from fast_style.data.retry import retry
from fast_style.images.decode import PICTURE_SUFFIXES

log = logging.getLogger(__name__)
# pooch logs to its own stream what this file logs already.
pooch.get_logger().setLevel(logging.WARNING)

#: Seconds to wait before each retry.
BACKOFF = (1.0, 3.0)
#: Seconds to wait for a connection, and then for further bytes, before the connection counts as dropped.
TIMEOUT = (10.0, 30.0)
#: A larger file is not a style image; its download is stopped.
MAX_BYTES = 64_000_000
# Small, because a dropped connection loses the part of a chunk that has arrived.
_CHUNK = 1 << 13


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

        Any number of processes may ask at once. An interrupted download continues, at once or in a later run.

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
        except (requests.RequestException, _TooLarge, ValueError, OSError) as error:
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
        pooch.retrieve(
            self.url,
            known_hash=f"sha256:{self.sha256}",
            fname=path.name,
            path=path.parent,
            downloader=ResumableDownloader(path.with_name(f".{self.sha256[:16]}.part")),
        )


class ResumableDownloader:
    """Downloader for pooch that resumes an interrupted download and limits its size.

    pooch's own downloader starts over each time and accepts any size. This one uses requests, as pooch's own does.
    fsspec, which downloads shards from any kind of store, starts over each time too.

    Args:
        part: file of the partial download; it stays after this process ends.
    """

    def __init__(self, part: Path) -> None:
        self.part = part

    def __call__(self, url: str, output_file: str, _: object = None) -> None:
        """Download the file.

        Raises:
            RequestException: every try failed, or a retry can't succeed.
        """
        log.info("Downloading %s.", url)
        retry(lambda: self._go_on(url), backoff=BACKOFF, is_transient=_is_transient)
        # pooch removes a file with a wrong checksum, so the next try starts over.
        os.replace(self.part, output_file)

    def _go_on(self, url: str) -> None:
        held = self.part.stat().st_size if self.part.exists() else 0
        # Uncompressed, because the rest of a compressed stream could not be decoded.
        headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={held}-"} if held else {})
        with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT) as response:
            if held and response.status_code == requests.codes.requested_range_not_satisfiable:
                return  # Nothing is missing; the checksum decides.
            response.raise_for_status()
            if response.status_code != requests.codes.partial_content:
                held = 0
            self._take(response, held)

    def _take(self, response: requests.Response, held: int) -> None:
        total = held + int(response.headers.get("Content-Length", 0)) or None
        name = Path(urlsplit(response.url).path).name
        with (
            open(self.part, "ab" if held else "wb") as file,
            tqdm(total=total, initial=held, desc=name, unit="B", unit_scale=True, delay=2, leave=False) as bar,
        ):
            for chunk in response.iter_content(_CHUNK):
                held += len(chunk)
                if held > MAX_BYTES:
                    self.part.unlink()
                    raise _TooLarge
                file.write(chunk)
                bar.update(len(chunk))


class _TooLarge(Exception):  # noqa: N818 - it describes the file.
    pass


def _is_transient(error: Exception) -> bool:
    """Whether a retry may succeed."""
    if not isinstance(error, requests.RequestException):
        return False
    if error.response is not None:
        return bool(error.response.status_code >= 500 or error.response.status_code == requests.codes.too_many_requests)
    return not isinstance(error, ValueError)  # Such a URL can't be requested at all.


def _is_of_this_machine(error: Exception) -> bool:
    return isinstance(error, OSError) and not isinstance(error, requests.RequestException)


def _why(error: Exception) -> str:
    if _is_of_this_machine(error):
        return f"it can't be stored ({error})"
    if isinstance(error, _TooLarge):
        return f"the server sends a file larger than {MAX_BYTES // 1_000_000} MB"
    if not isinstance(error, requests.RequestException):
        return "the server sends another file (its SHA-256 differs)"  # pooch raised a ValueError.
    if error.response is not None:
        return f"the server answers {error.response.status_code} {error.response.reason}"
    return f"it can't be reached ({type(error).__name__})"
