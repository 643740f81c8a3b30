"""The Markdown pages: every command has valid settings, every link a target, and Sphinx builds the site."""

import importlib
import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest
from checkout import CHECKOUT, CONF
from documents import PAGES, blocks, commands, copy_repository, script_of
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf

from fast_style.cli.errors import check_keys

LONGEST_README = 1100


def identifier(page: Path) -> str:
    return str(page.relative_to(CHECKOUT))


def links(page: Path) -> list[str]:
    """Targets of links and images outside code blocks."""
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    return re.findall(r"\]\(([^)\s]+)\)", re.sub(r"`[^`\n]*`", "", text))


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub and MyST make them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=identifier)
def test_every_link_has_its_target(page: Path) -> None:
    for link in links(page):
        if link.startswith(("http://", "https://")):
            continue
        place, _, anchor = link.partition("#")
        target = (page.parent / place).resolve() if place else page
        assert target.exists(), f"{page.name} links to {link}, which does not exist."
        assert not anchor or anchor in anchors(target), f"{page.name} links to {link}: no such heading."


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=identifier)
def test_every_command_has_valid_settings(page: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for command in commands(page):
        found = script_of(command)
        if found is None or "--help" in found[1] or "..." in command or page.name == "extending.md":
            continue
        script, arguments = found
        # A command for several runs has several values; its first ones make a valid run.
        several = "-m" in arguments
        overrides = [re.sub(r",.*", "", a) if several else a for a in arguments if a != "-m" and "hydra" not in a]
        GlobalHydra.instance().clear()
        with initialize_config_dir(str(CONF), version_base="1.3"):
            cfg = compose(script, overrides, return_hydra_config=True)
        monkeypatch.setattr(HydraConfig, "get", lambda cfg=cfg: cfg.hydra)
        settings = OmegaConf.masked_copy(cfg, [str(key) for key in cfg if key != "hydra"])
        check_keys(settings, script)


@pytest.mark.parametrize("page", PAGES, ids=identifier)
def test_every_python_example_compiles_and_its_imports_exist(page: Path) -> None:
    if page.name == "extending.md":  # test_extending.py runs its examples.
        return
    for block in blocks(page.read_text(encoding="utf-8")):
        if block.language != "python":
            continue
        compile(block.code, str(page), "exec")
        for module, names in re.findall(r"^from (fast_style[\w.]*) import (.+)$", block.code, re.MULTILINE):
            for name in names.split(", "):
                code = f"from {module} import {name}"
                exec(compile(code, str(page), "exec"), {})
        for name in re.findall(r"\bfast_style\.(\w+)\(", block.code):
            assert hasattr(importlib.import_module("fast_style"), name), name


def test_every_page_is_in_the_navigation() -> None:
    index = (CHECKOUT / "docs" / "index.md").read_text(encoding="utf-8")
    entries = set(re.findall(r"^([\w-]+)$", index, re.MULTILINE))
    assert entries >= {page.stem for page in PAGES} - {"README", "index"}


def test_the_readme_is_short() -> None:
    assert len((CHECKOUT / "README.md").read_text(encoding="utf-8").split()) <= LONGEST_README


@pytest.mark.slow
def test_the_site_is_built_without_a_warning(tmp_path: Path) -> None:
    if importlib.util.find_spec("sphinx") is None:
        pytest.skip("Sphinx is not installed: pip install -e '.[docs]'.")
    source = tmp_path / "repository" / "docs"
    copy_repository(source.parent)
    arguments = ["--fail-on-warning", "--keep-going", "--quiet", "-b", "html", str(source), str(tmp_path / "site")]
    command = [sys.executable, "-m", "sphinx", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    pages = {page.relative_to(tmp_path / "site").as_posix() for page in (tmp_path / "site").rglob("*.html")}
    assert pages >= {"index.html", "training.html", "api/fast_style.losses.html"}
    formulas = (tmp_path / "site" / "losses.html").read_text(encoding="utf-8")
    assert "<mfrac>" in formulas
