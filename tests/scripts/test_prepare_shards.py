"""Shards from the command line: the command, then a training run that resumes."""

import logging
import runpy
import sys

import pytest
import torch
from checkout import SCRIPTS
from faulty_server import served
from shard_sets import numbered_photos
from tfrecord.writer import TFRecordWriter
from training_runs import composed, photos, train

from fast_style.networks.serialization import read_tensors
from fast_style.training.run import run

pytestmark = pytest.mark.slow


@pytest.fixture
def command(tmp_path, monkeypatch, capfd):
    """Run the script in this process from the folder `tmp_path`; returns exit code, output and errors."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(SCRIPTS))
    monkeypatch.setattr(logging.root, "handlers", list(logging.root.handlers))
    monkeypatch.setattr(logging.root, "level", logging.root.level)

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["prepare_shards.py", *arguments])
        code = 0
        try:
            runpy.run_path(str(SCRIPTS / "prepare_shards.py"), run_name="__main__")
        except SystemExit as stop:
            code = 1 if stop.code else 0
            if isinstance(stop.code, str):
                print(stop.code, file=sys.stderr)
        return code, *capfd.readouterr()

    return run


def test_a_folder_of_photos(tmp_path, command):
    numbered_photos(tmp_path / "photos", 5)
    (tmp_path / "photos" / "broken.png").write_text("no picture")
    for _ in range(2):  # The second time, everything exists already.
        code, out, err = command("input=photos", "output=out", "shard_samples=2")
        assert code == 0, err
        assert out == "5 photos in 3 shards in out, 1 skipped, listed in out/skipped.tsv\n"
        assert "6/6" in err


def test_tar_files_without_an_index_get_one(tmp_path, command):
    numbered_photos(tmp_path / "photos", 5)
    command("input=photos", "output=out", "shard_samples=2")
    index = (tmp_path / "out" / "index.json").read_text()
    (tmp_path / "out" / "index.json").unlink()
    code, out, _ = command("input=out")
    assert (code, out) == (0, "5 photos in 3 shards, listed in index.json\n")
    made = (tmp_path / "out" / "index.json").read_text()
    assert made[made.index('"shards"') :] == index[index.index('"shards"') :]


MISTAKES = [
    (["input=nowhere", "output=out"], "nowhere"),
    (["input=empty", "output=out"], "holds no images"),
    (["input=empty"], "Tar files were wanted"),
    (["input=photos", "output=done", "size=9"], "other images or settings (size)"),
    (["input=photos", "output=out", "shard_mb=0"], "shard_mb"),
    (["input=photos", "output=text"], "text"),
    (["input=text", "output=out"], "not a TFRecord file"),
    (["input=a.tfrecord", "output=out"], "bytes fields: jpeg"),
    (["input=cut.tfrecord", "output=out", "field=jpeg"], "ends within record 0"),
    (["output=out"], "input"),
]


@pytest.mark.parametrize(("arguments", "hint"), MISTAKES)
def test_a_mistake_is_one_sentence(tmp_path, command, arguments, hint):
    numbered_photos(tmp_path / "photos", 2)
    command("input=photos", "output=done")
    (tmp_path / "empty").mkdir()
    (tmp_path / "text").write_text("no picture, no record")
    writer = TFRecordWriter(str(tmp_path / "a.tfrecord"))
    writer.write({"jpeg": ((tmp_path / "photos" / "0000.png").read_bytes(), "byte")})
    writer.close()
    (tmp_path / "cut.tfrecord").write_bytes((tmp_path / "a.tfrecord").read_bytes()[:-9])
    code, _, err = command(*arguments)
    assert code == 1
    (sentence,) = [line for line in err.splitlines() if line.startswith("Error: ")]
    assert hint in sentence


# ---- then train


SHARDS = {"data": "shards", "data.root": None, "data.num_streams": 2}
HUB = {"data": "hub", "data.root": None}


@pytest.mark.parametrize("source", ["folder", "server"])
def test_a_run_on_shards_resumes_with_the_same_weights(tmp_path, command, source):
    photos(tmp_path / "many", 9)
    command("input=many", "output=shards", "shard_samples=2")
    with served(tmp_path / "shards") as (url, _):
        shards = SHARDS | {"data.urls": "shards"} if source == "folder" else HUB | {"data.path": f"{url}/index.json"}
        straight = train(tmp_path, steps=6, **shards, network_file=tmp_path / "straight.safetensors")
        (checkpoint,) = straight.folder.glob("checkpoints/step-000004.ckpt")
        resumed = train(tmp_path, steps=6, resume=checkpoint, **shards, **{"data.workers": 2})
    one, other = (read_tensors(outcome.network_file)[0] for outcome in (straight, resumed))
    assert all(torch.equal(one[name], other[name]) for name in one)
    state = torch.load(resumed.folder / "checkpoints" / "step-000006.ckpt", weights_only=True)
    assert state["ShardDataModule" if source == "folder" else "HubDataModule"]["photos_seen"] == 12


def test_shards_named_by_a_relative_path_are_found_from_elsewhere(tmp_path, command, monkeypatch):
    photos(tmp_path / "many", 6)
    command("input=many", "output=shards", "shard_samples=2")
    constant = SHARDS | {"data.urls": "[shards/*.tar]", "method.schedule": "null"}
    first = train(tmp_path, steps=2, **constant)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    again = [f"runs={tmp_path / 'runs'}", f"resume={first.folder}", "steps=3"]
    run(composed(again), again)
    assert (first.folder / "checkpoints" / "step-000003.ckpt").exists()
