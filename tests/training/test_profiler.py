"""A profiled run writes a trace and a table of its steps."""

import json

import pytest
import pytorch_lightning as pl
from training_runs import composed, settings, train

from fast_style.training.run import run


class Fails(pl.Callback):
    def on_train_batch_start(self, trainer: pl.Trainer, *_: object) -> None:
        if trainer.global_step == 0:
            raise RuntimeError("the first step")


@pytest.mark.slow
def test_a_run_writes_a_trace_and_a_table(tmp_path):
    batches = 2  # Of a step.
    # A validation in the middle of the recording ends neither it nor the table.
    outcome = train(tmp_path, steps=11, val_every=9, profile="true", **{"trainer.accumulate_grad_batches": batches})
    (trace,) = (outcome.folder / "profile").glob("*.pt.trace.json")
    names = [str(event.get("name")) for event in json.loads(trace.read_text())["traceEvents"]]
    assert {name for name in names if name.startswith("ProfilerStep")} == {
        f"ProfilerStep#{number}" for number in range(7 * batches, 10 * batches)
    }
    assert any(name.endswith("train_dataloader_next") for name in names)
    (table,) = (outcome.folder / "profile").glob("*.txt")
    assert "convolution" in table.read_text()


def test_without_profile_no_folder_is_written(tmp_path):
    assert not (train(tmp_path).folder / "profile").exists()


def test_a_run_too_short_says_how_long_it_must_be(tmp_path):
    with pytest.raises(ValueError, match="first 10 steps"):
        train(tmp_path, steps=9, profile="true")


def test_a_run_that_fails_before_the_recording_reports_its_own_error(tmp_path):
    overrides = settings(tmp_path, steps=10, profile="true")
    with pytest.raises(RuntimeError, match="the first step"):
        run(composed(overrides), overrides, callbacks=[Fails()])
