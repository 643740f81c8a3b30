"""The progress bar and the curves of speed and memory."""

import re
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from training_runs import train


def test_a_log_file_gets_a_line_with_the_time_left_at_each_refresh(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    outcome = train(tmp_path, **{"trainer.log_every_n_steps": 2})
    lines = [
        line for line in capsys.readouterr().err.replace("\r", "").splitlines() if "step/s" in line or "/4" in line
    ]
    # The run is shorter than the seconds between two refreshes.
    assert [line.split("[")[0] for line in lines] == ["  0% 0/4 ", "100% 4/4 "]
    assert re.search(r"\[\d\d:\d\d<00:00, .*total=", lines[-1])
    events = EventAccumulator(str(outcome.folder)).Reload()
    assert [event.step for event in events.Scalars("memory_gib")] == [1, 3]
    assert all(0.05 < event.value < 64 for event in events.Scalars("memory_gib"))
