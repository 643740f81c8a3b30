"""A profiled run writes a trace and a table of its steps."""

import json

import pytest
from training_runs import train


@pytest.mark.slow
def test_a_run_writes_a_trace_and_a_table(tmp_path):
    outcome = train(tmp_path, steps=10, profile="true")
    table = (outcome.folder / "profile" / "table.txt").read_text()
    assert table.startswith("3 steps")
    assert "convolution" in table
    events = json.loads((outcome.folder / "profile" / "trace.json").read_text())["traceEvents"]
    assert {event["name"] for event in events if event["name"].startswith("ProfilerStep")} == {
        "ProfilerStep#7",
        "ProfilerStep#8",
        "ProfilerStep#9",
    }


def test_without_profile_no_folder_is_written(tmp_path):
    assert not (train(tmp_path).folder / "profile").exists()


def test_a_run_too_short_says_how_long_it_must_be(tmp_path):
    with pytest.raises(ValueError, match="first 10 steps"):
        train(tmp_path, steps=9, profile="true")
