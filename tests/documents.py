"""Read the code blocks and the commands of the Markdown pages."""

import re
import shlex
from pathlib import Path
from typing import NamedTuple

from checkout import CHECKOUT

PAGES = [CHECKOUT / "README.md", *sorted((CHECKOUT / "docs").glob("*.md"))]


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
