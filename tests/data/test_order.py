"""One order of photos for any number of workers and processes, from each kind of storage."""

from itertools import islice
from types import SimpleNamespace

import pytest
from photo_sets import parquet_of
from shard_sets import shards

from fast_style.data.hub.datamodule import HubDataModule
from fast_style.data.image_folder import ImageFolderDataModule
from fast_style.data.shards.datamodule import ShardDataModule

PHOTOS, HELD_OUT = 14, 2
EPOCH = PHOTOS - HELD_OUT


@pytest.fixture
def modules(tmp_path, monkeypatch):
    """A new data module for the same photos, by storage."""
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    packed = shards(tmp_path, PHOTOS)
    rows = parquet_of(tmp_path / "photos", tmp_path / "photos.parquet")
    options = {"size": 8, "batch_size": 2, "held_out": HELD_OUT, "seed": 5}
    return {
        "folder": lambda workers: ImageFolderDataModule(root=str(tmp_path / "photos"), workers=workers, **options),
        "shards": lambda workers: ShardDataModule(urls=str(packed), workers=workers, num_streams=2, **options),
        "hub": lambda workers: HubDataModule(path="parquet", data_files=str(rows), workers=workers, **options),
    }


def shares(module, *, workers, processes, count):
    """The first `count` files that all processes together train on, by process."""
    for rank in range(processes):
        data = module(workers)
        data.setup()
        data.trainer = SimpleNamespace(world_size=processes, global_rank=rank)
        batches = islice(data.train_dataloader(), count // processes // data.batch_size)
        yield [file for batch in batches for file in batch.files]


@pytest.mark.parametrize("storage", ["folder", "shards", "hub"])
def test_one_list_for_all_workers_and_processes(modules, storage):
    lists = {}
    for workers in (0, 2):
        for processes in (1, 2, 3):
            by_process = shares(modules[storage], workers=workers, processes=processes, count=2 * EPOCH)
            # Position p of the run belongs to process p % processes.
            lists[workers, processes] = [file for turn in zip(*by_process, strict=True) for file in turn]
    (first, *others) = lists.values()
    assert all(other == first for other in others)
    assert len(first) == 2 * EPOCH
    assert len(set(first[:EPOCH])) == len(set(first[EPOCH:])) == EPOCH
    assert first[:EPOCH] != first[EPOCH:]
