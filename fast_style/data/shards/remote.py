"""Read files at any URL that fsspec supports, with retries. Only this file uses fsspec."""

import hashlib
from collections.abc import Callable
from typing import Any, BinaryIO, TypeVar

import fsspec

from fast_style.data import retry as retrying
from fast_style.data.shards.skipped import in_one_line

T = TypeVar("T")

#: Seconds to wait before each retry.
BACKOFF = (1.0, 4.0, 15.0)
#: Seconds without a byte after which a connection counts as dropped.
TIMEOUT = 60.0
_CHUNK = 1 << 20


class TransientError(Exception):
    """A remote file did not arrive completely; a retry may succeed."""


class NotFound(Exception):  # noqa: N818 - it describes the file.
    """There is no such remote file."""


def is_remote(url: str) -> bool:
    """Whether this is a URL and not a local path."""
    return "://" in url


def read_text(url: str) -> str:
    """The text of a small file; errors of `retry`."""
    return retry(lambda: _translate_errors(lambda: _text(url)), url)


def matching(pattern: str) -> list[str]:
    """The URLs that match a pattern with `*`; errors of `retry`."""

    def match() -> list[str]:
        files, path = _filesystem(pattern)
        return sorted(_translate_errors(lambda: [files.unstrip_protocol(found) for found in files.glob(path)]))

    return retry(match, pattern)


def copy(url: str, to: BinaryIO) -> str:
    """Copy a file and return its SHA-256; `TransientError` or `NotFound` for an error on the remote side."""
    digest = hashlib.sha256()
    with _translate_errors(lambda: _open(url)) as file:
        while chunk := _translate_errors(lambda: file.read(_CHUNK)):
            digest.update(chunk)
            to.write(chunk)
    return digest.hexdigest()


def retry(action: Callable[[], T], url: str) -> T:
    """Run a network operation, with retries.

    Raises:
        ValueError: there is no such file, fsspec does not support the URL, or every try failed.
    """
    try:
        return retrying.retry(action, backoff=BACKOFF, is_transient=lambda error: isinstance(error, TransientError))
    except NotFound as error:
        raise ValueError(
            f"{url} was wanted, found nothing; check data.urls, or make an index with scripts/prepare_shards.py on the "
            "machine that stores the shards."
        ) from error
    except TransientError as error:
        raise ValueError(
            f"{url} can't be downloaded, tried {len(BACKOFF) + 1} times ({error}); check the connection and the "
            "server, then resume with resume=auto."
        ) from error


def _translate_errors(action: Callable[[], T]) -> T:
    """Turn remote errors into the two classes above; each backend of fsspec has its own errors."""
    try:
        return action()
    except FileNotFoundError as error:
        cause = error.__cause__
        # For HTTP, fsspec raises this for any error, even a refused connection; the cause is the real error.
        if cause is None or isinstance(cause, FileNotFoundError) or getattr(cause, "status", None) in (404, 410):
            raise NotFound from error
        raise TransientError(_described(cause)) from error
    except (ImportError, ValueError) as error:
        raise ValueError(f"fsspec can't read it: {error}") from error
    except Exception as error:
        raise TransientError(_described(error)) from error


def _described(error: BaseException) -> str:
    return in_one_line(f"{type(error).__name__}: {error}")


def _text(url: str) -> str:
    with _open(url) as file:
        text: str = file.read().decode()
    return text


def _filesystem(url: str) -> tuple[Any, str]:
    options: dict[str, Any] = {}
    if url.startswith("http"):
        from aiohttp import ClientTimeout

        # The default stops after five minutes in total, even while bytes arrive.
        options["client_kwargs"] = {"timeout": ClientTimeout(total=None, sock_connect=TIMEOUT, sock_read=TIMEOUT)}
    return fsspec.core.url_to_fs(url, **options)  # type: ignore[no-any-return]


def _open(url: str) -> Any:
    files, path = _filesystem(url)
    # One stream for the whole file, instead of one request per block.
    return files.open(path, "rb", **({"block_size": 0} if url.startswith("http") else {}))
