"""The rules of the house that can be read off the source: imports point along the arrows, modules stay small."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import fast_style

PACKAGE = Path(fast_style.__file__).parent
FILES = {str(path.relative_to(PACKAGE)): path for path in sorted(PACKAGE.rglob("*.py"))}
TREES = {name: ast.parse(path.read_text(encoding="utf-8")) for name, path in FILES.items()}

LEARNING = {"pytorch_lightning", "lightning", "lightning_fabric", "hydra", "omegaconf", "tensorboard"}


def part_of(name):
    """`networks` of networks/blocks.py, `images` of images.py, `fast_style` of __init__.py."""
    first = Path(name).parts[0].removesuffix(".py")
    return "fast_style" if first == "__init__" else first


def imports(name):
    """The full names of all that a file imports, within functions too."""
    for node in ast.walk(TREES[name]):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name}:{node.lineno} imports relatively"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def own_imports(name):
    """The files of the package that a file imports, as keys of FILES."""
    for full in imports(name):
        steps = full.split(".")
        if steps[0] != "fast_style":
            continue
        candidates = ["/".join(steps[1:end]) for end in range(len(steps), 1, -1)]
        modules = [c + ending for c in candidates for ending in (".py", "/__init__.py") if c + ending in FILES]
        yield modules[0] if modules else "__init__.py"


def reached_from(name):
    reached, waiting = set(), [name]
    while waiting:
        current = waiting.pop()
        if current not in reached:
            reached.add(current)
            # The public names are resolved on first use, so the package itself brings nothing in.
            waiting += [] if current == "__init__.py" else own_imports(current)
    return reached


def outside(name):
    return {full.split(".")[0] for full in imports(name)} - {"fast_style"}


def test_no_import_runs_back_up():
    """The parts of the package, each a folder or a file of its root, import one another in one direction only."""
    arrows = {}
    for name in FILES:
        others = {part_of(other) for other in own_imports(name)} - {part_of(name), "fast_style"}
        arrows.setdefault(part_of(name), set()).update(others)
    arrows.pop("fast_style")
    while arrows:
        ground = {part for part, others in arrows.items() if not others & arrows.keys()}
        assert ground, f"a circle among {sorted(arrows)}"
        arrows = {part: others for part, others in arrows.items() if part not in ground}


@pytest.mark.parametrize("name", [name for name in FILES if part_of(name) in ("stylize", "images", "runtimes")])
def test_using_a_style_reaches_nothing_that_learning_needs(name):
    assert set().union(*map(outside, reached_from(name))).isdisjoint(LEARNING)


@pytest.mark.parametrize("heavy", ["torch", "numpy", "PIL", "pytorch_lightning"])
def test_the_package_alone_imports_nothing_heavy(heavy):
    code = f"import fast_style, sys; fast_style.__version__; sys.exit({heavy!r} in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("name", FILES)
def test_a_module_says_what_it_is_for(name):
    assert ast.get_docstring(TREES[name])


@pytest.mark.parametrize("name", FILES)
def test_a_module_is_small(name):
    assert len(FILES[name].read_text(encoding="utf-8").splitlines()) <= 400


@pytest.mark.parametrize("name", FILES)
def test_a_function_is_small(name):
    functions = [n for n in ast.walk(TREES[name]) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]
    lengths = {f.name: f.end_lineno - f.body[0].lineno + 1 for f in functions}
    assert {name for name, length in lengths.items() if length > 50} == set()


@pytest.mark.parametrize("name", FILES)
def test_a_module_has_a_name_that_says_something(name):
    assert not set(Path(name).with_suffix("").parts) & {"utils", "misc", "helpers", "common", "base", "core"}


@pytest.mark.parametrize("name", [name for name in FILES if part_of(name) != "cli"])
def test_the_package_does_not_print_or_exit(name):
    calls = [n.func for n in ast.walk(TREES[name]) if isinstance(n, ast.Call)]
    assert not {"print", "exit", "quit", "input"} & {f.id for f in calls if isinstance(f, ast.Name)}
    assert "argparse" not in outside(name)
    assert "sys.exit" not in map(ast.unparse, calls)
