"""Files from servers that fail: they arrive completely, or the run ends with one sentence and a later run goes on."""

import json
import multiprocessing
import os
import shutil
import threading
import time
from itertools import islice
from pathlib import Path

import pytest
from faulty_server import FAULTS, served
from photo_sets import hub_data, photo_bytes, tar_of
from shard_sets import numbered_photos, shards

from fast_style.data.hub import http
from fast_style.data.shards.datamodule import ShardDataModule
from fast_style.data.shards.index import checksum, find_shards

SHARD = "shard-000001.tar"


@pytest.fixture
def folder(tmp_path):
    return shards(tmp_path / "server", 48, samples=8)


def order_of(data):
    return [file for batch in islice(data.train_dataloader(), 23) for file in batch.files]


def shard_data(folder):
    data = ShardDataModule(urls=str(folder), size=8, batch_size=2, held_out=2, workers=0)
    data.setup()
    return data


def test_shards_of_a_server_are_read_as_if_they_were_here(folder):
    with served(folder) as (url, asked):
        data = hub_data(path=f"{url}/index.json")
        assert order_of(data) == order_of(shard_data(folder))
        assert sorted(asked) == ["index.json", *(f"shard-00000{n}.tar" for n in range(6))]
    again = hub_data(path=f"{url}/index.json")  # The server is gone, and nothing is asked for.
    assert order_of(again) == order_of(data)


def test_every_fault_is_repaired_by_the_next_try(folder):
    names = [f"shard-00000{number}.tar" for number in range(len(FAULTS))]
    with served(folder, {name: [fault] for name, fault in zip(names, FAULTS, strict=True)}) as (url, asked):
        index = http.fetch_shards(f"{url}/index.json")
        assert [asked.count(name) for name in names] == [2] * len(FAULTS)
    assert [checksum(shard.url) for shard in find_shards(index)] == [shard.sha256 for shard in find_shards(str(folder))]


SAID = {
    "refused": "the server answers 503 Service Unavailable",
    "hangs": r"it does not arrive completely \(ConnectionError\)",
    "cut": r"it does not arrive completely \(ChunkedEncodingError\)",
    "lies": "the server sends a tar file without an end",
    "damaged": r"the server sends another file \(its size or SHA-256 differs\)",
}


@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTS)
def test_a_lasting_fault_is_one_sentence_and_a_later_start_completes(folder, cache, fault):
    with served(folder, {SHARD: [fault] * 2}) as (url, asked):
        with pytest.raises(ValueError, match=rf"{SHARD} was wanted, but {SAID[fault]}, tried 2 times; check") as caught:
            http.fetch_shards(f"{url}/index.json")
        assert "\n" not in str(caught.value)
        assert sorted(path.name for path in cache.rglob("*.tar")) == [f"shard-00000{n}.tar" for n in (0, 2, 3, 4, 5)]
        asked.clear()
        index = http.fetch_shards(f"{url}/index.json")
        assert asked == [SHARD]
    assert [checksum(shard.url) for shard in find_shards(index)] == [shard.sha256 for shard in find_shards(str(folder))]
    assert not list(cache.rglob("tmp*"))


def test_tar_files_without_checksums_are_complete(tmp_path, cache):
    photos = numbered_photos(tmp_path / "photos", 16)
    (tmp_path / "server").mkdir()
    for number in range(2):
        tar_of(tmp_path / f"server/{number}.tar", dict(list(photo_bytes(photos).items())[number::2]))
    with served(tmp_path / "server", {"0.tar": ["cut"], "1.tar": ["lies"]}) as (url, asked):
        data = hub_data(path="webdataset", data_files=f"{url}/{{0..1}}.tar")
        assert sorted(asked) == ["0.tar", "0.tar", "1.tar", "1.tar"]
    assert len(data.training) + len(data.validation) == 16
    kept, sent = ({path.read_bytes() for path in place.rglob("*.tar")} for place in (cache, tmp_path / "server"))
    assert kept == sent


def test_a_file_that_is_larger_than_listed_is_not_stored(folder, cache):
    with served(folder) as (url, _):
        with open(folder / SHARD, "ab") as file:
            file.write(bytes(1 << 20))
        with pytest.raises(ValueError, match=rf"{SHARD} was wanted, but {SAID['damaged']}"):
            http.fetch_shards(f"{url}/index.json")
    assert SHARD not in [path.name for path in cache.rglob("*.tar")]


@pytest.mark.parametrize("ending", ["", "/", "/..", "/a/../.."])
def test_an_address_without_a_file_name_stays_in_its_folder(tmp_path, cache, ending):
    (tmp_path / "index.html").write_text("a list")
    with served(tmp_path) as (url, _):
        (path,) = http.fetch_files([url + ending])
    assert Path(path).name == "file"
    assert Path(path).resolve().parent.parent == (cache / "fast_style" / "downloads").resolve()


def test_a_download_that_is_killed_is_completed_by_the_next_start(folder, cache):
    with served(folder, {SHARD: ["hangs"]}) as (url, asked):
        killed = multiprocessing.get_context("fork").Process(target=http.fetch_shards, args=(f"{url}/index.json",))
        killed.start()
        while SHARD not in asked:
            time.sleep(0.01)
        killed.kill()
        killed.join()
        assert SHARD not in [path.name for path in cache.rglob("*.tar")]
        index = http.fetch_shards(f"{url}/index.json")
    assert [checksum(shard.url) for shard in find_shards(index)] == [shard.sha256 for shard in find_shards(str(folder))]


def test_a_server_that_is_not_there_is_one_sentence(folder):
    with served(folder) as (url, _):
        pass
    with pytest.raises(
        ValueError, match=r"index\.json was wanted, but it does not arrive .*\(ConnectionError\), tried 2"
    ):
        http.fetch_shards(f"{url}/index.json")


@pytest.mark.parametrize("text", ["{", "{}", json.dumps({"shards": [{"name": "../a.tar", "sha256": "0" * 64}]})])
def test_an_invalid_index_is_refused_and_not_kept(tmp_path, cache, text):
    (tmp_path / "index.json").write_text(text)
    with served(tmp_path) as (url, _), pytest.raises(ValueError, match="is not an index written by scripts/prepare"):
        http.fetch_shards(f"{url}/index.json")
    assert not list(cache.rglob("*.json"))


def test_files_of_equal_names_on_two_servers_are_kept_apart(tmp_path):
    for name in "ab":
        (tmp_path / name).mkdir()
        (tmp_path / name / "file.txt").write_text(name)
    with served(tmp_path / "a") as (one, _), served(tmp_path / "b") as (other, _):
        paths = http.fetch_files([f"{one}/file.txt", f"{other}/file.txt"])
    assert [Path(path).read_text() for path in paths] == ["a", "b"]


def test_concurrent_callers_download_each_file_once(folder):
    with served(folder) as (url, asked):
        several = [threading.Thread(target=http.fetch_shards, args=(f"{url}/index.json",)) for _ in range(4)]
        for one in several:
            one.start()
        for one in several:
            one.join()
        assert sorted(asked) == ["index.json", *(f"shard-00000{n}.tar" for n in range(6))]


def test_a_cache_that_cannot_be_written_is_reported(folder, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with served(folder) as (url, _), pytest.raises(OSError, match="file"):
        http.fetch_shards(f"{url}/index.json")


def test_a_shard_that_was_changed_after_the_download_is_noticed(folder, cache):
    with served(folder) as (url, _):
        hub_data(path=f"{url}/index.json")
        (shard,) = cache.rglob(SHARD)
        os.truncate(shard, 1000)
        with pytest.raises(ValueError, match=rf"{SHARD} has 1000 bytes instead of"):
            hub_data(path=f"{url}/index.json")
        shutil.rmtree(cache)
        hub_data(path=f"{url}/index.json")
