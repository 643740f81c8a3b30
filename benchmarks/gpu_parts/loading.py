"""Photos a second from a folder and from tar shards into the device's memory, and how many a training step takes."""

import os
import time
from itertools import islice
from typing import Any

import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate

from fast_style.data.shards.sources import PictureFolder
from fast_style.data.shards.writer import ShardSettings, write_shards
from gpu_parts.clock import chosen_device, wait
from gpu_parts.figures import Figures
from gpu_parts.photos import photo_folder
from gpu_parts.running import CHECKOUT


def measure(figures: Figures) -> None:
    """Note the rate of each source, and the rate that the step needs."""
    device = chosen_device(figures.sizes)
    photos = photo_folder(figures)
    workers = 1 if figures.sizes.dry else os.cpu_count() or 1
    figures.note("workers", workers)
    files = list(islice(photos.iterdir(), figures.sizes.distinct))
    figures.note("kilobytes_per_photo", sum(file.stat().st_size for file in files) / len(files) / 1e3)
    shards = figures.folder / "shards"
    started = time.perf_counter()
    packed = write_shards(PictureFolder(str(photos)), str(shards), ShardSettings(shard_mb=8))
    figures.note("packed_per_second", packed.samples / (time.perf_counter() - started))
    for batch in figures.sizes.load_batches:
        common = [f"data.size={figures.sizes.side}", f"data.batch_size={batch}", f"data.workers={workers}"]
        rates = {
            "folder": rate(["data=folder", f"data.root={photos}", *common], figures, device),
            "shards": rate(["data=shards", f"data.urls={shards}", *common], figures, device),
        }
        step = figures.earlier.get("step", {}).get(f"batch {batch}", {})
        needed = step.get("images_per_second")
        slowest = min(rates.values())
        figures.note(
            f"batch {batch}",
            {f"{name}_images_per_second": found for name, found in rates.items()}
            | {"step_images_per_second": needed, "loader_over_step": slowest / needed if needed else None},
        )


def rate(overrides: list[str], figures: Figures, device: torch.device) -> float:
    """Images a second on the device, in float32, after the loader's prefetched batches."""
    with initialize_config_dir(str(CHECKOUT / "conf"), version_base="1.3"):
        data = instantiate(compose("train", overrides).data, _convert_="all")
    data.setup()
    coming = iter(data.train_dataloader())
    for _ in range(3 * max(1, data.workers)):
        on_device(data, next(coming), device)
    wait(device)
    images, started = 0, time.perf_counter()
    while time.perf_counter() - started < figures.sizes.load_seconds:
        images += len(on_device(data, next(coming), device))
    wait(device)
    seconds = time.perf_counter() - started
    del coming  # Ends its workers.
    return images / seconds


def on_device(data: Any, batch: Any, device: torch.device) -> torch.Tensor:
    """Copy a batch as Lightning does, then convert it to float32 in 0..1."""
    moved = batch._replace(pixels=batch.pixels.to(device, non_blocking=True))
    converted: torch.Tensor = data.on_after_batch_transfer(moved, 0)
    return converted
