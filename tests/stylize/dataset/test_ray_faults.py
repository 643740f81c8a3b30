"""Workers, machines and the program are killed on a real Ray cluster: nothing is lost, and nothing is done twice.

With `-s` the tests print the seconds and counts of docs/large-images.md.
"""

import logging
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import fsspec
import psutil
import pytest
from checkout import SCRIPTS
from painted_sets import lay_out, paint_here, plan_units
from ray_attempts import FOLDER, attempts, hold

from fast_style.networks.serialization import save_network
from fast_style.networks.transform_net import TransformNet
from fast_style.runtimes.cache import read_network_file
from fast_style.stylize.dataset import ray_pool
from fast_style.stylize.dataset.run import paint_dataset
from fast_style.stylize.dataset.work_units import PaintSettings

pytestmark = [
    pytest.mark.slow,
    # Warnings of Ray itself, on import and on start.
    *(
        pytest.mark.filterwarnings(f"ignore::{name}")
        for name in ("DeprecationWarning", "ResourceWarning", "FutureWarning")
    ),
]
# Milliseconds after which Ray asks a machine again whether it is there: five times, then the machine is lost.
HEALTH = "RAY_health_check_period_ms"  # Ray's own value is 3000.
PLAIN = {"runtime": "torch", "precision": "fp32", "device": "cpu"}


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    """A working folder with photos, shards, a network, and the results of a run that nothing disturbs."""
    folder = tmp_path_factory.mktemp("faults")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        # `local://` is a store that several processes see: the code takes it for an object store.
        for name, value in (
            ray_pool.QUIET
            | {FOLDER: str(folder), "HOME": str(folder), "FSSPEC_LOCAL_AUTO_MKDIR": "1"}
            | {"PYTHONPATH": os.pathsep.join(sys.path)}
        ).items():
            patch.setenv(name, value)
        patch.setitem(fsspec.config.conf, "local", {"auto_mkdir": True})  # As the variable, which is read on import.
        if HEALTH not in os.environ:
            patch.setenv(HEALTH, "300")
        lay_out(folder, shards_of=30)
        for number in range(20):
            shutil.copy("photos/a.jpg", f"photos/{number:02}.jpg")
        save_network("wave.safetensors", TransformNet(width=2, blocks=0), origin={"style": "wave"})
        for source in ("photos", "shards"):
            list(paint_here(plan_units(source, f"straight/{source}", recipe()), recipe(), network(), workers=1))
        yield folder


@pytest.fixture(scope="module")
def cluster(here):
    """A Ray cluster of one machine with one worker."""
    import ray
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    try:
        hook = {"worker_process_setup_hook": "ray_attempts.watch"}
        ray.init(cluster.address, log_to_driver=False, logging_level=logging.CRITICAL, runtime_env=hook)
        yield cluster
    finally:
        ray.shutdown()
        cluster.shutdown()


@pytest.fixture(autouse=True)
def _no_attempts(here):
    Path("attempts").unlink(missing_ok=True)


def recipe():
    return PaintSettings(read_network_file("wave.safetensors").digest, unit=2)


def network():
    return PLAIN | {"path": "wave.safetensors"}


def wait_for(condition, seconds=60):
    began = time.monotonic()
    while not (found := condition()):
        assert time.monotonic() - began < seconds, attempts()
        time.sleep(0.01)
    return found


@contextmanager
def running(source, output):
    """Stylize in a thread; yields a future of the last progress, which is known after the block."""
    with ThreadPoolExecutor(1) as thread:
        try:
            yield thread.submit(paint_dataset, source, output, ckpt="wave.safetensors", unit=2, **PLAIN)
        finally:
            Path("hold").unlink(missing_ok=True)


def results(folder):
    files = (path for path in Path(folder).rglob("*") if path.is_file() and path.name != ".lock")
    return {str(path.relative_to(folder)): path.read_bytes() for path in files if path.name != "skipped.tsv"}


def repeated():
    """The units that were stylized more than once, with the number of repetitions."""
    return {unit: times - 1 for unit, times in Counter(attempt.unit for attempt in attempts()).items() if times > 1}


def report(what, **seconds):
    print(f"{what}: " + ", ".join(f"{name} {value:.1f} s" for name, value in seconds.items()), flush=True)


@pytest.mark.parametrize(
    ("source", "place"), [("photos", "{}"), ("shards", "local://{}")], ids=["photos", "shards in a store"]
)
def test_a_machine_joins_and_a_worker_and_the_machine_are_killed(here, cluster, source, place):
    output = f"faults/{source}"
    hold(True)
    began = time.monotonic()
    with running(place.format(here / source), place.format(here / output)) as run:
        wait_for(lambda: attempts() or (run.done() and run.result()))
        [first] = attempts()
        started = time.monotonic()
        machine = cluster.add_node(num_cpus=1)
        added = time.monotonic()
        [second] = wait_for(lambda: [each for each in attempts() if each.machine != first.machine])
        joined = time.monotonic()
        assert second.machine == machine.node_id
        os.kill(first.process, signal.SIGKILL)
        again = wait_for(lambda: [each for each in attempts() if each.unit == first.unit][1:])
        restarted = time.monotonic()
        cluster.remove_node(machine, allow_graceful=False)
        # A worker ends soon after its machine.
        wait_for(lambda: not psutil.pid_exists(second.process))
        hold(False)
        wait_for(lambda: second.unit in repeated())
        moved = time.monotonic()
    assert again[0].process != first.process
    assert repeated() == {first.unit: 1, second.unit: 1}
    assert results(output) == results(f"straight/{source}")
    assert run.result().done == run.result().total
    report(
        source,
        first_unit=started - began,
        joined=joined - added,
        worker_killed=restarted - joined,
        machine_killed=moved - restarted,
        all=time.monotonic() - began,
    )


@pytest.mark.parametrize(("source", "on_the_cluster"), [("photos", False), ("shards", True)], ids=["photos", "shards"])
def test_the_program_is_killed(here, cluster, source, on_the_cluster):
    output = f"killed/{source}"
    settings = {"ckpt": "wave.safetensors", "input": source, "output": output, "unit": 2} | PLAIN
    settings |= {"ray_address": cluster.address} if on_the_cluster else {"workers": 1}
    command = [sys.executable, str(SCRIPTS / "stylize_dataset.py"), *(f"{k}={v}" for k, v in settings.items())]
    with open("program.log", "wb") as log:
        program = subprocess.Popen(command, stdout=log, stderr=log)
    wait_for(lambda: list(Path(output, ".finished").glob("*.json")) or program.poll() is not None)
    # Ray's two agents do no work, and need a minute to end.
    family = [child for child in psutil.Process(program.pid).children(recursive=True) if "Agent" not in child.name()]
    program.kill()
    assert program.wait() == -signal.SIGKILL, Path("program.log").read_text()
    killed = time.monotonic()
    assert not psutil.wait_procs(family, timeout=60)[1]
    before = {path: path.stat().st_mtime_ns for path in Path(output, ".finished").glob("*.json")}
    assert 0 < len(before) < len(plan_units(source, output, recipe()))
    done = paint_dataset(source, output, ckpt="wave.safetensors", unit=2, **PLAIN)
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert not {path.stem for path in before} & {attempt.unit for attempt in attempts()}
    assert results(output) == results(f"straight/{source}")
    assert 0 < done.before < done.done == done.total
    report(source, program_killed=time.monotonic() - killed)
