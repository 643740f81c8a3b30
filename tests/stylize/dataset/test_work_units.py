"""Work units: the same split every time, and each unit is either complete or unfinished."""

import io
import json
import os
import shutil
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from painted_sets import marker_of, marker_path, members_of, plan_units, times

from fast_style import Stylizer, load_image, save_image
from fast_style.data.shards.index import index_folder
from fast_style.images.decode import read_arrays
from fast_style.networks.transform_net import TransformNet
from fast_style.runtimes.pytorch import Torch
from fast_style.stylize.dataset import worker
from fast_style.stylize.dataset.plan import target_names
from fast_style.stylize.dataset.work_units import PaintSettings
from fast_style.stylize.dataset.worker import paint_unit
from fast_style.stylize.painter import Painter

RECIPE = PaintSettings("digest", unit=2)


@pytest.fixture
def here(data_sets, tmp_path, monkeypatch):
    """Five photos in a tree and three shards of 3, 3 and 2 photos; one photo of each source is broken."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(data_sets, tmp_path, dirs_exist_ok=True)
    return tmp_path


@pytest.fixture
def stylizer():
    return Stylizer(Torch(TransformNet(width=2, blocks=0)), origin={"style": "wave"})


@pytest.fixture
def painter(stylizer):
    return Painter(stylizer)


# ---- planning


@pytest.mark.usefixtures("here")
def test_a_folder_is_cut_in_sorted_order():
    units = plan_units("photos", "out", RECIPE)
    assert [(unit.name, [photo for photo, _ in unit.pictures]) for unit in units] == [
        ("00000", ["a.jpg", "b.png"]),
        ("00001", ["deep/a.png", "deep/er/e.jpg"]),
        ("00002", ["z.png"]),
    ]
    assert units == plan_units("photos/", "out", RECIPE)
    assert len({unit.checksum for unit in units}) == 3


@pytest.mark.parametrize("source", ["shards", "shards/index.json", "shards/shard-{000000..000002}.tar", "plain"])
def test_a_shard_is_a_unit(here, source):
    (here / "plain").mkdir()
    for path in (here / "shards").glob("*.tar"):
        (here / "plain" / path.name).symlink_to(path)
    units = plan_units(source, "out", RECIPE)
    assert [(unit.name, unit.count) for unit in units] == [(f"shard-00000{n}.tar", k) for n, k in enumerate([3, 3, 2])]
    assert len({unit.checksum for unit in units}) == 3


@pytest.mark.parametrize(
    ("names", "suffix", "expected"),
    [
        (["a.jpg", "b/c.PNG"], None, ["a.jpg", "b/c.PNG"]),
        (["a.gif", "b.png"], None, ["a.png", "b.png"]),
        (["a.gif", "a.png", "a.tga"], None, ["a.gif.png", "a.png", "a.tga.png"]),
        (["a.png", "b.jpg"], ".jpg", ["a.jpg", "b.jpg"]),
        (["a.png", "a.jpg"], ".jpg", ["a.png.jpg", "a.jpg"]),
        (["a.jpg", "a.jpg"], None, ["a.jpg", "a.jpg"]),
    ],
)
def test_results_are_named_like_their_photos(names, suffix, expected):
    assert target_names(names, suffix) == expected


@pytest.mark.parametrize(
    ("source", "output", "sentence"),
    [
        ("nowhere", "out", "nowhere, found no folder"),
        ("nowhere.tar", "out", "nowhere.tar, found none"),
        ("empty", "out", "empty holds no images"),
        ("photos", "photos", "lie inside one another"),
        ("photos", "photos/painted", "lie inside one another"),
        ("photos", ".", "lie inside one another"),
        ("shards", "shards", "folder of the input shards"),
        ("{shards,more}/*.tar", "out", "2 shards are named shard-000000.tar"),
        ("twice", "out", "have the same output a.gif.png"),
        ("cut.tar", "out", "cut.tar, found another file"),
    ],
)
def test_bad_plans_are_refused(here, source, output, sentence):
    (here / "empty").mkdir()
    (here / "twice").mkdir()
    for name in ("a.gif", "a.png", "a.gif.png"):
        (here / "twice" / name).touch()
    whole = (here / "shards/shard-000000.tar").read_bytes()
    (here / "more").mkdir()
    (here / "more/shard-000000.tar").write_bytes(whole)
    (here / "cut.tar").write_bytes(whole[:700])
    with pytest.raises(ValueError, match=sentence):
        plan_units(source, output, RECIPE)


@pytest.mark.parametrize("settings", [{"size": 0}, {"quality": 101}, {"unit": 0}, {"max_pixels": 0}, {"suffix": "jpg"}])
def test_bad_settings_are_refused(settings):
    (name,) = settings
    with pytest.raises(ValueError, match=name):
        PaintSettings("digest", **settings)


# ---- stylizing


@pytest.mark.usefixtures("here")
def test_a_folder_is_mirrored(painter, stylizer):
    results = [paint_unit(unit, painter, RECIPE) for unit in plan_units("photos", "out", RECIPE)]
    assert [(r.unit, r.painted, r.skipped) for r in results] == [("00000", 1, 1), ("00001", 2, 0), ("00002", 1, 0)]
    written = sorted(str(path.relative_to("out")) for path in Path("out").rglob("*") if path.is_file())
    assert [name for name in written if not name.startswith(".finished/")] == [
        *("a.jpg", "deep/a.png", "deep/er/e.jpg", "z.png")
    ]
    expected = stylizer(load_image("photos/z.png"))
    torch.testing.assert_close(load_image("out/z.png"), expected, rtol=0, atol=0.51 / 255)
    said = json.loads(Path("out/.finished/00000.json").read_text())
    assert (said["painted"], said["skipped"][0][0]) == (1, "b.png")
    assert "an unknown file format" in said["skipped"][0][1]


@pytest.mark.usefixtures("here")
def test_a_shard_is_painted_under_the_same_names(painter, stylizer):
    results = [paint_unit(unit, painter, RECIPE) for unit in plan_units("shards", "out", RECIPE)]
    assert [(r.painted, r.skipped) for r in results] == [(3, 0), (2, 1), (2, 0)]
    photos = {name: data for path in Path("shards").glob("*.tar") for name, data in members_of(path).items()}
    paintings = {name: data for path in Path("out").glob("*.tar") for name, data in members_of(path).items()}
    assert paintings.keys() == photos.keys() - {"000000004.png"}
    Path("photo.png").write_bytes(photos["000000007.png"])
    save_image(stylizer(load_image("photo.png")), "expected.png")
    assert paintings["000000007.png"] == Path("expected.png").read_bytes()
    [(name, reason)] = marker_of(plan_units("shards", "out", RECIPE)[1], RECIPE).skipped
    assert name == "shard-000001.tar/000000004.png"
    assert reason


@pytest.mark.usefixtures("here")
def test_members_take_another_suffix_and_size(painter):
    recipe = replace(RECIPE, suffix=".jpg", size=16)
    paint_unit(plan_units("shards", "out", recipe)[0], painter, recipe)
    content = members_of("out/shard-000000.tar")
    assert list(content) == ["000000000.jpg", "000000001.jpg", "000000002.jpg"]
    assert all(data.startswith(b"\xff\xd8") for data in content.values())
    assert read_arrays("x", data=content["000000000.jpg"]).colour.shape == (16, 16, 3)


@pytest.mark.parametrize("source", ["photos", "shards"])
@pytest.mark.usefixtures("here")
def test_a_finished_unit_is_not_painted_again(painter, source):
    units = plan_units(source, "out", RECIPE)
    first = [paint_unit(unit, painter, RECIPE) for unit in units]
    before = times("out")
    again = [paint_unit(unit, None, RECIPE) for unit in units]  # None: there is no painter that could stylize.
    assert [replace(r, seconds=0) for r in again] == [replace(r, seconds=0) for r in first]
    assert times("out") == before


class Dies(Exception):  # noqa: N818 - as a process does.
    """Stands for a killed process: nothing handles it."""


@pytest.mark.parametrize("source", ["photos", "shards"])
@pytest.mark.usefixtures("here")
def test_a_unit_that_was_interrupted_is_not_finished(painter, source):
    class Dying(Painter):
        painted = 0

        def __call__(self, picture, **options):
            self.painted += 1
            if self.painted == 2:
                raise Dies
            return super().__call__(picture, **options)

    unit = plan_units(source, "out", RECIPE)[-2]  # The unit has no broken photo before its second one.
    with pytest.raises(Dies):
        paint_unit(unit, Dying(painter.stylizer), RECIPE)
    assert marker_of(unit, RECIPE) is None
    assert not marker_path(unit).exists()
    assert not list(Path("out").glob("*.tar"))
    paint_unit(unit, painter, RECIPE)
    assert marker_of(unit, RECIPE) is not None


@pytest.mark.parametrize("source", ["photos", "shards"])
@pytest.mark.usefixtures("here")
def test_the_marker_is_written_last(painter, monkeypatch, source):
    unit = plan_units(source, "out", RECIPE)[-2]

    def dying(*_):
        raise Dies

    with monkeypatch.context() as patch:
        patch.setattr(worker, "write_marker", dying)
        with pytest.raises(Dies):
            paint_unit(unit, painter, RECIPE)
    assert {Path(name).name for name in times("out")} == {"photos": {"a.png", "e.jpg"}, "shards": {unit.name}}[source]
    assert marker_of(unit, RECIPE) is None


@pytest.mark.usefixtures("here")
def test_a_unit_has_no_marker_while_its_results_change(painter):
    class Looking(Painter):
        def __call__(self, picture, **options):
            assert marker_of(unit, RECIPE) is None
            assert not marker_path(unit).exists()
            return super().__call__(picture, **options)

    unit = plan_units("shards", "out", RECIPE)[0]
    paint_unit(unit, painter, RECIPE)
    cut_shard(unit)
    paint_unit(unit, Looking(painter.stylizer), RECIPE)
    assert marker_of(unit, RECIPE) is not None


def forget_marker(unit):
    marker_path(unit).unlink()


def cut_marker(unit):
    marker_path(unit).write_bytes(marker_path(unit).read_bytes()[:40])


def cut_shard(unit):
    os.truncate(f"out/{unit.name}", 2048)


def lose_shard(unit):
    Path("out", unit.name).unlink()


def change_source(unit):
    with tarfile.open(unit.source, "a") as tar:
        tar.addfile(tarfile.TarInfo("more.png"), io.BytesIO())
    index_folder("shards")


def add_photo(unit):
    save_image(torch.rand(3, 20, 24), f"photos/{unit.pictures[0][0]}.jpg")


@pytest.mark.parametrize(
    ("source", "damage"),
    [
        ("photos", forget_marker),
        ("photos", cut_marker),
        ("photos", add_photo),
        ("shards", forget_marker),
        ("shards", cut_marker),
        ("shards", cut_shard),
        ("shards", lose_shard),
        ("shards", change_source),
    ],
)
@pytest.mark.usefixtures("here")
def test_a_unit_that_differs_from_its_marker_is_stylized_again(painter, source, damage):
    paint_unit(plan_units(source, "out", RECIPE)[0], painter, RECIPE)
    assert marker_of(plan_units(source, "out", RECIPE)[0], RECIPE) is not None
    damage(plan_units(source, "out", RECIPE)[0])
    unit = plan_units(source, "out", RECIPE)[0]
    assert marker_of(unit, RECIPE) is None
    paint_unit(unit, painter, RECIPE)
    assert marker_of(unit, RECIPE) is not None


@pytest.mark.parametrize("changed", [{"size": 32}, {"network": "another"}, {"quality": 90}, {"suffix": ".png"}])
@pytest.mark.usefixtures("here")
def test_an_output_has_one_set_of_settings(painter, changed):
    unit = plan_units("photos", "out", RECIPE)[0]
    paint_unit(unit, painter, RECIPE)
    (name,) = changed
    with pytest.raises(ValueError, match=rf"other settings \({name}\)"):
        marker_of(unit, replace(RECIPE, **changed))


def test_names_that_are_not_unicode(tmp_path, painter):
    photo = os.fsdecode(os.fsencode(tmp_path / "photos") + b"/caf\xe9.png")
    save_image(torch.rand(3, 20, 24), photo)
    [unit] = plan_units(str(tmp_path / "photos"), str(tmp_path / "out"), RECIPE)
    paint_unit(unit, painter, RECIPE)
    assert marker_of(unit, RECIPE).painted == 1
