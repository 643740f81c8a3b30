"""The same numbered photos as a folder, parquet, zip and tar files, for `data=hub`."""

import io
import shutil
import tarfile
from pathlib import Path

import datasets
from shard_sets import numbered_photos

from fast_style.data.hub.datamodule import HubDataModule


def parquet_of(photos: Path, file: Path, **columns: list[object]) -> Path:
    """A parquet file with a row for each photo, in the column `image`."""
    rows = [{"bytes": photo.read_bytes(), "path": photo.name} for photo in sorted(photos.iterdir())]
    table = datasets.Dataset.from_dict({"image": rows, **columns}).cast_column("image", datasets.Image())
    table.to_parquet(file)
    return file


def tar_of(file: Path, members: dict[str, bytes]) -> Path:
    """A tar file."""
    with tarfile.open(file, "w") as tar:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return file


def photo_bytes(photos: Path) -> dict[str, bytes]:
    """The content of each photo by file name."""
    return {photo.name: photo.read_bytes() for photo in sorted(photos.iterdir())}


def sources(folder: Path, count: int) -> dict[str, dict[str, object]]:
    """Settings of `data=hub` for the same photos in each format."""
    photos = numbered_photos(folder / "photos", count)
    (folder / "packed").mkdir()
    shutil.make_archive(str(folder / "packed" / "photos"), "zip", photos)
    tar_of(folder / "photos.tar", photo_bytes(photos))
    parquet_of(photos, folder / "photos.parquet")
    return {
        "folder": {"path": str(photos)},
        "zip": {"path": str(folder / "packed")},
        "parquet": {"path": "parquet", "data_files": f"{folder}/*.parquet"},
        "webdataset": {"path": "webdataset", "data_files": [f"{folder}/photos.tar"]},
    }


def hub_data(*, seen: int | None = None, **options: object) -> HubDataModule:
    """An opened data module for small photos; `seen` is the position of a resumed run, in photos."""
    data = HubDataModule(**{"size": 8, "batch_size": 2, "held_out": 2, "workers": 0, **options})  # type: ignore[arg-type]
    if seen is not None:
        data.load_state_dict({"photos_seen": seen, "unreadable": []})
    data.setup()
    return data
