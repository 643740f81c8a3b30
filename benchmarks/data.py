"""Speed of photo loading from a folder, from shards and from parquet, and the cost of large photos and of many files.

    python benchmarks/data.py --photos data/photos/train --large data/photos/large
    python benchmarks/data.py --photos data/photos/train --parts files --files 120000

The loaders deliver 256 px crops in batches of 4, as in training. No training step runs beside them, so during training
the loaders get less of the CPU than here. All files are written to a temporary folder.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from itertools import cycle, islice
from pathlib import Path

import psutil

from fast_style.data.datamodule import PhotoDataModule
from fast_style.data.dataset import shortest_side_needed
from fast_style.data.hub.datamodule import HubDataModule
from fast_style.data.image_folder import ImageFolderDataModule
from fast_style.data.shards.datamodule import ShardDataModule
from fast_style.data.shards.sources import PictureFolder
from fast_style.data.shards.writer import ShardSettings, write_shards
from fast_style.images.listing import find_pictures
from fast_style.images.tensors import load_pixels

BATCH = 4
MEMORY = "import psutil; m = psutil.Process().memory_full_info(); print(m.uss, m.rss)"


def speed(photos: str, rounds: int, batches: int) -> None:
    """Print images per second; the sources alternate."""
    with tempfile.TemporaryDirectory() as folder:
        shards, rows = f"{folder}/shards", f"{folder}/photos.parquet"
        started = time.perf_counter()
        done = write_shards(PictureFolder(photos), shards, ShardSettings(shard_mb=4))
        print(f"Packing: {done.samples / (time.perf_counter() - started):.0f} photos a second")
        _write_parquet(photos, rows)
        modules: dict[str, Callable[..., PhotoDataModule]] = {
            "folder": partial(ImageFolderDataModule, root=photos),
            "shards": partial(ShardDataModule, urls=shards),
            "hub": partial(HubDataModule, path="parquet", data_files=rows),
        }
        sides = [(source, workers) for workers in (0, 1, 2) for source in modules]
        rates: dict[tuple[str, int], list[float]] = {side: [] for side in sides}
        for _ in range(rounds):
            for source, workers in sides:
                rates[source, workers].append(_rate(modules[source](batch_size=BATCH, workers=workers), batches))
    print(f"\n{'source':8}{'workers':>8}{'images/s':>10}  {'range':14}{'steps/s at batch size 4':>30}")
    for (source, workers), found in rates.items():
        middle, span = statistics.median(found), f"{min(found):.0f} to {max(found):.0f}"
        print(f"{source:8}{workers:8}{middle:10.0f}  {span:14}{middle / BATCH:30.1f}")


def _write_parquet(photos: str, file: str) -> None:
    os.environ["HF_HOME"] = f"{os.path.dirname(file)}/cache"  # Read at the first import.
    import datasets

    rows = [{"bytes": Path(photo).read_bytes(), "path": None} for photo in find_pictures(photos)]
    datasets.Dataset.from_dict({"image": rows}).cast_column("image", datasets.Image()).to_parquet(file)


def _rate(data: PhotoDataModule, batches: int) -> float:
    data.setup()
    coming = iter(data.train_dataloader())
    for _ in islice(coming, 8):  # Do not count the start of the workers and the batches that they prefetched.
        pass
    started = time.perf_counter()
    for batch in islice(coming, batches):
        data.on_after_batch_transfer(batch, 0)
    return batches * BATCH / (time.perf_counter() - started)


def large(photos: str, rounds: int) -> None:
    """Print the time to decode each photo at full size and at reduced size."""
    enough = shortest_side_needed(256, 0.25)
    print(f"\n{'photo':32}{'full':>22}{f'at least {enough}':>24}{'':>8}")
    for path in find_pictures(photos):
        full, reduced = (_decoding(path, at_least, rounds) for at_least in (None, enough))
        sizes = [f"{p.shape[2]}x{p.shape[1]} {seconds * 1000:.0f} ms" for p, seconds in (full, reduced)]
        print(f"{os.path.basename(path)[:30]:32}{sizes[0]:>22}{sizes[1]:>24}{full[1] / reduced[1]:7.1f}x")


def _decoding(path: str, at_least: int | None, rounds: int) -> tuple:
    seconds = []
    for _ in range(rounds):
        started = time.perf_counter()
        pixels = load_pixels(path, at_least=at_least)
        seconds.append(time.perf_counter() - started)
    return pixels, statistics.median(seconds)


def files(photos: str, count: int, batches: int) -> None:
    """Print the start-up time and the memory of a worker for a folder of many links."""
    with tempfile.TemporaryDirectory() as folder:
        for number, photo in zip(range(count), cycle(find_pictures(photos)), strict=False):
            if number % 10_000 == 0:
                part = Path(folder) / f"{number // 10_000:02d}"
                part.mkdir()
            (part / f"{number:06d}.jpg").symlink_to(os.path.abspath(photo))
        started = time.perf_counter()
        data = ImageFolderDataModule(root=folder, batch_size=BATCH, workers=2)
        data.setup()
        listed = time.perf_counter() - started
        coming = iter(data.train_dataloader())
        next(coming)
        first = time.perf_counter() - started
        for _ in islice(coming, batches):
            pass
        workers = [psutil.Process(worker.pid).memory_full_info() for worker in coming._workers]
    bare_uss, bare_rss = map(int, subprocess.check_output([sys.executable, "-c", f"import torch; {MEMORY}"]).split())
    print(f"\n{count} files: set up in {listed:.2f} s, first batch after {first:.2f} s")
    print(f"A process that imported torch: {bare_uss / 1e6:.0f} MB private, {bare_rss / 1e6:.0f} MB resident")
    for memory in workers:
        beyond = f"{(memory.uss - bare_uss) / 1e6:.0f} MB private, {(memory.rss - bare_rss) / 1e6:.0f} MB resident"
        print(
            f"A worker after {batches} batches: {memory.uss / 1e6:.0f} MB private, {memory.rss / 1e6:.0f} MB "
            f"resident; beyond torch: {beyond}"
        )


def main() -> None:
    """Run the selected parts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", required=True, help="a folder of photos")
    parser.add_argument("--large", help="a folder of large photos; without it the part large is skipped")
    names = ["speed", "large", "files"]
    parser.add_argument("--parts", nargs="+", choices=names, default=names, help="what to measure; default: all")
    parser.add_argument("--rounds", type=int, default=5, help="repetitions of each measurement")
    parser.add_argument("--batches", type=int, default=60, help="batches to load in each measurement")
    parser.add_argument("--files", type=int, default=120_000, help="links in the folder of the part files")
    given = parser.parse_args()
    parts: dict[str, Callable[[], None]] = {
        "speed": lambda: speed(given.photos, given.rounds, given.batches),
        "large": lambda: large(given.large, given.rounds) if given.large else None,
        "files": lambda: files(given.photos, given.files, given.batches),
    }
    for part in given.parts:
        parts[part]()


if __name__ == "__main__":
    main()
