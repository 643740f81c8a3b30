"""Files from any server by http(s): downloaded once, verified and kept, with pooch.

pooch retries, verifies checksums and gives a file its name only when it is complete. The downloader of the datasets
library is not used: it stops after five minutes, never retries, and verifies nothing.
"""

import logging
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from hashlib import sha256
from pathlib import Path
from urllib.parse import urlsplit

import platformdirs
import pooch  # type: ignore[import-untyped]
import requests
from filelock import FileLock
from tqdm import tqdm

from fast_style.data.http_file import TooLarge, download
from fast_style.data.shards.index import INDEX, Shard, read_index

# pooch would log every file.
pooch.get_logger().setLevel(logging.WARNING)

#: Tries after the first one. pooch waits 1, 2, 3, ... seconds before them.
RETRIES = 3
#: Seconds to wait for a connection, and then for further bytes, before the connection counts as dropped.
TIMEOUT = (10.0, 60.0)
#: Files that are downloaded at the same time.
AT_ONCE = 8
# Zeros that end every tar file.
_TAR_END = bytes(1024)


def is_http(url: str) -> bool:
    """Whether pooch can download from this address."""
    return url.startswith(("http://", "https://"))


def fetch_files(urls: Sequence[str]) -> list[str]:
    """The paths of downloaded files; files that are there already are not downloaded again.

    Raises:
        ValueError: a file can't be downloaded completely.
        OSError: a file can't be stored.
    """
    paths = [_folder_of(url) / _name_in(url) for url in urls]
    _fetch_all([(url, path, None) for url, path in zip(urls, paths, strict=True)])
    return list(map(str, paths))


def fetch_shards(index_url: str) -> str:
    """The path of a downloaded `index.json`, next to its downloaded shards, which have the checksums of the index.

    Raises:
        ValueError: there is no valid index, or a shard can't be downloaded, or its checksum differs.
        OSError: a file can't be stored.
    """
    index = _folder_of(index_url) / INDEX
    _fetch(index_url, index, None)
    try:
        shards = read_index(str(index)).values()
    except ValueError as error:
        index.unlink()
        raise ValueError(
            f"{index_url} is not an index written by scripts/prepare_shards.py; name another index, or make it again."
        ) from error
    beside = index_url.rpartition("/")[0]
    _fetch_all([(f"{beside}/{shard.name}", Path(shard.url), shard) for shard in shards])
    return str(index)


def _folder_of(url: str) -> Path:
    # One folder for each address, because two servers may have files of the same name.
    return platformdirs.user_cache_path("fast_style") / "downloads" / sha256(url.encode()).hexdigest()[:16]


def _name_in(url: str) -> str:
    name = os.path.basename(urlsplit(url).path)
    return name if name.strip(".") else "file"


def _fetch_all(files: Sequence[tuple[str, Path, Shard | None]]) -> None:
    missing = [file for file in files if not file[1].exists()]
    with ThreadPoolExecutor(AT_ONCE) as threads:
        fetched = threads.map(lambda file: _fetch(*file), missing)
        for _ in tqdm(fetched, total=len(missing), desc="Downloading", unit="file", delay=1):
            pass


def _fetch(url: str, path: Path, listed: Shard | None) -> None:
    if path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_name(f".{path.name}.lock")):
        if path.exists():  # Another process downloaded it while this one waited.
            return
        registry = {path.name: listed and f"sha256:{listed.sha256}"}
        files = pooch.create(path.parent, "", registry=registry, urls={path.name: url}, retry_if_failed=RETRIES)
        try:
            files.fetch(path.name, downloader=partial(_download, limit=listed.bytes if listed else None))
        except (requests.RequestException, ValueError) as error:
            raise ValueError(
                f"{url} was wanted, but {_why(error)}, tried {RETRIES + 1} times; check the address and the server, "
                "then repeat the command: what is complete is kept."
            ) from error


def _download(url: str, output_file: str, _: object, *, limit: int | None) -> None:
    try:
        download(url, output_file, limit=limit, timeout=TIMEOUT)
    except TooLarge as error:
        raise ValueError from error  # Not the file of the index; pooch tries again.
    # A server may announce less than it has. Only the end of a tar file shows that.
    if urlsplit(url).path.endswith(".tar") and not _ends_as_tar(output_file):
        raise _EndsEarlyError


def _ends_as_tar(path: str) -> bool:
    with open(path, "rb") as file:
        file.seek(max(os.path.getsize(path) - len(_TAR_END), 0))
        return file.read() == _TAR_END


class _EndsEarlyError(ValueError):
    pass


def _why(error: Exception) -> str:
    if isinstance(error, _EndsEarlyError):
        return "the server sends a tar file without an end"
    if not isinstance(error, requests.RequestException):
        return "the server sends another file (its size or SHA-256 differs)"  # pooch raised a ValueError.
    if error.response is not None:
        return f"the server answers {error.response.status_code} {error.response.reason}"
    return f"it does not arrive completely ({type(error).__name__})"
