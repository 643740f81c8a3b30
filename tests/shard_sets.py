"""Small real shards."""

from pathlib import Path

import torch

from fast_style import save_image
from fast_style.data.shards.sources import PictureFolder
from fast_style.data.shards.writer import ShardSettings, write_shards


def numbered_photos(folder: Path, count: int, *, side: int = 24) -> Path:
    """Grey photos of different brightness: every pixel of photo n is n."""
    for number in range(count):
        save_image(torch.full((1, 3, side, side), number / 255), folder / f"{number:04d}.png")
    return folder


def shards(folder: Path, count: int = 10, *, samples: int = 3) -> Path:
    """Shards in `folder/shards` of `count` numbered photos, `samples` per shard."""
    photos = numbered_photos(folder / "photos", count)
    write_shards(PictureFolder(str(photos)), str(folder / "shards"), ShardSettings(shard_samples=samples))
    return folder / "shards"
