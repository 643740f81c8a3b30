"""Shards have the same bytes after any interruption, and other libraries can read them."""

import io
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import time

import pytest
import torch
from filelock import FileLock
from PIL import Image
from shard_sets import numbered_photos, shards
from tfrecord.writer import TFRecordWriter

from fast_style import save_image
from fast_style.data.shards import writer
from fast_style.data.shards.sources import PictureFolder, source_at
from fast_style.data.shards.writer import ShardSettings, write_shards
from fast_style.images.tensors import load_pixels


def write(source, output, **recipe):
    return write_shards(PictureFolder(str(source)), str(output), ShardSettings(**recipe))


def contents(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def members(path):
    with tarfile.open(path) as tar:
        return {member.name: tar.extractfile(member).read() for member in tar}


def test_a_folder_becomes_shards_of_the_same_bytes(tmp_path):
    folder = shards(tmp_path, 7)
    assert sorted(contents(folder)) == [
        *("index.json", "progress.jsonl", "shard-000000.tar", "shard-000001.tar", "shard-000002.tar", "skipped.tsv"),
    ]
    found = [members(folder / f"shard-{number:06d}.tar") for number in range(3)]
    assert [list(shard) for shard in found] == [
        ["000000000.png", "000000001.png", "000000002.png"],
        ["000000003.png", "000000004.png", "000000005.png"],
        ["000000006.png"],
    ]
    packed = [data for shard in found for data in shard.values()]
    assert packed == [(tmp_path / "photos" / f"{number:04d}.png").read_bytes() for number in range(7)]


def test_the_index_lists_shards_and_their_source(tmp_path):
    folder = shards(tmp_path, 7)
    index = json.loads((folder / "index.json").read_text())
    assert (index["samples"], [shard["samples"] for shard in index["shards"]]) == (7, [3, 3, 1])
    assert [shard["bytes"] for shard in index["shards"]] == [p.stat().st_size for p in sorted(folder.glob("*.tar"))]
    assert index["made_from"]["folder"] == "photos"
    assert index["made_from"]["shard_samples"] == 3
    assert str(tmp_path) not in json.dumps(index)


def test_the_same_photos_make_the_same_bytes_at_any_time_and_place(tmp_path):
    first = contents(shards(tmp_path / "a", 4))
    for photo in (tmp_path / "a" / "photos").iterdir():
        os.utime(photo, (1, 1))
    shutil.copytree(tmp_path / "a" / "photos", tmp_path / "b" / "photos")
    assert contents(shards(tmp_path / "b", 4)) == first


@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")  # A warning of that library.
def test_the_webdataset_library_reads_them(tmp_path):
    webdataset = pytest.importorskip("webdataset")
    folder = shards(tmp_path, 7)
    urls = [str(path) for path in sorted(folder.glob("*.tar"))]
    samples = list(webdataset.WebDataset(urls, shardshuffle=False).decode("torchrgb8"))
    assert [sample["__key__"] for sample in samples] == [f"{number:09d}" for number in range(7)]
    assert [int(sample["png"][0, 0, 0]) for sample in samples] == list(range(7))


def test_shards_are_closed_by_size_too(tmp_path):
    photos = numbered_photos(tmp_path / "photos", 9)
    write(photos, tmp_path / "out", shard_mb=0.004)
    counts = [shard["samples"] for shard in json.loads((tmp_path / "out" / "index.json").read_text())["shards"]]
    assert sum(counts) == 9
    assert max(counts) < 9
    assert len(set(counts[:-1])) == 1


def test_files_that_are_not_images_are_listed_with_the_reason(tmp_path):
    photos = numbered_photos(tmp_path / "photos", 5)
    (photos / "0001.png").write_bytes((photos / "0001.png").read_bytes()[:60])
    (photos / "0003.png").write_text("no picture")
    (photos / "0005.jpg").symlink_to("nowhere")
    (photos / "a\tb\n\udcff.jpg").touch()
    done = write(photos, tmp_path / "out", shard_samples=2)
    assert (done.samples, done.skipped, done.shards, done.taken) == (3, 4, 2, 7)
    rows = [line.split("\t") for line in (tmp_path / "out" / "skipped.tsv").read_text().splitlines()]
    assert [row[0] for row in rows] == ["name", "0001.png", "0003.png", "0005.jpg", "a b \\udcff.jpg"]
    assert [len(row) for row in rows] == [2] * 5
    assert "cannot be decoded" in rows[1][1]
    assert rows[2][1] == "an unknown file format"
    assert rows[3][1] == "No such file or directory"
    # The numbers identify the files of the source.
    assert list(members(tmp_path / "out" / "shard-000001.tar")) == ["000000004.png"]


def test_a_folder_of_broken_images_only_is_refused(tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.jpg").touch()
    with pytest.raises(ValueError, match=r"None of 1 images could be read \(first: a\.jpg: an empty file\)"):
        write(tmp_path / "photos", tmp_path / "out")


def test_larger_photos_can_be_resized(tmp_path):
    ramp = torch.linspace(0, 1, 64).expand(1, 3, 48, 64)
    for name in ("a.png", "b.jpg"):
        save_image(ramp, tmp_path / "photos" / name)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGBA", (40, 60), (255, 0, 0, 128)).save(tmp_path / "photos" / "c.png", exif=exif)
    save_image(ramp[..., :24, :32], tmp_path / "photos" / "small.png")
    write(tmp_path / "photos", tmp_path / "out", size=24)
    packed = list(members(tmp_path / "out" / "shard-000000.tar").items())
    assert [name.partition(".")[2] for name, _ in packed] == ["jpg", "jpg", "jpg", "png"]
    assert packed[3][1] == (tmp_path / "photos" / "small.png").read_bytes()
    pixels = [load_pixels(name, data=data) for name, data in packed]
    assert [tuple(p.shape) for p in pixels] == [(3, 24, 32), (3, 24, 32), (3, 24, 36), (3, 24, 32)]
    for found in pixels[:2]:
        wanted = torch.nn.functional.interpolate(ramp, size=(24, 32), mode="bilinear", antialias=True)[0] * 255
        assert (found.float() - wanted).abs().mean() < 3
    assert (pixels[2][:, 12, 12].int() - torch.tensor([255, 127, 127])).abs().max() < 4


@pytest.mark.parametrize(("quality", "size"), [(30, 24), (100, 24)])
def test_quality_sets_the_size_of_the_file(tmp_path, quality, size):
    save_image(torch.rand(1, 3, 64, 64), tmp_path / "photos" / "a.png")
    write(tmp_path / "photos", tmp_path / "out", size=size, quality=quality)
    ((_, data),) = members(tmp_path / "out" / "shard-000000.tar").items()
    assert (len(data) > 1500) is (quality == 100)


# ---- interrupted


@pytest.mark.parametrize("damage", ["missing", "cut", "flipped", "journal-torn"])
@pytest.mark.parametrize("number", [0, 1, 3])
def test_a_damaged_shard_is_made_again_with_the_same_bytes(tmp_path, damage, number):
    folder = shards(tmp_path, 10)
    before, path = contents(folder), folder / f"shard-{number:06d}.tar"
    content = path.read_bytes()
    if damage == "missing":
        path.unlink()
    elif damage == "cut":
        path.write_bytes(content[:-100])
    elif damage == "flipped":
        path.write_bytes(content[:600] + bytes([content[600] ^ 1]) + content[601:])
    else:
        lines = (folder / "progress.jsonl").read_bytes().splitlines(keepends=True)
        (folder / "progress.jsonl").write_bytes(b"".join(lines[: number + 1]) + lines[number + 1][:20])
    (folder / f".{'0' * 32}.tmp").write_text("left over from a killed run")
    assert contents(shards(tmp_path, 10)) == before


def test_complete_shards_are_kept(tmp_path):
    folder = shards(tmp_path, 10)
    (folder / "shard-000002.tar").unlink()
    kept = {path.name: path.stat().st_ino for path in folder.glob("*.tar")}
    shards(tmp_path, 10)
    assert {name: (folder / name).stat().st_ino for name in kept} == kept


SLOWLY = """
import sys, time
from fast_style.data.shards.sources import PictureFolder
from fast_style.data.shards.writer import ShardSettings, write_shards
recipe = ShardSettings(shard_samples=3)
write_shards(PictureFolder(sys.argv[1]), sys.argv[2], recipe, progress=lambda _: time.sleep(0.02))
"""


@pytest.mark.slow
def test_killed_and_started_again_it_ends_byte_for_byte_the_same(tmp_path):
    straight = contents(shards(tmp_path, 20))
    command = [sys.executable, "-c", SLOWLY, str(tmp_path / "photos"), str(tmp_path / "out")]
    for at_least in (1, 3):
        process = subprocess.Popen(command)
        while len(list((tmp_path / "out").glob("shard-*.tar"))) <= at_least:
            assert process.poll() is None
            time.sleep(0.003)
        time.sleep(0.01 * at_least)
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert not (tmp_path / "out" / "index.json").exists()
    write(tmp_path / "photos", tmp_path / "out", shard_samples=3)
    assert contents(tmp_path / "out") == straight


# ---- refused


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda photos: (photos / "0000.png").unlink(), "files, listing_sha256"),
        (lambda photos: (photos / "0000.png").rename(photos / "zzzz.png"), r"\(listing_sha256\)"),
        (lambda photos: (photos / "0000.png").write_bytes(b"another picture"), r"\(listing_sha256\)"),
    ],
    ids=["fewer", "renamed", "changed"],
)
def test_an_output_of_other_images_is_refused(tmp_path, change, named):
    folder = shards(tmp_path, 4)
    before = contents(folder)
    change(tmp_path / "photos")
    with pytest.raises(ValueError, match=f"started with other images or settings.*{named}.*name another output"):
        write(tmp_path / "photos", folder, shard_samples=3)
    assert contents(folder) == before


@pytest.mark.parametrize("other", [{"shard_samples": 2}, {"shard_samples": 3, "size": 8}])
def test_an_output_of_other_settings_is_refused(tmp_path, other):
    folder = shards(tmp_path, 4)
    with pytest.raises(ValueError, match=f"started with other images or settings.*{list(other)[-1]}"):
        write(tmp_path / "photos", folder, **other)


def test_shards_of_unknown_source_are_not_overwritten(tmp_path):
    folder = shards(tmp_path, 4)
    (folder / "progress.jsonl").unlink()
    with pytest.raises(ValueError, match=r"holds shards, but no progress\.jsonl"):
        write(tmp_path / "photos", folder, shard_samples=3)


def test_two_writers_at_a_time_are_refused(tmp_path):
    photos = numbered_photos(tmp_path / "photos", 2)
    (tmp_path / "out").mkdir()
    with FileLock(tmp_path / "out" / ".lock"), pytest.raises(ValueError, match="Another process is writing into"):
        write(photos, tmp_path / "out")


def test_a_full_disk_is_reported_before_anything_is_written(tmp_path, monkeypatch):
    photos = numbered_photos(tmp_path / "photos", 2)
    monkeypatch.setattr(writer.shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(100, 90, 10))
    with pytest.raises(ValueError, match=r"need about 0\.0 GB more, but .*out has 0\.0 GB free"):
        write(photos, tmp_path / "out")
    assert not list((tmp_path / "out").glob("*.tar"))


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"shard_mb": 0}, "shard_mb must be above 0, .*; got shard_mb=0, shard_samples=None"),
        ({"shard_samples": 0}, "shard_samples and max_pixels at least 1; got .*shard_samples=0"),
        ({"max_pixels": 0}, "shard_samples and max_pixels at least 1; got .*max_pixels=0"),
        ({"size": 0}, "size is the shorter side in pixels and must be at least 1; got 0"),
        ({"quality": 101}, "quality must be from 1 to 100; got 101"),
    ],
)
def test_invalid_settings_are_refused(wrong, sentence):
    with pytest.raises(ValueError, match=sentence):
        ShardSettings(**wrong)


# ---- TFRecord files


def write_records(path, pictures):
    writer = TFRecordWriter(str(path))
    for picture in pictures:
        writer.write({"image/encoded": (picture, "byte")})
    writer.close()


def encoded(number, kind="JPEG"):
    file = io.BytesIO()
    Image.new("RGB", (24, 24), (number * 20,) * 3).save(file, kind)
    return file.getvalue()


def test_tfrecords_become_shards_of_the_same_bytes(tmp_path):
    pictures = [encoded(0), encoded(1, "PNG"), b"no picture", encoded(3, "WEBP"), encoded(4)]
    write_records(tmp_path / "a-0.tfrecord", pictures[:3])
    write_records(tmp_path / "a-1.tfrecord", pictures[3:])
    source = source_at(str(tmp_path / "a-*.tfrecord"), field="image/encoded")
    done = write_shards(source, str(tmp_path / "out"), ShardSettings(shard_samples=2))
    assert (done.samples, done.skipped, done.shards) == (4, 1, 2)
    found = [members(tmp_path / "out" / f"shard-{number:06d}.tar") for number in range(2)]
    assert [list(shard) for shard in found] == [["000000000.jpg", "000000001.png"], ["000000003.webp", "000000004.jpg"]]
    assert [d for shard in found for d in shard.values()] == [pictures[n] for n in (0, 1, 3, 4)]
    assert (tmp_path / "out" / "skipped.tsv").read_text().splitlines()[1] == "a-0.tfrecord#2\tan unknown file format"
    before = contents(tmp_path / "out")
    (tmp_path / "out" / "shard-000001.tar").unlink()
    source = source_at(str(tmp_path / "a-*.tfrecord"), field="image/encoded")
    write_shards(source, str(tmp_path / "out"), ShardSettings(shard_samples=2))
    assert contents(tmp_path / "out") == before


def test_a_damaged_record_is_listed(tmp_path):
    write_records(tmp_path / "a", [encoded(0), encoded(1)])
    content = bytearray((tmp_path / "a").read_bytes())
    content[-30] ^= 1
    (tmp_path / "a").write_bytes(content)
    source = source_at(str(tmp_path / "a"), field="image/encoded")
    assert write_shards(source, str(tmp_path / "out"), ShardSettings()).samples == 1
    assert "a#1\tits checksum differs" in (tmp_path / "out" / "skipped.tsv").read_text()


def test_a_missing_field_is_reported_with_the_existing_fields(tmp_path):
    write_records(tmp_path / "a", [encoded(0)])
    source = source_at(str(tmp_path / "a"), field="jpeg")
    with pytest.raises(ValueError, match=r"field jpeg; its bytes fields: image/encoded; set field="):
        write_shards(source, str(tmp_path / "out"), ShardSettings())


@pytest.mark.parametrize(("given", "found"), [("nowhere", "nowhere, found neither"), ("empty", "holds no images")])
def test_a_missing_input_is_reported(tmp_path, given, found):
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=found):
        source_at(str(tmp_path / given), field="x")
