"""Remote shards are downloaded completely, once, into a folder of limited size."""

import multiprocessing
import os
import pickle
import threading
import time

import pytest
from shard_sets import served, shards

from fast_style.data.shards import remote
from fast_style.data.shards.cache import ShardCache
from fast_style.data.shards.index import checksum, find_shards


@pytest.fixture
def folder(tmp_path):
    return shards(tmp_path, 12)


@pytest.fixture(autouse=True)
def _impatient(monkeypatch):
    monkeypatch.setattr(remote, "BACKOFF", (0.01, 0.01))


def cache_in(tmp_path, **options):
    return ShardCache(str(tmp_path / "cache"), **{"max_bytes": 10**9, **options})


def kept(tmp_path):
    return sorted(path.name.partition("-")[2] for path in (tmp_path / "cache").glob("*.tar"))


def test_a_local_shard_stays_where_it_is(tmp_path, folder):
    (shard, *_) = find_shards(str(folder))
    assert cache_in(tmp_path).path_of(shard) == shard.url
    assert not (tmp_path / "cache").exists()


def test_a_shard_is_downloaded_completely_and_once(tmp_path, folder):
    with served(folder) as (url, asked):
        shard = find_shards(url)[1]
        for _ in range(3):
            path = cache_in(tmp_path).path_of(shard)
        assert checksum(path) == shard.sha256
        assert asked == ["index.json", "shard-000001.tar"]


@pytest.mark.parametrize("wrongs", [["dropped"], ["refused"], ["damaged"], ["dropped", "damaged"]])
def test_a_failed_transfer_is_retried(tmp_path, folder, wrongs):
    with served(folder, shard_000001_tar=list(wrongs)) as (url, asked):
        shard = find_shards(url)[1]
        assert checksum(cache_in(tmp_path).path_of(shard)) == shard.sha256
        assert asked.count("shard-000001.tar") == len(wrongs) + 1


@pytest.mark.parametrize(("wrong", "said"), [("dropped", "Payload"), ("damaged", "checksum"), ("refused", "503")])
def test_a_permanent_failure_is_one_sentence(tmp_path, folder, wrong, said):
    with served(folder, shard_000001_tar=[wrong] * 9) as (url, _):
        shard = find_shards(url)[1]
        with pytest.raises(
            ValueError, match=rf"shard-000001\.tar can't be downloaded, tried 3 times .*{said}"
        ) as caught:
            cache_in(tmp_path).path_of(shard)
    assert "\n" not in str(caught.value)
    assert kept(tmp_path) == []
    assert not list((tmp_path / "cache").glob(".*.tmp"))


def test_a_missing_shard_is_reported_at_once(tmp_path, folder):
    with served(folder) as (url, _):
        shard = find_shards(url)[1]
        (folder / shard.name).unlink()
        with pytest.raises(ValueError, match=r"shard-000001\.tar was wanted, found nothing"):
            cache_in(tmp_path).path_of(shard)


def test_a_cache_that_cannot_be_written_is_reported(tmp_path, folder):
    (tmp_path / "file").touch()
    with served(folder) as (url, _), pytest.raises(OSError, match="file"):
        ShardCache(str(tmp_path / "file" / "cache"), max_bytes=10**9).path_of(find_shards(url)[0])


def test_the_least_recently_used_shards_are_evicted_first(tmp_path, folder):
    with served(folder) as (url, _):
        found = find_shards(url)
        cache = cache_in(tmp_path, max_bytes=2 * found[0].bytes)
        for age, shard in ((100, found[0]), (50, found[1])):
            past = time.time() - age
            os.utime(cache.path_of(shard), (past, past))
        cache.path_of(found[0])
        cache.path_of(found[2])
        assert kept(tmp_path) == ["shard-000000.tar", "shard-000002.tar"]
        cache.path_of(found[1])
        assert len(kept(tmp_path)) == 2


def test_running_downloads_count_towards_the_limit(tmp_path, folder):
    with served(folder) as (url, _):
        found = find_shards(url)
        cache = cache_in(tmp_path, max_bytes=2 * found[0].bytes)
        cache.path_of(found[0])
        with open(tmp_path / "cache" / ".somebody.tmp", "wb") as file:
            file.truncate(found[0].bytes)
        cache.path_of(found[1])
        assert kept(tmp_path) == ["shard-000001.tar"]


def test_space_is_reserved_before_the_download(tmp_path, folder, monkeypatch):
    sizes = []

    def copy(url, to):
        sizes.extend(path.stat().st_size for path in (tmp_path / "cache").glob(".*.tmp"))
        return original(url, to)

    original = remote.copy
    monkeypatch.setattr(remote, "copy", copy)
    with served(folder) as (url, _):
        shard = find_shards(url)[0]
        cache_in(tmp_path).path_of(shard)
    assert sizes == [shard.bytes]


def test_leftovers_of_a_killed_process_are_removed(tmp_path, folder):
    (tmp_path / "cache").mkdir()
    left = tmp_path / "cache" / ".left.tmp"
    left.touch()
    os.utime(left, (1, 1))
    with served(folder) as (url, _):
        cache_in(tmp_path).path_of(find_shards(url)[0])
    assert not left.exists()


def test_the_next_shard_is_downloaded_in_the_background(tmp_path, folder):
    with served(folder) as (url, asked):
        found, cache = find_shards(url), cache_in(tmp_path)
        cache = pickle.loads(pickle.dumps(cache))  # As in a worker that was not forked.
        cache.fetch_soon(found[2])
        cache.fetch_soon(found[3])
        until = time.monotonic() + 5
        while len(kept(tmp_path)) < 2 and time.monotonic() < until:
            time.sleep(0.01)
        assert kept(tmp_path) == ["shard-000002.tar", "shard-000003.tar"]
        cache.fetch_soon(found[2])
        assert asked.count("shard-000002.tar") == 1


def test_a_failed_background_download_is_repeated_in_the_foreground(tmp_path, folder):
    with served(folder, shard_000002_tar=["damaged"] * 3) as (url, asked):
        found, cache = find_shards(url), cache_in(tmp_path)
        cache.fetch_soon(found[2])
        until = time.monotonic() + 5
        while asked.count("shard-000002.tar") < 3 and time.monotonic() < until:
            time.sleep(0.01)
        assert checksum(cache.path_of(found[2])) == found[2].sha256


def fetch(folder, shards, go):
    cache = ShardCache(folder, max_bytes=10**9)
    go.wait()
    for shard in shards:
        assert checksum(cache.path_of(shard)) == shard.sha256


@pytest.mark.parametrize("kind", ["threads", "processes"])
def test_concurrent_callers_download_each_shard_once(tmp_path, folder, kind):
    context = multiprocessing.get_context("fork")
    with served(folder) as (url, asked):
        found = find_shards(url)
        go = threading.Event() if kind == "threads" else context.Event()
        several = [
            (threading.Thread if kind == "threads" else context.Process)(
                target=fetch, args=(str(tmp_path / "cache"), found, go)
            )
            for _ in range(3)
        ]
        for one in several:
            one.start()
        go.set()
        for one in several:
            one.join()
        assert all(getattr(one, "exitcode", 0) == 0 for one in several)
        assert sorted(asked[1:]) == [shard.name for shard in found]


def test_files_of_others_in_the_cache_folder_are_kept(tmp_path, folder):
    (tmp_path / "cache").mkdir()
    mine = tmp_path / "cache" / "mine.tar"
    mine.write_bytes(b"x" * 10_000)
    os.utime(mine, (1, 1))
    with served(folder) as (url, _):
        found = find_shards(url)
        cache = cache_in(tmp_path, max_bytes=found[0].bytes)
        for shard in found:
            cache.path_of(shard)
    assert mine.read_bytes() == b"x" * 10_000
