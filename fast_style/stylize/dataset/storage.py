"""Folders of inputs and outputs: on this machine, or in an object store at a URL that fsspec supports.

Only this file imports fsspec. A unit in an object store is staged in a temporary folder, so that the rest of the code
only sees local folders. universal_pathlib has one class for paths and URLs, but it moves files one by one (fsspec moves
many at a time), and its local writes are not atomic.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, BinaryIO, TypeVar

import fsspec

from fast_style.data.shards.index import is_remote
from fast_style.data.shards.skipped import in_one_line

T = TypeVar("T")


def normal(place: str) -> str:
    """An absolute path, or a URL without a slash at its end; `file://` becomes a path."""
    place = place.removeprefix("file://")
    return place.rstrip("/") if is_remote(place) else os.path.abspath(place)


def join(place: str, name: str) -> str:
    """The path or URL of a file in a folder."""
    return f"{place}/{name}" if is_remote(place) else os.path.join(place, name)


def split(url: str) -> tuple[str, str]:
    """The folder and the name of a file at a URL."""
    folder, _, name = url.rpartition("/")
    return folder, name


@contextmanager
def staged_input(place: str, names: Sequence[str]) -> Iterator[Path]:
    """A local folder with these files: the folder itself, or a temporary one with copies; missing files are left out.

    Raises:
        ValueError: the place cannot be read.
    """
    with _staged(place) as folder:
        if is_remote(place):
            _at(place, lambda files, _: _download(files, [join(place, name) for name in names], folder, names))
        yield folder


@contextmanager
def staged_output(place: str) -> Iterator[Path]:
    """A local folder for results: the folder itself, or a temporary one; its files are uploaded when the block ends.

    A put into an object store is atomic, and nothing is uploaded after an error.

    Raises:
        ValueError: the place cannot be written.
    """
    with _staged(place) as folder:
        yield folder
        paths = [path for path in folder.rglob("*") if path.is_file()] if is_remote(place) else []
        if paths:
            urls = [join(place, path.relative_to(folder).as_posix()) for path in paths]
            _at(place, lambda files, _: files.put([str(path) for path in paths], urls))


def find(place: str) -> list[str]:
    """The names of all files below a URL, sorted, relative to it.

    Raises:
        ValueError: nothing there, or a name that would leave the folder when it is copied.
    """
    names = _at(place, lambda files, path: _relative(files.find(path), path))
    if not names:
        raise ValueError(f"Images were wanted at {place}, found nothing; check input.")
    return names


def listing(url: str) -> dict[str, int]:
    """The names and bytes of the files directly in a folder; empty if there is no such folder."""

    def listed(files: Any, path: str) -> dict[str, int]:
        files.invalidate_cache()  # Another process may have written since the last listing.
        try:
            found = files.ls(path, detail=True)
        except FileNotFoundError:
            return {}
        return {entry["name"].rpartition("/")[2]: entry["size"] for entry in found if entry["type"] == "file"}

    return _at(url, listed)


def sizes(place: str, names: Sequence[str]) -> dict[str, int]:
    """The names and bytes of those files in a folder that exist."""
    if is_remote(place):
        found = listing(place)  # One request for a thousand files.
        return {name: found[name] for name in names if name in found}
    paths = {name: Path(place, name) for name in names}
    return {name: path.stat().st_size for name, path in paths.items() if path.is_file()}


def remove(place: str, name: str) -> None:
    """Remove a file if it exists."""

    def removed(files: Any, path: str) -> None:
        with suppress(FileNotFoundError):
            files.rm_file(path)

    if is_remote(place):
        _at(join(place, name), removed)
    else:
        Path(place, name).unlink(missing_ok=True)


def read(url: str, use: Callable[[BinaryIO], T]) -> T:
    """Pass the file at a URL to a function that reads small parts of it.

    Raises:
        ValueError: the file cannot be read.
    """

    def with_file(files: Any, path: str) -> T:
        with files.open(path, "rb", block_size=1 << 16) as file:
            return use(file)

    return _at(url, with_file)


@contextmanager
def _staged(place: str) -> Iterator[Path]:
    if not is_remote(place):
        yield Path(place)
        return
    with TemporaryDirectory(prefix="fast_style_") as folder:
        try:
            yield Path(folder)
        except (ValueError, FileNotFoundError) as error:
            # Messages name the file that the user knows.
            raise ValueError(str(error).replace(folder, place)) from error


def _download(files: Any, urls: Sequence[str], folder: Path, names: Sequence[str]) -> None:
    paths = [folder / name for name in names]
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
    try:
        files.get(urls, [str(path) for path in paths])
    except FileNotFoundError:
        for url, path in zip(urls, paths, strict=True):
            path.unlink(missing_ok=True)
            with suppress(FileNotFoundError):
                files.get_file(url, str(path))


def _relative(found: Sequence[str], root: str) -> list[str]:
    names = sorted(path.removeprefix(root.rstrip("/") + "/") for path in found)
    for name in names:
        # Names in an object store are any text; these become paths on this machine.
        if not {"", ".", ".."}.isdisjoint(name.split("/")) or "\0" in name:
            raise ValueError(f"{root} holds a file named {in_one_line(name)!r}, which is no path; rename it.")
    return names


def _at(place: str, action: Callable[[Any, str], T]) -> T:
    """Call `action` with the file system and the path of a place; the backends of fsspec raise errors of any class."""
    try:
        files, path = fsspec.core.url_to_fs(place)
    except ImportError as error:
        raise ValueError(f"{place} needs a package that is not installed: {error}.") from error
    except ValueError as error:
        raise ValueError(f"A path or a URL like s3:// or gs:// was wanted, found {place} ({error}).") from error
    try:
        return action(files, path)
    except ValueError:
        raise
    except Exception as error:
        found = "found nothing" if isinstance(error, FileNotFoundError) else f"found {type(error).__name__}: {error}"
        raise ValueError(f"{place} was wanted, {in_one_line(found)}; check the address and the credentials.") from error
