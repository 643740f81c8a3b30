"""Rules for the source: imports follow the map of the folders, files and functions stay small, old names are gone."""

import ast
import re
import subprocess
import sys
from collections import Counter
from functools import cache
from pathlib import Path

import pytest
from checkout import CHECKOUT

import fast_style

PACKAGE = Path(fast_style.__file__).parent
FILES = {str(path.relative_to(PACKAGE)): path for path in sorted(PACKAGE.rglob("*.py"))}
TREES = {name: ast.parse(path.read_text(encoding="utf-8")) for name, path in FILES.items()}

# The table in docs/architecture.md: what each folder, and each file of the package's root, imports from the others.
MAP = CHECKOUT / "docs" / "architecture.md"
LEARNING = {"pytorch_lightning", "lightning", "lightning_fabric", "hydra", "omegaconf", "tensorboard"}
# Libraries that only the listed files may import.
ONLY = {
    "PIL": {f"images/{name}.py" for name in ("decode", "encode", "color_modes", "contact_sheet", "resize")},
    "ray": {"stylize/dataset/ray_pool.py"},
    "fsspec": {"stylize/dataset/storage.py"},
    "openvino": {"runtimes/openvino_import.py"},
    "onnxruntime": {"runtimes/onnx.py", "runtimes/formats/onnx_format.py", "runtimes/formats/int8.py"},
    "nncf": {"runtimes/formats/int8.py"},
    "executorch": {"runtimes/formats/executorch_format.py"},
    "litert_torch": {"runtimes/formats/tflite_format.py"},
    "ai_edge_litert": {"runtimes/formats/tflite_format.py"},
    "datasets": {"data/hub/loading.py"},
    "huggingface_hub": {"data/hub/loading.py"},
    "pooch": {"data/download.py", "data/hub/http.py"},
    "requests": {"data/download.py", "data/http_file.py", "data/hub/http.py"},
    "av": {f"stylize/video/{name}.py" for name in ("reader", "audio", "writer")},
}


def part_of(name):
    """Part of a file: `networks` for networks/blocks.py, `devices` for devices.py, `fast_style` for __init__.py."""
    first = Path(name).parts[0].removesuffix(".py")
    return "fast_style" if first == "__init__" else first


@cache
def imports(name):
    """The full name of every import of a file, including imports inside functions."""
    found = []
    for node in ast.walk(TREES[name]):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name}:{node.lineno} imports relatively"
            found += [f"{node.module}.{alias.name}" for alias in node.names]
    return found


@cache
def own_imports(name):
    """The files of the package that a file imports, as keys of FILES."""
    found = []
    for full in imports(name):
        steps = full.split(".")
        if steps[0] != "fast_style":
            continue
        candidates = ["/".join(steps[1:end]) for end in range(len(steps), 1, -1)]
        modules = [c + ending for c in candidates for ending in (".py", "/__init__.py") if c + ending in FILES]
        found.append(modules[0] if modules else "__init__.py")
    return found


def reached_from(name):
    reached, waiting = set(), [name]
    while waiting:
        current = waiting.pop()
        if current not in reached:
            reached.add(current)
            # __init__.py resolves the public names on first use, so importing the package imports nothing else.
            waiting += [] if current == "__init__.py" else own_imports(current)
    return reached


def outside(name):
    return {full.split(".")[0] for full in imports(name)} - {"fast_style"}


def drawn_map():
    """Read the rows `| `folder` | what it imports | ... |` of the table, in their order."""
    rows = re.findall(r"^\| `(\w+)` \| ([^|]*)\| [^|]+ \|$", MAP.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {part: set(re.findall(r"`(\w+)`", others)) for part, others in rows}


def found_map():
    arrows = {part_of(name): set() for name in FILES if part_of(name) != "fast_style"}
    for name in FILES:
        if part_of(name) != "fast_style":
            arrows[part_of(name)] |= {part_of(other) for other in own_imports(name)} - {part_of(name), "fast_style"}
    return arrows


def test_the_map_of_the_folders_agrees_with_the_imports():
    assert drawn_map() == found_map()


def test_parts_import_only_from_parts_above_them():
    """Each part in the table imports only from the parts listed above it."""
    above = set()
    for part, others in drawn_map().items():
        assert others <= above, f"{part} imports parts that are listed below it: {sorted(others - above)}"
        above.add(part)


@pytest.mark.parametrize("name", [name for name in FILES if part_of(name) in ("stylize", "images", "runtimes")])
def test_stylizing_imports_nothing_that_only_training_needs(name):
    reached = reached_from(name)
    assert {part_of(other) for other in reached}.isdisjoint({"methods", "losses", "training", "evaluation", "cli"})
    assert set().union(*map(outside, reached)).isdisjoint(LEARNING)


@pytest.mark.parametrize("library", ONLY)
def test_only_the_listed_files_import_a_library(library):
    assert {name for name in FILES if library in outside(name)} == ONLY[library]


@pytest.mark.parametrize("library", ["hydra", "omegaconf"])
def test_only_training_and_cli_import_the_configuration_libraries(library):
    assert {part_of(name) for name in FILES if library in outside(name)} == {"training", "cli"}


def test_folders_hold_few_files():
    entries = {path.name for path in PACKAGE.iterdir()} - {"__init__.py", "__pycache__"}
    assert len(entries) <= 15, sorted(entries)
    modules = Counter(Path(name).parent for name in FILES if Path(name).name != "__init__.py")
    assert max(modules.values()) <= 12, modules.most_common(1)


@pytest.mark.parametrize("heavy", ["torch", "numpy", "PIL", "pytorch_lightning"])
def test_the_package_alone_imports_nothing_heavy(heavy):
    code = f"import fast_style, sys; fast_style.__version__; sys.exit({heavy!r} in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("name", FILES)
def test_a_module_has_a_docstring(name):
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
def test_a_module_has_a_specific_name(name):
    assert not set(Path(name).with_suffix("").parts) & {"utils", "misc", "helpers", "common", "base", "core"}


@pytest.mark.parametrize("name", [name for name in FILES if part_of(name) != "cli"])
def test_the_package_does_not_print_or_exit(name):
    calls = [n.func for n in ast.walk(TREES[name]) if isinstance(n, ast.Call)]
    assert not {"print", "exit", "quit", "input"} & {f.id for f in calls if isinstance(f, ast.Name)}
    assert "argparse" not in outside(name)
    assert "sys.exit" not in map(ast.unparse, calls)


def test_the_source_files_are_found():
    """Without files every other test here would pass."""
    assert len(FILES) > 100
    assert {"networks", "images", "stylize", "training"} <= {part_of(name) for name in FILES}
    assert "stylize/network_runner.py" in set(own_imports("stylize/painter.py"))


def test_no_old_name_is_left_outside_the_changelog():
    rows = re.findall(
        r"^\| ([^|]+) \| [^|]+ \|$", (CHECKOUT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE
    )
    quoted = {name for row in rows for name in re.findall(r"`([A-Za-z_]+)`", row)}
    # Check names that cannot be English words: no file may contain them.
    old = {name for name in quoted if "_" in name or len(re.findall("[A-Z]", name)) > 1}
    # Check some old names that are English words which no text here needs.
    old |= {"swatch", "grain", "grainy", "provocations", "onlookers", "likeness", "lanes"}
    old |= {"Curves", "Snapshots", "Onlookers", "Likeness", "Provocations", "Lesson", "Lifeline", "Verdict", "Controls"}
    assert {"KeepNewest", "is_whole", "FAST_STYLE_MATERIAL"} <= old
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=CHECKOUT, capture_output=True, text=True, check=False)
    files = [CHECKOUT / name for name in listed.stdout.split("\0") if name.endswith((".py", ".yaml", ".md", ".toml"))]
    files = [file for file in files if file.is_file() and file.name not in ("CHANGELOG.md", Path(__file__).name)]
    texts = {file: file.read_text(encoding="utf-8") for file in files}
    words = {file: set(re.findall(r"\w+", text)) for file, text in texts.items()}
    assert {f"{file.name}: {name}" for file, found in words.items() for name in found & old} == set()
    # "artefacts" is an English word, as in "checkerboard artefacts", so only the old module is looked for.
    assert [
        file.name for file, text in texts.items() if re.search(r"stylize[./]artefacts|import artefacts", text)
    ] == []
