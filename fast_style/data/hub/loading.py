"""Find, download and verify a data set with Hugging Face's datasets library. Only this file imports that library.

The library is used without streaming: a data set becomes an Arrow file in the library's cache, which is mapped into
memory and read at any row. A stream could not be read in our order, or from any position of a resumed run.
"""

import logging
import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock

from fast_style.data.shards.skipped import in_one_line

log = logging.getLogger(__name__)

#: The formats that are read, by the library's names. The others hold no images, or run code when they are read.
FORMATS = ("arrow", "imagefolder", "parquet", "webdataset")
#: Tries to download the files of a data set on the Hub, if the Hub refuses or a file has a wrong size or checksum. The
#: library's own retries of a lost connection come on top.
TRIES = 5
#: Seconds to wait before the second try, twice as long before the third, and so on.
PAUSE = 1.0
DataFiles = str | Sequence[str] | Mapping[str, str | Sequence[str]]


def load_rows(path: str, *, name: str | None, split: str, data_files: DataFiles | None, revision: str | None) -> Any:
    """A `datasets.Dataset` with the rows of a split; arguments as of `datasets.load_dataset`.

    Raises:
        ValueError: the library is not installed, or the data set can't be found, downloaded or read.
    """
    datasets = _library()
    if path in FORMATS and not data_files:
        raise ValueError(f"data.path={path} is a format, so files were wanted in data.data_files, found none; set it.")
    try:
        with _quiet(datasets):
            builder = datasets.load_dataset_builder(path, name, data_files=data_files, revision=revision)
            return _prepared(datasets, builder).as_dataset(split=split)
    except Exception as error:  # The library raises errors of a dozen packages.
        raise ValueError(f"The data set {path} can't be used: {_why(error)}.") from error


def image_column(rows: Any, column: str | None, *, where: str) -> tuple[Any, str]:
    """The rows with only the column of images, as `{"bytes": ..., "path": ...}`, and its name; nothing is decoded.

    Args:
        rows: result of `load_rows`.
        column: name of the column; None if there is only one.
        where: name of the data set, for messages.

    Raises:
        ValueError: there is no such column, or several, or it holds something else.
    """
    datasets = _library()
    images = [key for key, feature in rows.features.items() if isinstance(feature, datasets.Image)]
    known = ", ".join(rows.features)
    if column is None and len(images) != 1:
        found = f"several, {', '.join(images)}" if images else f"none; its columns are {known}"
        raise ValueError(f"One column of images was wanted in {where}, found {found}; set data.column.")
    column = column or images[0]
    if column not in rows.features:
        raise ValueError(f"data.column={column} was wanted in {where}, found only {known}.")
    try:
        with _quiet(datasets):
            rows = rows.select_columns(column).cast_column(column, datasets.Image(decode=False))
            return _unpacked(rows, column), column
    except Exception as error:  # As above.
        raise ValueError(f"data.column={column} of {where} can't be read as images: {_described(error)}.") from error


def _library() -> Any:
    # Before the first import, because the library reads these variables once. A user's own value stays.
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("HF_UPDATE_DOWNLOAD_COUNTS", "0")
    try:
        import datasets
    except ImportError as error:
        raise ValueError(
            "data=hub needs the package datasets, which is not installed: pip install 'fast_style[hub]'."
        ) from error
    return datasets


@contextmanager
def _quiet(datasets: Any) -> Iterator[None]:
    """Without the library's messages, and with its progress bars only in a terminal."""
    from huggingface_hub import utils as hub

    loggers = [logging.getLogger(name) for name in ("datasets", "huggingface_hub", "httpx", "httpx2")]
    levels = [logger.level for logger in loggers]
    hidden = [bars for bars in (datasets, hub) if not sys.stderr.isatty() and not bars.are_progress_bars_disabled()]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)  # Errors are raised, too.
    for bars in hidden:
        bars.disable_progress_bars()
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
        for bars in hidden:
            bars.enable_progress_bars()


def _prepared(datasets: Any, builder: Any) -> Any:
    kind = type(builder).__module__.split(".")[-1]
    if kind == "cache":  # The library found the data set in its cache, but not on the Hub.
        log.warning("The data set %s can't be reached; the copy in the cache is used.", builder.repo_id)
    elif kind not in FORMATS:
        raise _RefusedError(f"it is in the format {kind}, but only {', '.join(FORMATS)} are read")
    elif not Path(builder.cache_dir, datasets.config.DATASET_INFO_FILENAME).exists():
        log.info("Preparing the data set %s in %s.", builder.repo_id or builder.dataset_name, builder.cache_dir)
        Path(builder.cache_dir).parent.mkdir(parents=True, exist_ok=True)
        # One process of a machine verifies and writes, the others wait.
        with FileLock(f"{builder.cache_dir}.fast_style.lock"):
            _download(datasets, builder)
            builder.download_and_prepare()
        return builder
    builder.download_and_prepare()  # Only reads what is there.
    return builder


def _download(datasets: Any, builder: Any) -> None:
    """Download the files of a data set on the Hub and compare their checksums with the Hub's.

    The library compares only sizes. A damaged file would stay in its cache, and every later start would fail.
    """
    files = builder.config.data_files or {}
    if builder.repo_id is None or not any(str(file).startswith("hf://") for group in files.values() for file in group):
        return
    for tries_left in reversed(range(TRIES)):
        try:
            datasets.DownloadManager(base_path=builder.base_path).download(dict(files))
            _verify(datasets.config.HF_ENDPOINT, builder.repo_id, revision=str(builder.hash))
            return
        except OSError:
            if not tries_left:
                raise
            time.sleep(PAUSE * (TRIES - tries_left))


def _verify(endpoint: str, repository: str, *, revision: str) -> None:
    from huggingface_hub import HfApi

    checked = HfApi(endpoint).verify_repo_checksums(repository, repo_type="dataset", revision=revision)
    for wrong in checked.mismatches:
        Path(checked.verified_path, wrong["path"]).resolve().unlink()
    if checked.mismatches:
        raise _DamagedError(f"{checked.mismatches[0]['path']} does not have the checksum that the Hub lists")


def _unpacked(rows: Any, column: str) -> Any:
    """Rows with bytes in place of paths into zip files: a zip file's list would be read for every image."""
    import pyarrow.compute as pc
    from datasets.table import embed_table_storage

    paths = pc.struct_field(rows.data.column(column), "path")
    if not pc.any(pc.match_substring(paths, "::")).as_py():
        return rows
    return rows.with_format("arrow").map(embed_table_storage, batched=True, batch_size=100).with_format(None)


class _RefusedError(Exception):
    pass


class _DamagedError(OSError):
    pass


def _why(error: Exception) -> str:
    import datasets
    from huggingface_hub import utils

    hub: Any = utils  # Its HTTP client changes its name, and is not part of the typed interface.

    if isinstance(error, datasets.exceptions.DatasetNotFoundError):
        return "there is no folder and no data set on the Hub of this name (log in with hf auth login if it is private)"
    if isinstance(error, ConnectionError) and datasets.config.HF_HUB_OFFLINE:
        return "it is not in the cache, and HF_HUB_OFFLINE or HF_DATASETS_OFFLINE forbids downloads"
    if isinstance(error, (ConnectionError, hub.httpx.HTTPError, _DamagedError)):
        return f"{_described(error)}; repeat the command later, what is complete is kept"
    if isinstance(error, datasets.exceptions.DatasetGenerationError):
        return _described(error.__cause__ or error)
    return _described(error)


def _described(error: BaseException) -> str:
    text = in_one_line(str(error)) or type(error).__name__
    return text.rstrip(".!")
