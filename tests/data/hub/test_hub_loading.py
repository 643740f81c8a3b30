"""Data sets by name: faults of the Hub, offline mode, several processes, and nothing that tells others."""

import multiprocessing
import os
import subprocess
import sys
import time
from itertools import islice

import datasets
import huggingface_hub
import pytest
from fake_hub import hub_with
from faulty_server import FAULTS
from photo_sets import hub_data, parquet_of
from shard_sets import numbered_photos

from fast_style.data.hub.datamodule import HubDataModule
from fast_style.data.hub.loading import TRIES

NAME, FILE = "me/photos", "data/train-00000-of-00001.parquet"


@pytest.fixture
def files(tmp_path):
    content = parquet_of(numbered_photos(tmp_path / "photos", 6), tmp_path / "a.parquet").read_bytes()
    return {"README.md": b"---\nlicense: mit\n---\n", FILE: content}


def requests_for(asked, file):
    return [method for method, path, _ in asked if path.endswith(file) and method == "GET"]


def test_a_data_set_by_name_is_downloaded_once(files, on_hub):
    with hub_with(NAME, files) as (url, asked):
        on_hub(url)
        data = hub_data(path=NAME)
        assert len(data.training) + len(data.validation) == 6
        hub_data(path=NAME)
        assert len(requests_for(asked, FILE)) == 1


OFFLINE = """
import sys
from fast_style.data.hub.loading import load_rows
assert "datasets" not in sys.modules
try:
    load_rows("me/photos", name=None, split="train", data_files=None, revision=None)
except ValueError as error:
    print(error)
import datasets, huggingface_hub
print(huggingface_hub.constants.HF_HUB_DISABLE_TELEMETRY, datasets.config.HF_UPDATE_DOWNLOAD_COUNTS)
"""


@pytest.mark.slow
def test_the_environment_forbids_downloads_and_telemetry_is_off(files, tmp_path):
    with hub_with(NAME, files) as (url, asked):
        environment = os.environ | {"HF_ENDPOINT": url, "HF_HOME": str(tmp_path / "home"), "HF_HUB_OFFLINE": "1"}
        command = [sys.executable, "-c", OFFLINE]
        said = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
        assert asked == []
    sentence, switches = said.splitlines()
    assert sentence == (
        "The data set me/photos can't be used: it is not in the cache, and HF_HUB_OFFLINE or HF_DATASETS_OFFLINE "
        "forbids downloads."
    )
    assert switches == "True False"


def test_offline_the_cache_is_used(files, on_hub, monkeypatch, caplog):
    def order():
        return [file for batch in islice(hub_data(path=NAME).train_dataloader(), 4) for file in batch.files]

    with hub_with(NAME, files) as (url, asked):
        on_hub(url)
        online = order()
        asked.clear()
        monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
        assert order() == online
        assert asked == []
    assert "me/photos can't be reached; the copy in the cache is used." in caplog.text


def prepare(results):
    data = hub_data(path=NAME)
    results.put([file for batch in islice(data.train_dataloader(), 4) for file in batch.files])


def test_processes_that_prepare_at_once_download_once_and_agree(files, on_hub):
    context = multiprocessing.get_context("fork")
    results = context.SimpleQueue()
    with hub_with(NAME, files) as (url, asked):
        on_hub(url)
        several = [context.Process(target=prepare, args=(results,)) for _ in range(3)]
        for one in several:
            one.start()
        orders = [results.get() for _ in several]
        for one in several:
            one.join()
        assert len(requests_for(asked, FILE)) == 1
    assert orders == [orders[0]] * 3


@pytest.mark.slow
def test_every_fault_is_repaired_by_the_next_try(on_hub, tmp_path):
    counts = range(3, 3 + len(FAULTS))
    content = {
        f"data/{n}.parquet": parquet_of(numbered_photos(tmp_path / f"{n}", n), tmp_path / "b").read_bytes()
        for n in counts
    }
    with hub_with(NAME, content, {file: [fault] for file, fault in zip(content, FAULTS, strict=True)}) as (url, asked):
        on_hub(url)
        data = hub_data(path=NAME)
        assert [len(requests_for(asked, file)) for file in content] == [2] * len(FAULTS)
    assert len(data.training) + len(data.validation) == sum(counts)


def test_a_start_that_is_killed_is_completed_by_the_next(files, on_hub):
    with hub_with(NAME, files, {FILE: ["hangs"]}) as (url, asked):
        on_hub(url)
        killed = multiprocessing.get_context("fork").Process(target=hub_data, kwargs={"path": NAME})
        killed.start()
        while not requests_for(asked, FILE):
            time.sleep(0.01)
        killed.kill()
        killed.join()
        data = hub_data(path=NAME)
    assert len(data.training) + len(data.validation) == 6


LASTING = {"lies": "Consistency check failed: file should be of size", "damaged": "the checksum that the Hub lists"}


@pytest.mark.parametrize("fault", LASTING)
def test_a_lasting_fault_is_one_sentence_and_a_later_start_completes(files, on_hub, fault):
    with hub_with(NAME, files, {FILE: [fault] * TRIES}) as (url, asked):
        on_hub(url)
        with pytest.raises(ValueError, match=LASTING[fault]) as caught:
            HubDataModule(path=NAME).setup()
        assert "\n" not in str(caught.value)
        assert len(requests_for(asked, FILE)) == TRIES
        data = hub_data(path=NAME)
    assert len(data.training) + len(data.validation) == 6


def test_a_name_that_the_hub_lacks_is_one_sentence(files, on_hub):
    with hub_with(NAME, files) as (url, _):
        on_hub(url)
        with pytest.raises(ValueError, match=r"no data set on the Hub of this name \(log in with hf auth login"):
            HubDataModule(path="me/other").setup()


def test_a_hub_that_is_not_reached_is_one_sentence(files, on_hub, monkeypatch):
    with hub_with(NAME, files) as (url, _):
        on_hub(url)
    monkeypatch.setattr(time, "sleep", lambda _: None)  # The library waits 23 seconds in all.
    with pytest.raises(ValueError, match=r"Couldn't reach 'me/photos' on the Hub .*; repeat the command later, what"):
        HubDataModule(path=NAME).setup()


def test_a_script_in_the_data_set_is_never_run(files, on_hub, tmp_path):
    told = tmp_path / "told"
    code = f"open({str(told)!r}, 'w')\n".encode()
    with hub_with(NAME, files | {"photos.py": code}) as (url, _):
        on_hub(url)
        with pytest.raises(ValueError, match="Dataset scripts are no longer supported"):
            HubDataModule(path=NAME).setup()
    assert not told.exists()


def test_without_the_library_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(ValueError, match=r"datasets, which is not installed: pip install 'fast_style\[hub\]'\."):
        HubDataModule(path=NAME).setup()
