"""The command for data sets: its output, its error messages and its exit code."""

import logging
import runpy
import sys
from contextlib import nullcontext

import pytest
from checkout import SCRIPTS
from painted_sets import paint_here
from shard_sets import numbered_photos

from fast_style.networks.serialization import save_network
from fast_style.networks.transform_net import TransformNet
from fast_style.stylize.dataset import run as dataset_run

pytestmark = pytest.mark.slow


@pytest.fixture
def command(tmp_path, monkeypatch, capfd):
    """Run the script in this process from the folder `tmp_path`; returns its exit code, stdout and stderr."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(SCRIPTS))
    monkeypatch.setattr(logging.root, "handlers", list(logging.root.handlers))
    monkeypatch.setattr(logging.root, "level", logging.root.level)
    monkeypatch.setattr(dataset_run, "paint_units", paint_here)
    monkeypatch.setattr(dataset_run, "ray_at", lambda address: nullcontext())
    save_network(tmp_path / "dots.safetensors", TransformNet(width=2, blocks=0), origin={"style": "dots"})
    numbered_photos(tmp_path / "photos", 5)

    def run(*arguments):
        given = ["ckpt=dots.safetensors", "input=photos", "output=out", "unit=2", "runtime=torch", *arguments]
        monkeypatch.setattr(sys, "argv", ["stylize_dataset.py", *given])
        code = 0
        try:
            runpy.run_path(str(SCRIPTS / "stylize_dataset.py"), run_name="__main__")
        except SystemExit as stop:
            code = 1 if stop.code else 0
            if isinstance(stop.code, str):
                print(stop.code, file=sys.stderr)
        return code, *capfd.readouterr()

    return run


def test_a_folder_twice(command):
    for before in (0, 5):
        code, out, err = command()
        assert code == 0, err
        assert out == f"5 of 5 images are in out; {before} were done before.\n"
        assert "5/5" in err


def test_a_broken_photo_gives_exit_code_1_each_time(tmp_path, command):
    (tmp_path / "photos/broken.png").write_text("no picture")
    for before in (0, 6):
        code, out, err = command()
        assert code == 1
        assert out == f"5 of 6 images are in out; {before} were done before.\n"
        assert err.endswith("Error: 1 images could not be stylized; see out/skipped.tsv.\n")
    assert "broken.png" in (tmp_path / "out/skipped.tsv").read_text()


def test_formats_that_are_not_read_are_named(tmp_path, command):
    for name in ("a.heic", "b.heic", "c.psd"):
        (tmp_path / "photos" / name).touch()
    code, out, err = command()
    assert code == 0, err
    assert out.startswith("5 of 5 images are in out;")
    assert "Left out 3 files of image formats that are not read (.heic: 2, .psd: 1).\n" in err


MISTAKES = [
    (["ckpt=stary_night"], "starry_night, "),
    (["input=nowhere"], "nowhere"),
    (["output=photos/out"], "lie inside one another"),
    (["output=text"], "text"),
    (["size=9"], "other settings (size)"),
    (["unit=0"], "unit"),
    (["workers=0"], "workers"),
    (["device=quantum"], "quantum"),
    (["input=shards/*.tar"], "Shards were wanted at shards/*.tar, found none; check the path."),
    (["input=quux://bucket/photos"], "A path or a URL like s3:// or gs:// was wanted, found quux://bucket/photos"),
    (["input=s3://bucket/photos"], "needs a package that is not installed: Install s3fs to access S3."),
    (["output=gs://bucket/out"], "needs a package that is not installed: Please install gcsfs"),
]


@pytest.mark.parametrize(("arguments", "hint"), MISTAKES)
def test_a_mistake_is_one_sentence(tmp_path, command, arguments, hint):
    command()
    (tmp_path / "text").touch()
    (tmp_path / "out/.finished/00001.json").unlink()  # So that one unit is unfinished.
    code, _, err = command(*arguments)
    assert code == 1
    (sentence,) = [line for line in err.splitlines() if line.startswith("Error: ")]
    assert hint in sentence
