"""Originals of the named styles: fetched once, compared with their checksum, kept; the only file that knows pooch."""

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
# It would say each time, on a stream of its own, what is said below.
pooch.get_logger().setLevel(logging.WARNING)

#: Seconds to wait before each further try.
BACKOFF = (1.0, 3.0)
#: Seconds without an answer, and then without a byte, after which a connection counts as dropped.
TIMEOUT = (10.0, 30.0)
#: A server that sends more than this sends something else.
MAX_BYTES = 64_000_000
# What of one has come when a connection is cut is lost.
_CHUNK = 1 << 13


@dataclass(frozen=True, kw_only=True)
class Painting:
    """What a style of conf/style/ says of its picture.

    Attributes:
        work: painter, title and year.
        texture: the file of a texture of it that comes along; None: there is none.
        url: where the original lies.
        sha256: the original's checksum.
    """

    work: str
    texture: str | None = None
    url: str
    sha256: str

    def fetched(self, name: str, *, cache: str | os.PathLike[str]) -> Path:
        """The original's file in the folder `cache`, where any number of processes may want it at once.

        A download that was cut goes on where it was, at once or in a later run.

        Raises:
            ValueError: it can't be fetched or kept, or something else comes; the sentence says how to do without.
        """
        suffix = Path(urlsplit(self.url).path).suffix.lower()
        if suffix not in PICTURE_SUFFIXES:
            raise ValueError(f"The original of {name} was wanted from {self.url}, which is named as no picture.")
        path = Path(cache).expanduser().absolute() / f"{safe_file_name(name)}{suffix}"
        if self._is_at(path):  # Perhaps put there by hand, into a folder that nobody can write to.
            return path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(path.with_name(f".{path.name}.lock")):
                self._retrieve(path)
        except (requests.RequestException, _TooLarge, ValueError, OSError) as error:
            other = ", which is not the file that lies there now," if path.exists() else ""
            elsewhere = ", name another folder with style.cache=..." if _is_of_this_machine(error) else ""
            raise ValueError(
                f"The original of {name} ({self.work}) was wanted from {self.url}, and {_why(error)}; put that "
                f"file{other} at {path} by hand{elsewhere}, or take the texture, which needs no download: "
                "style.source=texture."
            ) from error
        return path

    def _is_at(self, path: Path) -> bool:
        if not path.is_file():
            return False
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == self.sha256

    def _retrieve(self, path: Path) -> None:
        # Nothing is fetched where another process did so while this one waited; and the name appears when the
        # checksum is right, not before.
        pooch.retrieve(
            self.url,
            known_hash=f"sha256:{self.sha256}",
            fname=path.name,
            path=path.parent,
            downloader=ResumableDownloader(path.with_name(f".{self.sha256[:16]}.part")),
        )


class ResumableDownloader:
    """A downloader for pooch, whose own starts anew each time and takes whatever a server sends.

    By requests, as pooch's own: fsspec, which fetches shards from any kind of store, starts anew each time too.

    Args:
        part: what has come so far; it outlasts this process.
    """

    def __init__(self, part: Path) -> None:
        self.part = part

    def __call__(self, url: str, output_file: str, _: object = None) -> None:
        """Fetch the file.

        Raises:
            RequestException: each try failed, or another would.
        """
        log.info("Fetching %s.", url)
        retry(lambda: self._go_on(url), backoff=BACKOFF, is_transient=_is_transient)
        # If its checksum is wrong pooch removes it, and the next try begins with nothing.
        os.replace(self.part, output_file)

    def _go_on(self, url: str) -> None:
        held = self.part.stat().st_size if self.part.exists() else 0
        # As it is: the rest of something compressed could not be read.
        headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={held}-"} if held else {})
        with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT) as response:
            if held and response.status_code == requests.codes.requested_range_not_satisfiable:
                return  # There is no more; the checksum tells.
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


class _TooLarge(Exception):  # noqa: N818 - a file is.
    pass


def _is_transient(error: Exception) -> bool:
    """Whether another try may do better."""
    if not isinstance(error, requests.RequestException):
        return False
    if error.response is not None:
        return bool(error.response.status_code >= 500 or error.response.status_code == requests.codes.too_many_requests)
    return not isinstance(error, ValueError)  # No such URL can be asked for.


def _is_of_this_machine(error: Exception) -> bool:
    return isinstance(error, OSError) and not isinstance(error, requests.RequestException)


def _why(error: Exception) -> str:
    if _is_of_this_machine(error):
        return f"it can't be kept ({error})"
    if isinstance(error, _TooLarge):
        return f"what comes from there is larger than {MAX_BYTES // 1_000_000} MB"
    if not isinstance(error, requests.RequestException):
        return "what comes from there is another file (its SHA-256 differs)"  # As pooch found.
    if error.response is not None:
        return f"the server answers {error.response.status_code} {error.response.reason}"
    return f"it can't be reached ({type(error).__name__})"
