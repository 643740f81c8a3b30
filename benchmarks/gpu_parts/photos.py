"""A folder of JPEG photos of COCO's sizes, made on the spot."""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image

from gpu_parts.figures import Figures

#: Width and height of COCO's most frequent photos.
SHAPES = ((640, 480), (640, 427), (480, 640), (640, 426), (500, 375))


def photo_folder(figures: Figures) -> Path:
    """The folder that all parts share; made at the first call. Links multiply the distinct files."""
    folder = figures.folder / "photos"
    if (folder / "done").exists():
        return folder / "train"
    (folder / "distinct").mkdir(parents=True, exist_ok=True)
    (folder / "train").mkdir(exist_ok=True)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        files = list(pool.map(lambda number: _make(folder / "distinct", number), range(figures.sizes.distinct)))
    for number in range(figures.sizes.photos):
        link = folder / "train" / f"{number:05}.jpg"
        if not link.exists():
            os.link(files[number % len(files)], link)
    (folder / "done").touch()
    return folder / "train"


def _make(folder: Path, number: int) -> Path:
    """Blobs of several scales with noise: at quality 90 about 120 kB; photos of COCO have about 160 kB."""
    file = folder / f"{number:05}.jpg"
    random = np.random.default_rng(number)
    width, height = SHAPES[number % len(SHAPES)]
    pixels = np.zeros((height, width, 3), np.float32)
    for cells, strength in ((6, 90), (24, 50), (120, 25)):
        small = random.normal(0, 1, (cells * 3 // 4, cells, 3)).clip(-2, 2)
        coarse = Image.fromarray(((small + 2) * 63).astype(np.uint8)).resize((width, height), Image.Resampling.BICUBIC)
        pixels += (np.asarray(coarse, np.float32) - 126) / 63 * strength
    pixels += 110 + random.normal(0, 12, pixels.shape)
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(file, quality=90)
    return file
