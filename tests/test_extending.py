"""The examples of docs/extending.md work: each is applied to a copy of the repository, and its commands are run."""

import re
import shlex
from pathlib import Path

import pytest
from checkout import CHECKOUT
from documents import blocks, copy_repository, run_python, run_scripts, script_of

PAGE = (CHECKOUT / "docs" / "extending.md").read_text(encoding="utf-8")
SECTIONS = {part.splitlines()[0]: part for part in PAGE.split("\n## ")[1:]}
FILES = {
    "Another formula for a loss term": 1,
    "A new loss term": 2,
    "A generator": 3,
    "A method": 4,
    "A runtime": 3,
}
TRAINING = ["data.size=64", "data.batch_size=2", "data.workers=0", "val_every=2", "checkpoint_every=1", "compile=false"]
SMALL = {
    "train": ["steps=2", *TRAINING],
    "optimize": ["size=32", "method.steps=2", "method.smallest=null"],
    "stylize": [],
}


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the repository, which the examples change."""
    return copy_repository(tmp_path_factory.mktemp("extending"))


def apply(section: str, root: Path) -> set[str]:
    """Write the new files and the changes of a section; return the files."""
    changed = set()
    for before, language, code in blocks(section):
        if not (match := re.search(r"(New file|In) `([^`]+)`:$", before)):
            continue
        file = root / match[2]
        changed.add(match[2])
        if language == "diff":
            lines = code.splitlines(keepends=True)
            old, new = ("".join(line[1:] for line in lines if line[0] in signs) for signs in (" -", " +"))
            text = file.read_text(encoding="utf-8")
            assert text.count(old) == 1, f"{match[2]} has no such lines any more:\n{old}"
            file.write_text(text.replace(old, new), encoding="utf-8")
        else:
            assert not file.exists()
            file.write_text(code, encoding="utf-8")
    return changed


def test_the_sections_are_the_list():
    assert list(SECTIONS) == list(FILES)


@pytest.mark.slow
@pytest.mark.parametrize("title", FILES)
def test_an_example_works(title: str, repository: Path) -> None:
    section = SECTIONS[title]
    files = apply(section, repository)
    assert len(files) == FILES[title]
    run_python(repository, "-m", "ruff", "check", *sorted(file for file in files if file.endswith(".py")))
    scripts = []
    for line in "".join(block.code for block in blocks(section) if block.language == "bash").splitlines():
        found = script_of(line)
        if found is None:
            out = run_python(repository, *shlex.split(line)[1:], "-q", "-p", "no:cacheprovider")
            assert re.search(r"[1-9]\d* passed", out), out
            continue
        script, arguments = found
        scripts.append((script, [*SMALL[script], *(word.replace("steps=4000", "steps=3") for word in arguments)]))
    assert run_scripts(repository, scripts)
