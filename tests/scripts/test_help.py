"""`--help` explains every setting of every script, and every option of every group."""

import subprocess
import sys
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra

from fast_style.cli.help import CONF, comments_of, explanations_of, headline, help_text, register_help

ROOTS = sorted(file.stem for file in CONF.glob("*.yaml"))
OPTIONS = sorted(str(file.relative_to(CONF)) for file in CONF.glob("*/*.yaml") if file.parent.name != "hydra")
#: Other choices than the defaults, which bring other settings.
CHOICES = [
    *[("train", f"data={name}") for name in ("folder", "hub", "samples", "shards")],
    *[("train", f"generator={name}") for name in ("johnson", "slim")],
    *[("train", f"loss_network={file.stem}") for file in sorted((CONF / "loss_network").glob("*.yaml"))],
    *[("train", f"optimizer@method.optimizer={file.stem}") for file in sorted((CONF / "optimizer").glob("*.yaml"))],
    *[("train", f"experiment={file.stem}") for file in sorted((CONF / "experiment").glob("*.yaml"))],
    ("train", "method=cyclegan"),
    ("train", "trainer=ddp"),
    ("optimize", "optimization=gatys2016"),
    ("optimize", "optimization=lbfgs"),
]
LONGEST = 100


def composed(root, *overrides):
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose(root, list(overrides), return_hydra_config=True)


def settings_of(root, *overrides):
    """The lines of settings: key and value, explanation."""
    text = help_text(composed(root, *overrides)).replace("$$", "$")
    lines = text.partition("== Settings, changed by key=value ==\n")[2].splitlines()
    return [[part.strip() for part in [*line.split("  ", 1), ""][:2]] for line in lines if line]


@pytest.mark.parametrize(("root", "override"), [*[(root, "") for root in ROOTS], *CHOICES])
def test_every_setting_has_its_value_and_a_line_of_explanation(root, override):
    settings = settings_of(root, *filter(None, [override]))
    assert len({row[0].partition("=")[0] for row in settings}) == len(settings)
    assert [row[0] for row in settings if not row[1]] == []
    assert [row for row in settings if len(row[1]) > LONGEST] == []


@pytest.mark.parametrize("option", OPTIONS)
def test_every_option_of_a_group_says_in_one_line_what_it_is(option):
    text = headline(CONF / option)
    assert 10 < len(text) <= LONGEST
    assert text[-1] in ".:)", text  # A whole sentence, not the first line of several.


def test_the_help_of_stylize_is_one_screen():
    lines = help_text(composed("stylize")).splitlines()
    assert len(lines) <= 28
    assert max(map(len, lines)) <= 120


@pytest.mark.slow
@pytest.mark.parametrize(
    ("script", "parts"),
    [
        ("distill", "method.hard_examples.count=32"),
        ("evaluate", "photos=???"),
        ("evaluate_translation", "target=???"),
        ("export", "format=onnx"),
        ("optimize", "content=??? style=[starry_night,wave] lbfgs gatys2016"),
        ("prepare_shards", "shard_mb=128"),
        ("stylize", "ckpt=??? input=???"),
        ("stylize_dataset", "ray_address="),
        ("train", "steps=2000 starry_night"),
    ],
)
def test_help_in_a_process_of_its_own(script: str, parts: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, CONF.parent / "scripts" / f"{script}.py", "--help"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=True,
    )
    for part in (*parts.split(" "), "twice: once for the shell", "debug=true"):
        assert part in done.stdout
    assert done.stderr == ""
    assert not list(tmp_path.iterdir())


def test_a_script_shows_the_options_that_it_may_choose():
    train, optimize = help_text(composed("train")), help_text(composed("optimize"))
    assert "\n  folder " in train
    assert "scripts/optimize.py)" not in train
    assert "scripts/optimize.py)" in optimize
    assert "\nstyle=[starry_night], one of\n" in optimize


def test_values_are_those_of_the_command_line():
    text = help_text(composed("train", "steps=7", "data=folder", "data.root=a/$b"))
    assert "\nsteps=7 " in text
    assert "\ndata.root=a/$$b " in text  # Hydra fills the template with string.Template.
    assert "method.schedule.total_steps=7 " in text


def test_comments_stand_behind_a_value_or_above_its_key(tmp_path: Path):
    file = tmp_path / "settings.yaml"
    file.write_text(
        "# The head of the file.\n"
        "_target_: a.B\n"
        "behind: 1   # text behind\n"
        'quoted: "a # b"   # not that one\n'
        "# One line\n"
        "# and another.\n"
        "above: [1, 2]\n"
        "\n"
        "block:          # of the block\n"
        "  inner: {a: 1} # inside\n"
        "  none: 2\n",
        encoding="utf-8",
    )
    assert comments_of(file) == {
        "_target_": "The head of the file.",
        "behind": "text behind",
        "quoted": "not that one",
        "above": "One line and another.",
        "block": "of the block",
        "block.inner": "inside",
    }


def test_a_recipe_does_not_explain_what_a_setting_does():
    plain = explanations_of("train", {"method": "perceptual", "experiment": None})
    assert explanations_of("train", {"method": "perceptual", "experiment": "quick"}) == plain | {
        key: text for key, text in explanations_of("train", {"experiment": "quick"}).items() if key not in plain
    }


def test_the_resolver_may_be_registered_twice():
    register_help()
    register_help()
