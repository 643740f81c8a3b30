"""Behaviour of a single process; test_two_processes.py has the rest."""

import logging
from pathlib import Path

import pytest
import pytorch_lightning as pl
from omegaconf import OmegaConf

from fast_style.training.distributed.process_group import (
    Processes,
    _warn_of_shared_store,
    connected,
    resolve_auto_devices,
    silence_nonzero_ranks,
)
from fast_style.training.distributed.run_dir import agree_on_run_dir, how_to_go_on


@pytest.fixture
def trainer() -> pl.Trainer:
    return pl.Trainer(accelerator="cpu", devices=1, logger=False, enable_checkpointing=False)


@pytest.mark.parametrize(
    "variables",
    [{"TORCHELASTIC_RUN_ID": "1", "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}, {"SLURM_STEP_NUM_TASKS": "2"}],
    ids=["torchrun", "srun"],
)
def test_several_processes_and_a_trainer_for_one_are_refused(
    trainer: pl.Trainer, monkeypatch: pytest.MonkeyPatch, variables: dict[str, str]
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ValueError, match=r"2 processes were started.*trainer=ddp"), connected(trainer):
        pass


def test_a_single_process_gets_its_own_values(trainer: pl.Trainer, tmp_path: Path) -> None:
    with connected(trainer) as processes:
        assert (processes.first, processes.count) == (True, 1)
        assert processes.broadcast("folder") == "folder"
        assert processes.all_gather(3) == [3]
        assert [processes.lagged_max(number) for number in (0, 15)] == [0, 15]  # Without a lag.
        assert agree_on_run_dir(processes, None, lambda: tmp_path / "new") == tmp_path / "new"
        checkpoint = tmp_path / "run" / "checkpoints" / "step-000001.ckpt"
        assert agree_on_run_dir(processes, checkpoint, lambda: tmp_path / "new") == tmp_path / "run"


@pytest.mark.parametrize(("rank", "speaks"), [(0, True), (1, True), (2, False)])
def test_two_processes_report_a_lost_one(rank: int, speaks: bool) -> None:
    processes = Processes(rank, 3)
    processes.advice = lambda: "Go on."
    sentence = processes.lost_message()
    assert sentence.startswith("Another process of this run was lost") is speaks
    assert sentence.endswith("Go on.") is speaks


@pytest.mark.parametrize(
    ("variables", "devices", "machines"),
    [
        ({}, "auto", 1),
        ({"TORCHELASTIC_RUN_ID": "1", "WORLD_SIZE": "6", "LOCAL_WORLD_SIZE": "3"}, 3, 2),
        ({"SLURM_STEP_NUM_TASKS": "8", "SLURM_STEP_NUM_NODES": "2"}, 4, 2),
    ],
    ids=["plain", "torchrun", "srun"],
)
def test_the_launcher_decides_on_devices_and_machines_left_at_auto(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], devices: object, machines: int
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    settings = OmegaConf.create({"devices": "auto", "num_nodes": "auto"})
    assert resolve_auto_devices(settings) == {"devices": devices, "num_nodes": machines}
    assert resolve_auto_devices(OmegaConf.create({"devices": 1})) == {"devices": 1}
    assert settings.devices == "auto"


def test_the_advice_names_the_folder_if_it_has_a_checkpoint(tmp_path: Path) -> None:
    assert "no checkpoint yet" in how_to_go_on(tmp_path)
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "step-000001.ckpt").touch()
    assert f"resume={tmp_path}" in how_to_go_on(tmp_path)


@pytest.mark.parametrize(("variables", "level"), [({}, logging.NOTSET), ({"RANK": "0", "LOCAL_RANK": "0"}, 0)])
def test_the_first_process_reports(monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], level: int) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    silence_nonzero_ranks()
    assert logging.getLogger("fast_style").level == level


@pytest.mark.parametrize("variables", [{"RANK": "3"}, {"SLURM_PROCID": "1"}, {"LOCAL_RANK": "1"}])
def test_the_other_processes_only_warn(monkeypatch: pytest.MonkeyPatch, variables: dict[str, str]) -> None:
    package, stopping = logging.getLogger("fast_style"), logging.getLogger("fast_style.interrupts")
    for logger in (package, stopping):
        monkeypatch.setattr(logger, "level", logging.NOTSET)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    silence_nonzero_ranks()
    assert (package.level, stopping.level) == (logging.WARNING, logging.ERROR)
    for logger in (package, stopping):
        logger.setLevel(logging.NOTSET)


@pytest.mark.parametrize(
    ("variables", "warned"),
    [
        ({}, False),
        ({"TORCHELASTIC_MAX_RESTARTS": "0", "TORCHELASTIC_USE_AGENT_STORE": "True"}, False),
        ({"TORCHELASTIC_MAX_RESTARTS": "3", "TORCHELASTIC_USE_AGENT_STORE": "False"}, False),
        ({"TORCHELASTIC_MAX_RESTARTS": "3", "TORCHELASTIC_USE_AGENT_STORE": "True"}, True),
    ],
)
def test_restarts_with_a_shared_store_are_warned_of(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, variables: dict[str, str], warned: bool
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    _warn_of_shared_store()
    assert ("TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1" in caplog.text) is warned
