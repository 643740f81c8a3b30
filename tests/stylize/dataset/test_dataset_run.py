"""Data sets with many workers: finished units are not stylized again, whatever ended the previous run."""

import os
import pickle
import shutil
import signal
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path

import pytest
from painted_sets import marker_of, marker_path, paint_here, plan_units, times

from fast_style.networks.serialization import save_network
from fast_style.networks.transform_net import TransformNet
from fast_style.runtimes.cache import read_network_file
from fast_style.stylize.dataset import ray_pool, run
from fast_style.stylize.dataset.ray_pool import Share, UnitPainter, shares
from fast_style.stylize.dataset.run import DatasetProgress, paint_dataset
from fast_style.stylize.dataset.work_units import PaintSettings, TarShard

PLAIN = {"runtime": "torch", "precision": "fp32", "device": "cpu"}
# For each source, with units of two photos: number of images, of results, of units.
SOURCES = {"photos": (5, 4, 3), "shards": (8, 7, 3)}


@pytest.fixture
def here(data_sets, tmp_path, monkeypatch):
    """A working folder with photos, shards and a network."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(data_sets, tmp_path, dirs_exist_ok=True)
    save_network("wave.safetensors", TransformNet(width=2, blocks=0), origin={"style": "wave"})
    return tmp_path


@pytest.fixture
def _no_ray(monkeypatch):
    """Run the units in this process, one after the other."""
    monkeypatch.setattr(run, "paint_units", paint_here)
    monkeypatch.setattr(run, "ray_at", lambda address: nullcontext())


def paint(source, **settings):
    told = []
    done = paint_dataset(
        source, "out", **{"ckpt": "wave.safetensors", "unit": 2} | PLAIN | settings, progress=told.append
    )
    assert told[-1] == done
    return told


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.usefixtures("here", "_no_ray")
def test_progress_is_reported_and_skipped_images_are_listed(source):
    total, painted, units = SOURCES[source]
    told = paint(source)
    assert told[0] == DatasetProgress(total, 0, 0, 0)
    assert told[-1] == DatasetProgress(total, 0, painted, 1)
    assert [p.done for p in told] == sorted({p.done for p in told})
    assert len(told) == 1 + units
    (header, line) = Path("out/skipped.tsv").read_text().splitlines()
    assert header == "name\treason"
    assert line.startswith({"photos": "b.png", "shards": "shard-000001.tar/000000004.png"}[source] + "\t")


class Dies(Exception):  # noqa: N818 - as a process does.
    """Stands for a killed process: nothing handles it."""


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.usefixtures("here", "_no_ray")
def test_a_run_resumes_with_the_unfinished_units(source):
    total, painted, units = SOURCES[source]

    def dying(progress):
        if progress.done:
            raise Dies

    with pytest.raises(Dies):
        paint_dataset(source, "out", ckpt="wave.safetensors", unit=2, **PLAIN, progress=dying)
    before = times("out")
    Path("out", f".{0:032x}.tmp").touch()  # As a killed process leaves it.
    told = paint(source)
    assert told[0].before == told[0].done == {"photos": 2, "shards": 3}[source]
    assert len(told) == 1 + units - 1
    assert told[-1].painted == painted
    assert {name: when for name, when in times("out").items() if name in before} == before
    last = times("out")
    assert paint(source) == [DatasetProgress(total, total, painted, 1)]
    assert times("out") == last
    assert len(Path("out/skipped.tsv").read_text().splitlines()) == 2
    assert not list(Path("out").glob(".*.tmp"))


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"ckpt": "nowhere.safetensors"}, "nowhere.safetensors"),
        ({"runtime": "jax"}, "runtime is auto or one of"),
        ({"precision": "fp61"}, "is auto, fp32, bf16"),
        ({"workers": 0}, "workers is at least 1"),
        ({"quality": 0}, "quality"),
    ],
)
@pytest.mark.usefixtures("here", "_no_ray")
def test_mistakes_are_reported(settings, sentence):
    with pytest.raises(ValueError, match=sentence):
        paint("photos", **settings)


@pytest.mark.usefixtures("here", "_no_ray")
def test_an_error_of_a_worker_ends_the_run_with_one_sentence(monkeypatch):
    def full(*_, **__):
        raise OSError(28, "out/a.jpg can't be written: No space left on device.")

    monkeypatch.setattr(ray_pool, "paint_unit", full)
    with pytest.raises(ValueError, match=r"^out/a.jpg can't be written: No space left on device.$"):
        paint("photos")


@pytest.mark.usefixtures("here", "_no_ray")
def test_two_runs_cannot_share_an_output():
    with run._alone_in(os.path.abspath("out")), pytest.raises(ValueError, match="Another process is writing to /"):
        paint("photos")


@pytest.mark.usefixtures("here")
def test_the_absence_of_ray_is_one_sentence(monkeypatch):
    monkeypatch.setattr(ray_pool, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"pip install 'fast_style\[ray\]'"):
        paint("photos")


@pytest.mark.parametrize(
    ("cpus", "gpus", "units", "wanted", "expected"),
    [
        (8, 0, 99, None, Share(99, 2, 0.0, 2)),
        (1, 0, 99, None, Share(99, 1, 0.0, 1)),
        (8, 0, 99, 8, Share(8, 1, 0.0, 1)),
        (8, 0, 2, None, Share(2, 4, 0.0, 4)),
        (2, 0, 99, 4, Share(4, 0.5, 0.0, 1)),
        (32, 4, 99, None, Share(99, 8, 1.0, 8)),
        (32, 4, 99, 8, Share(8, 4, 0.5, 4)),
        (32, 4, 99, 3, Share(3, 10, 1.0, 10)),
    ],
)
def test_a_machine_is_divided_among_its_workers(cpus, gpus, units, wanted, expected):
    nodes = [{"CPU": cpus, "GPU": gpus, "memory": 1e9}]
    assert shares(nodes, units, {"runtime": "auto", "device": "auto"}, wanted) == expected
    on_cpu = [{"runtime": "openvino", "device": "auto"}, {"runtime": "torch", "device": "cpu"}]
    assert all(shares(nodes, units, place, wanted).gpus == 0 for place in on_cpu)


@pytest.mark.parametrize(
    ("nodes", "wanted", "expected", "on_each"),
    [
        ([], None, Share(99, 1, 0.0, 1), []),  # A head without cores: the machines join later.
        ([(0, 0), (8, 0)], None, Share(99, 2, 0.0, 2), [0, 4]),
        ([(3, 0), (3, 0)], 3, Share(3, 1, 0.0, 1), [3, 3]),
        ([(4, 0), (8, 0)], 3, Share(3, 4, 0.0, 4), [1, 2]),
        ([(4, 0), (16, 2), (8, 4)], None, Share(99, 2, 1.0, 2), [0, 2, 4]),
        ([(16, 2), (16, 2)], 8, Share(8, 4, 0.5, 4), [4, 4]),
    ],
)
def test_a_cluster_is_divided_so_that_all_workers_fit(nodes, wanted, expected, on_each):
    machines = [{"CPU": cpus, "GPU": gpus} if gpus else {"CPU": cpus} for cpus, gpus in nodes]
    share = shares(machines, 99, {"runtime": "auto", "device": "auto"}, wanted)
    assert share == expected
    assert [share.on(each) for each in machines] == on_each


@pytest.mark.usefixtures("here")
def test_a_machine_without_the_network_file_gets_a_copy():
    stylizer = PLAIN | {"path": os.path.abspath("wave.safetensors")}
    content = Path("wave.safetensors").read_bytes()
    recipe = PaintSettings(read_network_file("wave.safetensors").digest, unit=2)
    [unit, *_] = plan_units("photos", "out", recipe)
    here, there = (UnitPainter(recipe, stylizer, content) for _ in range(2))
    assert not here({"unit": pickle.dumps(unit)})["problem"]
    assert here.folder is None
    Path("wave.safetensors").write_bytes(b"another file at this path")
    marker_path(unit).unlink()
    before = Path("out/a.jpg").read_bytes()
    assert not there({"unit": pickle.dumps(unit)})["problem"]
    assert Path("out/a.jpg").read_bytes() == before
    assert Path(there.folder.name, "wave.safetensors").read_bytes() == content
    there.folder.cleanup()


# ---- real kills


def files_of(unit):
    names = [unit.name] if isinstance(unit, TarShard) else [name for _, name in unit.pictures]
    return [marker_path(unit), *(path for path in (Path(unit.output, name) for name in names) if path.exists())]


def finished_files(source, recipe):
    """Modification times of the files of the finished units. The killed run left finished and unfinished units."""
    units = plan_units(source, f"{source}_out", recipe)
    done = [unit for unit in units if marker_of(unit, recipe)]
    assert 0 < len(done) < len(units)
    return {file: file.stat().st_mtime_ns for unit in done for file in files_of(unit)}


def check_resumed(source, recipe, before):
    """The finished files were not written again, and all files equal those of an uninterrupted run."""
    assert {file: file.stat().st_mtime_ns for file in before} == before
    painter = UnitPainter(recipe, PLAIN | {"path": "wave.safetensors"})
    for unit in plan_units(source, f"{source}_straight", recipe):
        assert not painter({"unit": pickle.dumps(unit)})["problem"]
        for file in files_of(unit):
            other = Path(str(file).replace("_straight", "_out"))
            assert file.suffix == ".json" or file.read_bytes() == other.read_bytes()
    assert not [path for path in Path().rglob("*.tmp") if path.parent.name != "tmp"]


DYING = """
import os, signal
from contextlib import nullcontext
from itertools import count
from painted_sets import paint_here
from fast_style.stylize.dataset import run, worker

def encode_or_die(*arguments, encode=worker.encode_levels, calls=count(1), **settings):
    if next(calls) == 5:
        os.kill(os.getpid(), signal.SIGKILL)
    return encode(*arguments, **settings)

worker.encode_levels, run.paint_units, run.ray_at = encode_or_die, paint_here, lambda address: nullcontext()
run.paint_dataset("shards", "shards_out", ckpt="wave.safetensors", unit=2, PLAIN)
"""


@pytest.mark.slow
@pytest.mark.usefixtures("_no_ray")
def test_a_run_resumes_after_a_kill_within_a_shard(here):
    code = DYING.replace("PLAIN", ", ".join(f"{key}={value!r}" for key, value in PLAIN.items()))
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    died = subprocess.run([sys.executable, "-c", code], env=environment, stderr=subprocess.PIPE, text=True, check=False)
    assert died.returncode == -signal.SIGKILL, died.stderr
    assert list(here.glob("shards_out/*.tmp")), "no shard was half written"
    recipe = PaintSettings(read_network_file("wave.safetensors").digest, unit=2)
    before = finished_files("shards", recipe)
    done = paint_dataset("shards", "shards_out", ckpt="wave.safetensors", unit=2, **PLAIN)
    assert (done.total, done.painted, done.skipped) == (8, 7, 1)
    check_resumed("shards", recipe, before)
