"""Read the code blocks and the commands of the Markdown pages, and run them."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from checkout import CHECKOUT

PAGES = [CHECKOUT / "README.md", *sorted((CHECKOUT / "docs").glob("*.md"))]


#: Runs scripts one after the other in one process, since importing torch takes seconds.
RUNNER = """
import json, runpy, sys
from hydra.core.global_hydra import GlobalHydra
for script, arguments in json.loads(sys.argv[1]):
    print("Running", script, *arguments, file=sys.stderr)
    GlobalHydra.instance().clear()
    sys.argv = [script, *arguments]
    try:
        runpy.run_path(script, run_name="__main__")
    except SystemExit as stop:
        if stop.code:
            raise
"""


class Block(NamedTuple):
    """A fenced code block, and the line of text before it."""

    before: str
    language: str
    code: str


def blocks(text: str) -> list[Block]:
    found: list[Block] = []
    before = language = ""
    code: list[str] = []
    for line in text.splitlines():
        if line.startswith("```") and language:
            found.append(Block(before, language, "".join(code)))
            before = language = ""
            code = []
        elif line.startswith("```"):
            language = line.removeprefix("```") or "text"
        elif language:
            code.append(f"{line}\n")
        elif line:
            before = line
    return found


def commands(page: Path) -> list[str]:
    """The shell commands of a page, a command that continues on the next line as one, without comments."""
    code = "".join(block.code for block in blocks(page.read_text(encoding="utf-8")) if block.language == "bash")
    lines = code.replace("\\\n", " ").splitlines()
    return [" ".join(line.split()) for line in (re.sub(r"\s+#\s.*$", "", line) for line in lines) if line.strip(" #")]


def script_of(command: str) -> tuple[str, list[str]] | None:
    """Script and arguments of `python scripts/x.py ...`; None for other commands."""
    words = shlex.split(command)
    for index, word in enumerate(words):
        match = re.fullmatch(r"scripts/(\w+)\.py", word)
        if match:
            return match[1], words[index + 1 :]
    return None


def run_scripts(root: Path, scripts: list[tuple[str, list[str]]]) -> str:
    """Run scripts (name, arguments) in the folder of a copy of the repository; return what they printed."""
    told = json.dumps([(f"scripts/{name}.py", arguments) for name, arguments in scripts])
    return run_python(root, "-c", RUNNER, told)


def run_python(root: Path, *arguments: str) -> str:
    environment = os.environ | {"PYTHONPATH": str(root), "XDG_CACHE_HOME": str(root / "cache")}
    command = [sys.executable, *arguments]
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def copy_repository(target: Path) -> Path:
    """Copy the files that git tracks, as a fresh clone has them, with changes that are not committed."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=CHECKOUT, capture_output=True, text=True, check=True)
    for name in filter(None, listed.stdout.split("\0")):
        if (CHECKOUT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(CHECKOUT / name, target / name)
    return target


def make_own_files(root: Path) -> None:
    """The files that the README calls yours: `my.jpg`, `my/photos` and `my/paintings`."""
    cat, coffee = (root / "docs" / "photos" / name for name in ("cat.jpg", "coffee.jpg"))
    shutil.copyfile(coffee, root / "my.jpg")
    for folder in ("photos", "paintings"):
        (root / "my" / folder).mkdir(parents=True)
        for number in range(10):
            shutil.copyfile(cat if number % 2 else coffee, root / "my" / folder / f"{number}.jpg")
