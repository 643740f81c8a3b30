"""The commands of the README run in a copy of the repository, in order, and leave their results where it says."""

import re
import subprocess
from pathlib import Path

import pytest
from checkout import CHECKOUT
from documents import blocks, commands, copy_repository, make_own_files, run_python, run_scripts, script_of

README = CHECKOUT / "README.md"
#: Few steps of small images. `make readme` runs the commands as they are.
SMALL = {
    "train": [
        *("steps=2", "val_every=2", "checkpoint_every=1", "compile=false", "precision=32-true", "generator.width=4"),
        *("data.size=64", "data.batch_size=1", "data.workers=0", "style.size=64", "generator.blocks=1"),
        "init_from=null",
    ],
    "cyclegan": [
        *("steps=2", "val_every=2", "checkpoint_every=1", "generator.width=4", "generator.blocks=1"),
        *("data.size=32", "data.load_size=36", "data.workers=0", "discriminator.width=4", "discriminator.layers=1"),
    ],
    "stylize": ["runtime=torch"],
    "optimize": ["method.steps=2", "method.first_steps=2", "method.smallest=null", "size=64"],
}
#: Commands of a shell, an environment or make; test_the_targets_of_make_exist and `make readme` are about these.
OTHERS = {"make", "source", "tensorboard"}


def small(script: str, arguments: list[str]) -> tuple[str, list[str]]:
    """The same command with less work; a later setting replaces an earlier one."""
    extra = SMALL["cyclegan" if "method=cyclegan" in arguments else script]
    keys = {argument.partition("=")[0] for argument in extra}
    kept = [argument for argument in arguments if argument.partition("=")[0] not in keys]
    # A resumed run has its own settings, and the newest one here has other groups.
    return script, arguments if "resume=auto" in arguments else kept + extra


@pytest.mark.slow
def test_every_command_works_and_the_results_are_where_the_readme_says(tmp_path: Path) -> None:
    root = copy_repository(tmp_path / "fast_style")
    make_own_files(root)
    scripts = []
    for command in commands(README):
        found = script_of(command)
        if found is None:
            assert command.split()[0] in OTHERS, f"Nothing runs this command of the README: {command}"
        elif "--help" not in found[1]:  # scripts/test_help.py
            scripts.append(small(*found))
    out = run_scripts(root, scripts)
    assert out.count("TensorBoard: tensorboard --logdir") == sum(
        script in ("train", "optimize") for script, _ in scripts
    )
    (example,) = [block.code for block in blocks(README.read_text(encoding="utf-8")) if block.language == "python"]
    run_python(root, "-c", example)
    made = {str(file.relative_to(root)) for file in root.rglob("*") if file.is_file()}
    for name in (
        *("stylized/cat_starry_night.jpg", "stylized/wave/coffee_wave.jpg", "stylized/cat_the_scream.jpg"),
        *("stylized/cat.jpg", "stylized/coffee_wave.jpg", "stylized/texture.png", "optimized.png"),
        *("checkpoints/quick.safetensors", "checkpoints/trained/starry_night.safetensors"),
    ):
        assert name in made, f"{name} is not there."
    assert any(re.fullmatch(r"runs/starry_night/[^/]+/checkpoints/[^/]+\.ckpt", name) for name in made)
    assert any(name.startswith("checkpoints/trained/") and name.endswith("_A2B.safetensors") for name in made)


def test_git_ignores_the_results(tmp_path: Path) -> None:
    results = [
        *("stylized/cat.jpg", "exports/wave.onnx", "optimized.png", "optimized_00050.png", "runs/x/config.yaml"),
        *("checkpoints/quick.safetensors", "checkpoints/trained/wave.safetensors", "docs/_build/html/index.html"),
    ]
    done = subprocess.run(["git", "check-ignore", *results], cwd=CHECKOUT, capture_output=True, text=True, check=False)
    assert done.stdout.splitlines() == results


def test_the_targets_of_make_exist() -> None:
    makefile = (CHECKOUT / "Makefile").read_text(encoding="utf-8")
    targets = {command.split()[1] for command in commands(README) if command.startswith("make ")}
    assert targets >= {"install", "train", "check", "test", "docs"}
    for target in targets:
        assert re.search(rf"^{target}:.*## ", makefile, re.MULTILINE), target
