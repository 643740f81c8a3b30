"""Shards are found at any place and counted; shards that differ from their index are refused with a clear error."""

import json
import os
import shutil
import tarfile
from pathlib import Path

import pytest
from shard_sets import numbered_photos, shards

from fast_style.data.shards.index import find_shards, index_folder, verify_checksums
from fast_style.data.shards.tar import bytes_of, pictures_in


@pytest.fixture
def folder(tmp_path):
    return shards(tmp_path, 7)


def found(urls):
    return [(shard.name, shard.samples) for shard in find_shards(urls)]


ALL = [("shard-000000.tar", 3), ("shard-000001.tar", 3), ("shard-000002.tar", 1)]
PLACES = {
    "folder": ("", ALL),
    "index": ("/index.json", ALL),
    "star": ("/shard-*.tar", ALL),
    "span": ("/shard-{000000..000001}.tar", ALL[:2]),
    "both": ("/../{shards,nowhere}/shard-{000001..000002}.tar", ALL[1:]),
    "choice": ("/shard-00000{2,0}.tar", [ALL[2], ALL[0]]),
    "one": ("/shard-000002.tar", ALL[2:]),
}


@pytest.mark.parametrize("indexed", [True, False], ids=["indexed", "looked-at"])
@pytest.mark.parametrize("place", PLACES)
def test_local_shards(folder, monkeypatch, place, indexed):
    ending, wanted = PLACES[place]
    if not indexed:
        if place == "index":
            return
        (folder / "index.json").unlink()
        (folder / "progress.jsonl").unlink()  # As for tar files from another source.
    assert found(f"{folder}{ending}") == wanted
    monkeypatch.chdir(folder.parent)
    assert found(f"shards{ending}") == wanted
    assert all((shard.sha256 is not None) == indexed for shard in find_shards(f"shards{ending}"))


def test_several_places_give_each_shard_once(folder, tmp_path):
    other = shards(tmp_path / "other", 2)
    assert found([f"{folder}/shard-000001.tar", str(folder), str(other)]) == [
        ALL[1],
        ALL[0],
        ALL[2],
        ("shard-000000.tar", 2),
    ]


def test_other_tar_files_are_read_and_can_get_an_index(tmp_path):
    photos = numbered_photos(tmp_path / "photos", 3)
    with tarfile.open(tmp_path / "theirs.tar", "w", format=tarfile.PAX_FORMAT) as tar:
        tar.add(photos, "deep/" + "er" * 80)  # A name too long for the old format.
        (tmp_path / "a.json").write_text("{}")
        tar.add(tmp_path / "a.json")
        (tmp_path / "folder.jpg").mkdir()
        tar.add(tmp_path / "folder.jpg", "folder.jpg")
    assert found(str(tmp_path)) == [("theirs.tar", 3)]
    index_folder(str(tmp_path))
    (shard,) = find_shards(str(tmp_path))
    assert (shard.samples, shard.bytes) == (3, (tmp_path / "theirs.tar").stat().st_size)
    verify_checksums([shard])
    members = pictures_in(shard.url)
    assert [bytes_of(shard.url, members, n) for n in range(3)] == [p.read_bytes() for p in sorted(photos.iterdir())]


def without(key):
    def change(index):
        del index["shards"][1][key]

    return change


def named(name):
    def change(index):
        index["shards"][1]["name"] = name

    return change


@pytest.mark.parametrize(
    "change",
    [
        without("samples"),
        without("sha256"),
        named("../../etc/shard.tar"),
        named(".hidden"),
        named(3),
        lambda i: i.clear(),
    ],
)
def test_an_invalid_index_is_refused(folder, change):
    index = json.loads((folder / "index.json").read_text())
    change(index)
    (folder / "index.json").write_text(json.dumps(index))
    with pytest.raises(ValueError, match=r"index\.json is not an index written by scripts/prepare_shards\.py"):
        find_shards(str(folder))


def cut(path):
    path.write_bytes(path.read_bytes()[:-2000])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (Path.unlink, r"shard-000001\.tar is missing, according to index\.json"),
        (cut, r"shard-000001\.tar has \d+ bytes instead of \d+"),
    ],
)
def test_a_shard_that_differs_from_its_index_is_refused(folder, change, said):
    change(folder / "shard-000001.tar")
    with pytest.raises(ValueError, match=said):
        find_shards(str(folder))


def test_a_changed_byte_is_found_by_the_checksum(folder):
    shards_there = find_shards(str(folder))
    verify_checksums(shards_there)
    path = folder / "shard-000001.tar"
    content = bytearray(path.read_bytes())
    content[700] ^= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"shard-000001\.tar is damaged"):
        verify_checksums(shards_there)


@pytest.mark.parametrize("kept", [-1500, 700, 100])
def test_an_incomplete_tar_file_is_refused(folder, kept):
    (folder / "index.json").unlink()
    (folder / "progress.jsonl").unlink()  # As for tar files from another source.
    path = folder / "shard-000002.tar"
    content = path.read_bytes().rstrip(b"\0")
    path.write_bytes(content[:kept] if kept > 0 else content[: len(content) + kept])
    if kept == -1500:
        path.write_bytes(b"not a tar file at all")
    with pytest.raises(
        ValueError, match=r"A complete, uncompressed tar file was wanted at .*shard-000002\.tar"
    ) as caught:
        find_shards(str(folder))
    assert "\n" not in str(caught.value)


def test_a_compressed_tar_file_is_refused(folder):
    packed = shutil.make_archive(str(folder.parent / "packed"), "gztar", folder)
    os.rename(packed, folder.parent / "packed.tar")
    with pytest.raises(ValueError, match="uncompressed"):
        find_shards(str(folder.parent / "packed.tar"))


@pytest.mark.parametrize(
    ("place", "said"),
    [
        ("nowhere", "Shards were wanted at .*nowhere, found none"),
        ("nowhere/index.json", "index.json was wanted, found nothing"),
        ("", "found none"),
        ("{a,b}/*.tar", "found none"),
    ],
)
def test_missing_shards_are_reported(tmp_path, place, said):
    with pytest.raises(ValueError, match=said):
        find_shards(str(tmp_path / place))


URLS = ["https://host/set", "https://host/set/", "s3://host/set/index.json", "https://host/set/{a,b}.tar"]


@pytest.mark.parametrize("url", URLS)
def test_a_url_is_refused_with_what_to_do(url):
    with pytest.raises(ValueError, match=r"found the URL .*data=hub data\.path=\w+://host/set/index\.json, or mount"):
        find_shards(url)


def test_shards_that_are_being_written_are_not_trained_on(folder):
    (folder / "index.json").unlink()  # As after a killed run.
    with pytest.raises(ValueError, match="are incomplete; run the same"):
        find_shards(str(folder))
