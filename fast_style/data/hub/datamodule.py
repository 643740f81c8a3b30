"""Batches of content photos from the Hugging Face Hub, or from files in the formats of the Hub."""

import os
import random
from collections.abc import Sequence
from typing import Any

import numpy as np
from torch import Tensor

from fast_style.data.datamodule import PhotoDataModule, PhotoSplit
from fast_style.data.dataset import Pictures, PictureSubset
from fast_style.data.hub import http
from fast_style.data.hub.loading import DataFiles, image_column, load_rows
from fast_style.data.sampler import SampleIndex, ShuffledOrder
from fast_style.data.shards.datamodule import ShardDataModule
from fast_style.data.shards.index import expand_braces
from fast_style.images.decode import UnreadablePicture
from fast_style.images.tensors import load_pixels


class HubDataModule(PhotoDataModule):
    """Photos of a data set that Hugging Face's datasets library can load, or of shards on a server.

    Args:
        path: name of a data set on the Hub, a folder, a format (`parquet`, `imagefolder`, `webdataset`, `arrow`) whose
            files `data_files` lists, or the http(s) URL of an `index.json` of shards.
        name: the configuration of the data set, if it has several.
        split: the split to train on; all forms of the library, such as `train[:10%]`.
        column: the column of images; None if there is only one.
        data_files: the files to read: one pattern, several, or a dictionary of them by split.
        revision: branch, tag or commit of a data set on the Hub.
        held_out_split: split of the validation photos; None takes `held_out` photos of `split` and does not train on
            them.
    """

    def __init__(
        self,
        *,
        path: str,
        name: str | None = None,
        split: str = "train",
        column: str | None = None,
        data_files: DataFiles | None = None,
        revision: str | None = None,
        held_out_split: str | None = None,
        held_out: int = 8,
        size: int = 256,
        batch_size: int = 4,
        crop_scale: Sequence[float] = (0.25, 1.0),
        flip: float = 0.5,
        workers: int = 2,
        seed: int = 0,
    ) -> None:
        super().__init__(
            held_out=held_out,
            size=size,
            batch_size=batch_size,
            crop_scale=crop_scale,
            flip=flip,
            workers=workers,
            seed=seed,
        )
        self.path, self.name, self.split, self.column = os.path.expanduser(path), name, split, column
        self.data_files, self.revision, self.held_out_split = data_files, revision, held_out_split

    def photo_split(self) -> PhotoSplit:
        """Download what is missing and split the photos."""
        if http.is_http(self.path):
            return self._shards().photo_split()  # In the order of shards, which reads a few at a time.
        everything = self._photos(self.split)
        if self.held_out_split is not None:
            other = self._photos(self.held_out_split)
            kept: Pictures = PictureSubset(other, range(min(self.held_out, len(other))))
            return PhotoSplit(everything, kept, ShuffledOrder(len(everything), seed=self.seed))
        if len(everything) < 2:
            raise ValueError(
                f"{self.path} holds {len(everything)} photos, but training and validation need one each; name another "
                "split, or set data.held_out_split."
            )
        # At most half, so that a small data set has photos left to train on.
        count = min(self.held_out, len(everything) // 2)
        chosen = sorted(random.Random(self.seed).sample(range(len(everything)), count))
        others = np.delete(np.arange(len(everything)), chosen)
        training = PictureSubset(everything, others)
        return PhotoSplit(training, PictureSubset(everything, chosen), ShuffledOrder(len(others), seed=self.seed))

    def _photos(self, split: str) -> "RowPictures":
        rows = load_rows(
            self.path, name=self.name, split=split, data_files=_fetched(self.data_files), revision=self.revision
        )
        return RowPictures(*image_column(rows, self.column, where=self.path), split=split)

    def _shards(self) -> ShardDataModule:
        if not self.path.endswith(".json"):
            raise ValueError(
                f"The URL of an index.json was wanted in data.path, found {self.path}; tar files without an index are "
                "read with data.path=webdataset data.data_files=URL."
            )
        given = {"name": self.name, "column": self.column, "data_files": self.data_files, "revision": self.revision}
        unused = [f"data.{key}" for key, value in given.items() if value is not None]
        if unused or self.split != "train" or self.held_out_split is not None:
            raise ValueError(
                f"An index.json lists photos without columns and splits, found {', '.join(unused) or 'another split'}; "
                "leave that out."
            )
        return ShardDataModule(
            urls=http.fetch_shards(self.path),
            held_out=self.held_out,
            size=self.size,
            batch_size=self.batch_size,
            workers=self.workers,
            seed=self.seed,
        )


class RowPictures:
    """Images in the rows of a data set, read by our own decoder with its limits.

    Args:
        rows: a `datasets.Dataset`.
        column: the column of images, which are not decoded: `{"bytes": ..., "path": ...}`.
        split: name of the split, for messages.
    """

    def __init__(self, rows: Any, column: str, *, split: str) -> None:
        self.rows, self.column, self.split = rows, column, split

    def __len__(self) -> int:
        """Number of rows, readable or not."""
        return len(self.rows)

    def name_of(self, index: int) -> str:
        """The path of a file in a folder; otherwise split and row, as in `train[123]`."""
        return self._read(index)[0]

    def load(self, place: SampleIndex, *, at_least: int | None) -> Tensor:
        """The pixels of an image; errors of `images.load_pixels`, also for a row without an image."""
        name, image = self._read(place[1])
        if image is None:
            raise UnreadablePicture(f"{name} was wanted as an image, found an empty row.", "an empty row")
        return load_pixels(name, data=image["bytes"], at_least=at_least)

    def _read(self, index: int) -> tuple[str, dict[str, Any] | None]:
        image = self.rows[index][self.column] or {"bytes": None, "path": None}
        if image["bytes"] is None and image["path"] is not None and self.rows.builder_name == "imagefolder":
            return image["path"], image
        # Other formats hold the bytes: a path in their rows is somebody else's word for a file on this machine.
        return f"{self.split}[{index}]", image if image["bytes"] is not None else None


def _fetched(files: Any) -> Any:
    """The files of `data.data_files`, with those on a server replaced by downloaded files."""
    if files is None:
        return None
    if isinstance(files, dict):
        return {split: _fetched(some) for split, some in files.items()}
    given = [files] if isinstance(files, str) else files
    listed = [file for pattern in given for file in (expand_braces(pattern) if http.is_http(pattern) else [pattern])]
    paths = iter(http.fetch_files([file for file in listed if http.is_http(file)]))
    return [next(paths) if http.is_http(file) else file for file in listed]
