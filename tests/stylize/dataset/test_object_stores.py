"""Inputs and outputs at URLs: the same results as in local folders, and no marker without its results."""

import shutil
import tempfile
from contextlib import nullcontext
from dataclasses import replace

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from painted_sets import marker_of, members_of, paint_here, plan_units

from fast_style import Stylizer
from fast_style.networks.serialization import save_network
from fast_style.networks.transform_net import TransformNet
from fast_style.runtimes.pytorch import Torch
from fast_style.stylize.dataset import run, storage
from fast_style.stylize.dataset.plan import plan
from fast_style.stylize.dataset.run import DatasetProgress, paint_dataset
from fast_style.stylize.dataset.work_units import PaintSettings, marker_name
from fast_style.stylize.dataset.worker import paint_unit
from fast_style.stylize.painter import Painter

RECIPE = PaintSettings("digest", unit=2)
MEMORY = fsspec.filesystem("memory")


@pytest.fixture
def here(data_sets, tmp_path, monkeypatch):
    """A working folder with photos and shards, and a store in memory with copies of them in `memory://in`."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(data_sets, tmp_path, dirs_exist_ok=True)
    monkeypatch.setattr(MemoryFileSystem, "store", {})
    monkeypatch.setattr(MemoryFileSystem, "pseudo_dirs", [""])
    for name in ("photos", "shards"):
        MEMORY.put(str(tmp_path / name), f"/in/{name}", recursive=True)
    return tmp_path


@pytest.fixture
def painter():
    return Painter(Stylizer(Torch(TransformNet(width=2, blocks=0)), origin={"style": "wave"}))


def contents(place):
    """The files of an output folder by name, without the list of skipped photos."""
    files, path = fsspec.core.url_to_fs(place)
    found = {name.removeprefix(path).strip("/"): files.cat_file(name) for name in files.find(path)}
    return {name: data for name, data in found.items() if name != "skipped.tsv"}


def paint_all(source, output, painter, recipe=RECIPE):
    return [replace(paint_unit(unit, painter, recipe), seconds=0) for unit in plan_units(source, output, recipe)]


@pytest.mark.parametrize("output", ["memory://out", "there"])
@pytest.mark.parametrize("source", ["memory://in/photos", "memory://in/shards", "photos"])
@pytest.mark.usefixtures("here")
def test_a_store_gets_the_same_files_as_a_folder(painter, source, output):
    local = source.removeprefix("memory://in/")
    expected = paint_all(local, "here", painter)
    assert paint_all(source, output, painter) == expected
    found, wanted = contents(output), contents("here")
    assert found.keys() == wanted.keys()
    results = [name for name in wanted if not name.startswith(".finished")]
    assert {name: found[name] for name in results} == {name: wanted[name] for name in results}
    if output != "there":
        units = [plan_units(place, output, RECIPE) for place in (source, local)]
        # The markers too, so that a data set may move to a store in the middle of the work.
        assert [marker_of(unit, RECIPE).checksum for unit in units[0]] == [unit.checksum for unit in units[1]]


@pytest.mark.usefixtures("here")
def test_messages_name_the_file_in_the_store(painter):
    [unit, *_] = plan_units("memory://in/photos", "memory://out", RECIPE)
    paint_unit(unit, painter, RECIPE)
    [(name, reason)] = marker_of(unit, RECIPE).skipped
    assert name == "b.png"
    assert "an image at memory://in/photos/b.png, found" in reason


@pytest.mark.parametrize(
    ("source", "numbers"),
    [
        ("memory://in/shards/", [0, 1, 2]),
        ("memory://in/shards/index.json", [0, 1, 2]),
        ("memory://in/shards/shard-{000001..000002}.tar", [1, 2]),
        ("memory://in/shards/*2.tar", [2]),
        ("memory://in/plain", [0, 1, 2]),
        ("memory://in/plain/shard-000001.tar", [1]),
    ],
)
@pytest.mark.usefixtures("here")
def test_shards_are_found_with_and_without_an_index(source, numbers):
    for name in (f"shard-00000{number}.tar" for number in range(3)):
        MEMORY.cp_file(f"/in/shards/{name}", f"/in/plain/{name}")
    units = plan_units(source, "memory://out", RECIPE)
    assert [(unit.name, unit.count) for unit in units] == [(f"shard-00000{n}.tar", [3, 3, 2][n]) for n in numbers]


@pytest.mark.usefixtures("here")
def test_a_photo_that_is_gone_is_skipped(painter):
    [unit, *_] = plan_units("memory://in/photos", "memory://out", RECIPE)
    MEMORY.rm_file("/in/photos/a.jpg")
    assert (paint_unit(unit, painter, RECIPE).painted, marker_of(unit, RECIPE).skipped[0][0]) == (0, "a.jpg")
    assert "memory://in/photos/a.jpg, found nothing" in marker_of(unit, RECIPE).skipped[0][1]


@pytest.mark.parametrize("source", ["photos", "shards"])
def test_nothing_stays_in_the_temporary_folder(here, painter, monkeypatch, source):
    (here / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(here / "temporary"))
    paint_all(f"memory://in/{source}", "memory://out", painter)
    assert not list((here / "temporary").iterdir())


def put_that_fails(files, lpath, rpath, put_file=MemoryFileSystem.put_file, **settings):
    if str(rpath).endswith(("e.jpg", "1.tar")):
        raise ConnectionError("the network is gone")
    put_file(files, lpath, rpath, **settings)


@pytest.mark.parametrize("source", ["photos", "shards"])
@pytest.mark.usefixtures("here")
def test_a_put_that_fails_leaves_no_marker(painter, monkeypatch, source):
    unit = plan_units(f"memory://in/{source}", "memory://out", RECIPE)[1]
    with monkeypatch.context() as patch:
        patch.setattr(MemoryFileSystem, "put_file", put_that_fails)
        with pytest.raises(ValueError, match=r"memory://out was wanted, found ConnectionError: the network is gone"):
            paint_unit(unit, painter, RECIPE)
    assert marker_of(unit, RECIPE) is None
    assert f"out/{marker_name(unit)}" not in "".join(MemoryFileSystem.store)
    paint_unit(unit, painter, RECIPE)
    assert marker_of(unit, RECIPE) is not None


@pytest.mark.parametrize("source", ["photos", "shards"])
@pytest.mark.usefixtures("here")
def test_the_marker_is_put_last_and_removed_first(painter, monkeypatch, source):
    steps = []

    def noted(name, original):
        def note(files, *paths, **settings):
            steps.append((name, str(paths[-1]).removeprefix("memory:/")))
            return original(files, *paths, **settings)

        return note

    unit = plan_units(f"memory://in/{source}", "memory://out", RECIPE)[1]
    paint_unit(unit, painter, RECIPE)
    MEMORY.rm_file({"photos": f"/out/{marker_name(unit)}", "shards": f"/out/{unit.name}"}[source])
    for name in ("put_file", "rm_file"):
        monkeypatch.setattr(MemoryFileSystem, name, noted(name, getattr(MemoryFileSystem, name)))
    paint_unit(unit, painter, RECIPE)
    marker = f"/out/{marker_name(unit)}"
    assert steps[0] == ("rm_file", marker)
    assert steps[-1] == ("put_file", marker)
    assert len(steps) == {"photos": 4, "shards": 3}[source]


@pytest.mark.usefixtures("here")
def test_a_shard_of_another_size_is_stylized_again(painter):
    unit = plan_units("memory://in/shards", "memory://out", RECIPE)[0]
    paint_unit(unit, painter, RECIPE)
    MEMORY.pipe_file("/out/shard-000000.tar", b"cut")
    assert marker_of(unit, RECIPE) is None
    paint_unit(unit, painter, RECIPE)
    MEMORY.get_file("/out/shard-000000.tar", "copy.tar")
    assert len(members_of("copy.tar")) == 3


@pytest.mark.parametrize("source", ["photos", "shards"])
@pytest.mark.usefixtures("here")
def test_a_run_resumes_in_a_store(monkeypatch, source):
    total, painted, first = {"photos": (5, 4, 2), "shards": (8, 7, 3)}[source]
    monkeypatch.setattr(run, "paint_units", paint_here)
    monkeypatch.setattr(run, "ray_at", lambda address: nullcontext())
    save_network("wave.safetensors", TransformNet(width=2, blocks=0), origin={"style": "wave"})

    def paint(progress):
        return paint_dataset(
            f"memory://in/{source}",
            "memory://out/deep/",
            ckpt="wave.safetensors",
            unit=2,
            runtime="torch",
            progress=progress,
        )

    def dying(progress):
        if progress.done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        paint(dying)
    told = []
    assert paint(told.append) == DatasetProgress(total, first, painted, 1)
    assert told[0].before == first
    assert MEMORY.cat_file("/out/deep/skipped.tsv").count(b"\n") == 2
    assert paint(told.append).before == total


@pytest.mark.parametrize(
    ("source", "output", "sentence"),
    [
        ("memory://nowhere", "out", "memory://nowhere, found nothing; check input"),
        ("memory://in/shards/more.tar", "out", "memory://in/shards/more.tar, found nothing; check input"),
        ("memory://in/shards/more*.tar", "out", "Tar files were wanted at .*, found none; check input"),
        ("memory://in/text", "out", "memory://in/text holds no images"),
        ("memory://in/photos", "memory://in/photos/out", "lie inside one another"),
        ("memory://in/shards", "memory://in/shards", "is the folder of the input shards"),
        ("memory://in/cut/a.tar", "out", "uncompressed tar file was wanted at memory://in/cut/a.tar"),
        ("memory://in/bad/index.json", "out", "memory://in/bad/index.json is not an index"),
        ("memory://in/less/index.json", "out", "A tar file of .* bytes was wanted at .*, found 3 bytes"),
        ("memory://in/up", "out", "holds a file named '../up.jpg', which is no path"),
        ("s3://bucket/photos", "out", "s3://bucket/photos needs a package that is not installed: Install s3fs"),
        ("quux://bucket/photos", "out", "A path or a URL like s3:// .* found quux://bucket/photos"),
    ],
)
@pytest.mark.usefixtures("here")
def test_bad_places_are_refused(source, output, sentence):
    whole = MEMORY.cat_file("/in/shards/index.json")
    files = {"text/a.txt": b"", "cut/a.tar": b"x" * 700, "bad/index.json": b"{}", "less/index.json": whole}
    for name, data in (files | {"less/shard-000000.tar": b"cut", "up/../up.jpg": b""}).items():
        MemoryFileSystem.store[f"/in/{name}"] = fsspec.implementations.memory.MemoryFile(MEMORY, f"/in/{name}", data)
    with pytest.raises(ValueError, match=sentence):
        plan(source, output, RECIPE)


def test_formats_that_are_not_read_are_counted(here):
    for name in ("a.heic", "deep/b.CR2", "labels.txt"):
        (here / "photos" / name).touch()
        MEMORY.pipe_file(f"/in/photos/{name}", b"")
    counted = [plan(place, "out", RECIPE).left_out for place in ("photos", "memory://in/photos")]
    assert counted == [{".heic": 1, ".cr2": 1}] * 2


def test_an_output_that_cannot_be_written_is_found_before_the_work(here, monkeypatch):
    monkeypatch.setattr(run, "paint_units", lambda *_, **__: pytest.fail("began to work"))
    monkeypatch.setattr(MemoryFileSystem, "put_file", lambda *_, **__: exec("raise PermissionError('denied')"))
    save_network("wave.safetensors", TransformNet(width=2, blocks=0), origin={"style": "wave"})
    with pytest.raises(ValueError, match=r"memory://out was wanted, found PermissionError: denied; check the address"):
        paint_dataset("memory://in/photos", "memory://out", ckpt="wave.safetensors", runtime="torch")


@pytest.mark.parametrize("place", ["file:///tmp/a", "/tmp/a", "/tmp/b/../a"])
def test_a_local_place_is_a_path(place):
    assert storage.normal(place) == "/tmp/a"
