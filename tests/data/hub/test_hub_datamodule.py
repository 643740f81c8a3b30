"""Training from all formats of the Hub: each photo once per epoch, resumed exactly, with errors of one sentence."""

import logging
from itertools import islice
from pathlib import Path

import datasets
import pytest
import torch
from photo_sets import hub_data, parquet_of, photo_bytes, sources, tar_of
from shard_sets import numbered_photos
from training_runs import composed

from fast_style.data.hub.datamodule import HubDataModule, RowPictures
from fast_style.data.hub.loading import image_column, load_rows
from fast_style.images.decode import UnreadablePicture
from fast_style.training.resume import resolve_paths

KINDS = ("folder", "zip", "parquet", "webdataset")


@pytest.fixture
def everywhere(tmp_path):
    return sources(tmp_path, 8)


def batches(data, count):
    return list(islice(data.train_dataloader(), count))


def brightness(batch):
    return batch.pixels[:, 0, 4, 4].tolist()


def shown(data, count):
    return [value for batch in batches(data, count) for value in brightness(batch)]


def test_every_photo_comes_once_per_epoch_in_one_order_for_all_formats(everywhere):
    seen = {kind: shown(hub_data(**everywhere[kind]), 6) for kind in KINDS}
    held_out = {kind: shown_in_validation(hub_data(**everywhere[kind])) for kind in KINDS}
    assert sorted(seen["folder"][:6] + held_out["folder"]) == list(range(8))
    assert sorted(seen["folder"][6:]) == sorted(seen["folder"][:6])
    assert all(order == seen["folder"] for order in seen.values())
    assert all(order == held_out["folder"] for order in held_out.values())


def shown_in_validation(data):
    return [value for batch in data.val_dataloader() for value in brightness(batch)]


@pytest.mark.parametrize("kind", ["folder", "parquet"])
def test_a_batch_names_files_or_rows(everywhere, tmp_path, kind):
    names = {"folder": lambda n: str(tmp_path / f"photos/{n:04d}.png"), "parquet": lambda n: f"train[{n}]"}[kind]
    for batch in batches(hub_data(**everywhere[kind]), 4):
        assert list(batch.files) == [names(value) for value in brightness(batch)]


def test_workers_change_nothing(everywhere):
    alone, helped = (batches(hub_data(**everywhere["parquet"], workers=workers), 7) for workers in (0, 2))
    assert [b.files for b in alone] == [b.files for b in helped]
    assert all(torch.equal(x.pixels, y.pixels) for x, y in zip(alone, helped, strict=True))


def test_a_resumed_run_continues_with_the_next_batch(everywhere):
    straight = batches(hub_data(**everywhere["parquet"]), 7)[4:]
    resumed = batches(hub_data(**everywhere["parquet"], seen=8), 3)
    assert [b.files for b in straight] == [b.files for b in resumed]
    assert all(torch.equal(x.pixels, y.pixels) for x, y in zip(straight, resumed, strict=True))


def test_a_split_of_its_own_for_validation(tmp_path):
    train, other = (numbered_photos(tmp_path / f"set/{name}", count) for name, count in (("train", 5), ("test", 3)))
    data = hub_data(path=str(train.parent), held_out_split="test")
    assert len(data.training) == 5
    assert [file for batch in data.val_dataloader() for file in batch.files] == [f"{other}/000{n}.png" for n in (0, 1)]


def test_broken_rows_are_skipped_and_named(tmp_path, caplog):
    photos = [{"bytes": data, "path": None} for data in photo_bytes(numbered_photos(tmp_path / "photos", 8)).values()]
    photos[3] = None
    photos[5] = {"bytes": b"no picture", "path": "5.png"}
    features = datasets.Features({"image": datasets.Image()})
    datasets.Dataset.from_dict({"image": photos}, features=features).to_parquet(tmp_path / "a.parquet")
    data = hub_data(path="parquet", data_files=str(tmp_path / "a.parquet"), held_out=1, seed=1)
    with caplog.at_level(logging.WARNING):
        for batch in batches(data, 7):
            data.on_after_batch_transfer(batch, 0)
            assert set(brightness(batch)).isdisjoint({3, 5})
    assert set(data.unreadable) == {"train[3]", "train[5]"}
    assert "train[3] can't be read and is skipped." in caplog.text


def test_a_file_that_is_gone_is_skipped_and_named(tmp_path):
    photos = numbered_photos(tmp_path / "photos", 4)
    data = hub_data(path=str(photos), held_out=1)
    first = batches(data, 1)[0].files[0]
    Path(first).unlink()
    again = batches(data, 1)[0]
    assert again.unreadable == (first,)
    assert first not in again.files


def test_a_column_of_several(tmp_path):
    photos = numbered_photos(tmp_path / "photos", 4)
    rows = [{"bytes": data, "path": None} for data in reversed(photo_bytes(photos).values())]
    file = parquet_of(photos, tmp_path / "a.parquet", other=[row["bytes"] for row in rows], label=[1] * 4)
    first = shown(hub_data(path="parquet", data_files=str(file)), 2)
    assert [3 - value for value in shown(hub_data(path="parquet", data_files=str(file), column="other"), 2)] == first


def test_a_path_in_a_row_is_not_read_from_this_machine(tmp_path):
    photos = numbered_photos(tmp_path / "photos", 4)
    rows = [{"bytes": data, "path": None} for data in photo_bytes(photos).values()]
    rows[1] = {"bytes": None, "path": str(photos / "0001.png")}
    features = datasets.Features({"image": {"bytes": datasets.Value("binary"), "path": datasets.Value("string")}})
    datasets.Dataset.from_dict({"image": rows}, features=features).to_parquet(tmp_path / "a.parquet")
    rows, column = image_column(
        load_rows("parquet", name=None, split="train", data_files=str(tmp_path / "a.parquet"), revision=None),
        "image",
        where="a.parquet",
    )
    pictures = RowPictures(rows, column, split="train")
    assert pictures.load((0, 0), at_least=None).ndim == 3
    with pytest.raises(UnreadablePicture, match=r"train\[1\] was wanted as an image, found an empty row"):
        pictures.load((1, 1), at_least=None)


def mistakes(folder):
    photos = numbered_photos(folder / "photos", 3)
    two = datasets.Dataset.from_dict({key: [photo_bytes(photos)["0000.png"]] for key in ("a", "b")})
    two.cast_column("a", datasets.Image()).cast_column("b", datasets.Image()).to_parquet(folder / "two.parquet")
    datasets.Dataset.from_dict({"label": [1]}).to_parquet(folder / "none.parquet")
    (folder / "text.parquet").write_text("no parquet")
    (folder / "table.csv").write_text("a,b\n1,2\n")
    tar_of(folder / "cut.tar", photo_bytes(photos)).write_bytes((folder / "cut.tar").read_bytes()[:1000])


PARQUET = {"path": "parquet"}
MISTAKES = {
    "several columns": (PARQUET | {"data_files": "two.parquet"}, r"found several, a, b; set data\.column"),
    "no column": (PARQUET | {"data_files": "none.parquet"}, r"found none; its columns are label; set data\.column"),
    "unknown column": ({"path": "photos", "column": "x"}, r"data\.column=x was wanted in photos, found only image"),
    "other column": (
        PARQUET | {"data_files": "none.parquet", "column": "label"},
        "label of parquet can't be read as im",
    ),
    "unknown split": ({"path": "photos", "split": "test"}, r"Unknown split \"test\"\. Should be one of \['train'\]"),
    "unknown configuration": ({"path": "photos", "name": "x"}, r"'x' not found\. Available: \['default'\]"),
    "no folder at home": ({"path": "~/a/b/c"}, r"Couldn't find any data file at /\w.*/a/b/c"),
    "no folder": ({"path": "./a/b/c"}, "Couldn't find any data file at .*/a/b/c"),
    "no files": (PARQUET | {"data_files": "nothing*.parquet"}, "all the data_files are invalid"),
    "no files set": (PARQUET, r"data\.path=parquet is a format, so files were wanted in data\.data_files"),
    "damaged parquet": (PARQUET | {"data_files": "text.parquet"}, "not a parquet file"),
    "incomplete tar": ({"path": "webdataset", "data_files": "cut.tar"}, "unexpected end of data"),
    "other format": (
        {"path": "csv", "data_files": "table.csv"},
        "format csv, but only arrow, imagefolder, parquet, webd",
    ),
    "one photo": ({"path": "photos", "split": "train[:1]"}, "photos holds 1 photos, but training and validation need"),
    "another URL": (
        {"path": "https://host/a.tar"},
        r"index\.json was wanted .*data\.path=webdataset data\.data_files=",
    ),
    "unused settings": (
        {"path": "https://host/i.json", "column": "a"},
        r"without columns and splits, found data\.column",
    ),
    "unused split": ({"path": "https://host/i.json", "split": "test"}, "found another split; leave that out"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_sentence(tmp_path, monkeypatch, caplog, capfd, mistake):
    mistakes(tmp_path)
    monkeypatch.chdir(tmp_path)
    options, said = MISTAKES[mistake]
    capfd.readouterr()
    with pytest.raises(ValueError, match=said) as caught:
        HubDataModule(**options).setup()
    assert "\n" not in str(caught.value)
    assert (capfd.readouterr().err, caplog.messages) == ("", [])


def test_relative_paths_are_resolved_but_names_are_not(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("photos", "webdataset", "data"):
        (tmp_path / name).mkdir()

    def resolved(path, files):
        data = resolve_paths(composed([f"data=hub data.path={path} data.data_files={files}"][0].split())).data
        return data.path, data.data_files

    assert resolved("photos", "null") == (str(tmp_path / "photos"), None)
    assert resolved("me/photos", "data") == ("me/photos", "data")
    assert resolved("webdataset", "[a.tar,https://host/b.tar]") == (
        "webdataset",
        [f"{tmp_path}/a.tar", "https://host/b.tar"],
    )
    assert resolved("webdataset", "{train:a.tar}") == ("webdataset", {"train": f"{tmp_path}/a.tar"})
