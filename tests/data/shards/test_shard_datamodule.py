"""Training from shards: each image once per epoch, for any number of workers and processes, and resumed exactly."""

import json
import logging
from itertools import islice

import pytest
import torch
from shard_sets import numbered_photos, shards

from fast_style.data.shards.datamodule import ShardDataModule
from fast_style.data.shards.dataset import ShardPictures
from fast_style.data.shards.index import find_shards


def data_of(urls, *, seen=None, **options):
    data = ShardDataModule(
        urls=str(urls), **{"size": 8, "batch_size": 2, "held_out": 2, "workers": 0, "num_streams": 2, **options}
    )
    if seen is not None:
        data.load_state_dict({"photos_seen": seen * data.batch_size, "unreadable": []})
    data.setup()
    return data


def batches(data, count):
    return list(islice(data.train_dataloader(), count))


def files(data, count):
    return [file for batch in batches(data, count) for file in batch.files]


def brightness(batch):
    return batch.pixels[:, 0, 4, 4].tolist()


@pytest.fixture
def folder(tmp_path):
    return shards(tmp_path, 14)  # Five shards, the last one shorter.


def test_every_image_comes_once_per_epoch_except_validation_images(folder):
    data = data_of(folder)
    held_out = [file for batch in data.val_dataloader() for file in batch.files]
    seen = files(data, 12)
    assert len(held_out) == len(set(held_out)) == 2
    assert len(data.epoch_order) == 12
    for one_pass in (seen[:12], seen[12:]):
        assert len(set(one_pass)) == 12
        assert set(one_pass).isdisjoint(held_out)
    assert seen[:12] != seen[12:]


def test_a_batch_names_the_files_it_was_read_from(folder):
    for batch in batches(data_of(folder), 7):
        for value, file in zip(brightness(batch), batch.files, strict=True):
            assert file == f"shard-{value // 3:06d}.tar/{value:09d}.png"


def test_the_validation_images_are_always_the_same(folder):
    def shown(**options):
        return [brightness(batch) for batch in data_of(folder, **options).val_dataloader()]

    assert shown() == shown() == shown(batch_size=2, num_streams=2)
    assert len({str(shown(seed=seed)) for seed in range(4)}) > 1


def test_with_a_validation_folder_all_shards_are_trained_on(folder, tmp_path):
    other = numbered_photos(tmp_path / "other", 3)
    data = data_of(folder, held_out_root=str(other))
    assert len(data.epoch_order) == 14
    assert [file for batch in data.val_dataloader() for file in batch.files] == [
        str(other / f"000{n}.png") for n in (0, 1)
    ]


def test_workers_change_nothing(folder):
    alone, helped = (batches(data_of(folder, workers=workers), 7) for workers in (0, 2))
    assert [b.files for b in alone] == [b.files for b in helped]
    assert all(torch.equal(x.pixels, y.pixels) for x, y in zip(alone, helped, strict=True))


@pytest.mark.parametrize("seen", [1, 4, 9])
def test_a_resumed_run_continues_with_the_next_batch(folder, seen):
    straight = batches(data_of(folder), seen + 3)[seen:]
    resumed = batches(data_of(folder, seen=seen), 3)
    assert [b.files for b in straight] == [b.files for b in resumed]
    assert all(torch.equal(x.pixels, y.pixels) for x, y in zip(straight, resumed, strict=True))


def test_the_headers_of_a_few_shards_are_kept(folder):
    pictures = ShardPictures(find_shards(str(folder)), remembered=2)
    for index in (0, 1, 3, 0, 6, 13):
        assert pictures.load((0, index), at_least=None)[0, 0, 0] == index
        assert len(pictures._members) <= 2
    assert pictures._members.keys() == {2, 4}


def test_a_broken_image_is_replaced_by_the_next_and_reported(folder, caplog):
    index = json.loads((folder / "index.json").read_text())
    path = folder / "shard-000001.tar"
    content = path.read_bytes()
    place = content.index(b"000000004.png") + 512
    path.write_bytes(content[:place] + b"X" * 40 + content[place + 40 :])
    assert path.stat().st_size == index["shards"][1]["bytes"]
    data = data_of(folder)
    with caplog.at_level(logging.WARNING):
        for batch in batches(data, 6):
            data.on_after_batch_transfer(batch, 0)
    assert list(data.unreadable) == ["shard-000001.tar/000000004.png"]
    assert "shard-000001.tar/000000004.png can't be read" in caplog.text
    assert "shard-000001.tar/000000004.png" not in files(data, 6)
    with pytest.raises(ValueError, match=r"shard-000001\.tar is damaged: its checksum"):
        data_of(folder, verify=True)


def test_an_index_with_wrong_counts_is_reported(folder):
    index = json.loads((folder / "index.json").read_text())
    for shard in index["shards"]:
        shard["samples"] += 1
    (folder / "index.json").write_text(json.dumps(index))
    with pytest.raises(ValueError, match=r"holds 3 images, but 4 are expected; make its index\.json again"):
        data_of(folder)


def test_few_images_are_split_in_halves(tmp_path):
    data = data_of(shards(tmp_path, 3), held_out=8)
    assert (len(data.training), len(data.validation)) == (2, 1)
    with pytest.raises(ValueError, match="hold 1 photos, but training and validation need one each"):
        data_of(shards(tmp_path / "one", 1))


def test_bad_arguments_are_refused():
    with pytest.raises(ValueError, match=r"data\.num_streams must be at least 1"):
        ShardDataModule(urls="anywhere", num_streams=0)
