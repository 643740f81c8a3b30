"""Behaviour of a single process; test_two_processes.py has the rest."""

import logging
from pathlib import Path

import pytest
import pytorch_lightning as pl

from fast_style.training.distributed.peer_monitor import FAILED
from fast_style.training.distributed.process_group import Processes, connected, silence_nonzero_ranks
from fast_style.training.distributed.run_dir import agree_on_run_dir, how_to_go_on


@pytest.fixture
def trainer() -> pl.Trainer:
    return pl.Trainer(accelerator="cpu", devices=1, logger=False, enable_checkpointing=False)


@pytest.mark.parametrize(
    "variables",
    [{"TORCHELASTIC_RUN_ID": "1", "WORLD_SIZE": "2"}, {"SLURM_STEP_NUM_TASKS": "2"}],
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


@pytest.mark.parametrize(("rank", "ended", "speaks"), [(0, 1, True), (1, 0, True), (2, 0, False), (1, 2, False)])
def test_one_process_reports_a_lost_process(rank: int, ended: int, speaks: bool) -> None:
    processes = Processes()
    processes.rank, processes.count, processes.advice = rank, 3, lambda: "Go on."
    sentence = processes.lost_message(ended)
    assert sentence.startswith(f"Process {ended} of 3 was lost") is speaks
    assert sentence.endswith("Go on.") is speaks
    assert processes.lost_message(ended) == ""


def test_a_process_that_reported_its_own_error_is_not_reported_again() -> None:
    assert Processes().lost_message(FAILED) == ""


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
