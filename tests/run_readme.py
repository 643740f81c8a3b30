"""Run every command of the README in a fresh clone with an empty home folder, in order: `make readme`.

The long trainings get 20 steps instead of 2,000; everything else runs as it stands, with the installation. It takes
about half an hour on two CPU cores, and the packages are downloaded.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from checkout import CHECKOUT
from documents import blocks, commands, make_own_files

#: What a command gets in addition, by its beginning.
SHORTER = {
    "python scripts/train.py style": "steps=20",
    "python scripts/train.py data=folder": "steps=20",
    "python scripts/train.py method=cyclegan": "steps=4 data.size=64 data.load_size=72",
}


def script() -> str:
    """The README's commands as one shell script."""
    readme = CHECKOUT / "README.md"
    lines = ["set -e"]
    for command in commands(readme):
        extra = next((more for start, more in SHORTER.items() if command.startswith(start)), "")
        line = f"{command} {extra}".strip()
        if command.startswith("tensorboard"):
            line = f"timeout 30 {command} || test $? -eq 124"
        lines += [f"echo '==> {line.replace(chr(39), chr(34))}'", line]
    (example,) = [block.code for block in blocks(readme.read_text(encoding="utf-8")) if block.language == "python"]
    return "\n".join([*lines, "python - <<'END'", example + "END", "git status --short"])


def main() -> int:
    """Clone, run, and list what the commands made."""
    with tempfile.TemporaryDirectory(prefix="readme") as folder:
        clone, home = Path(folder, "fast_style"), Path(folder, "home")
        home.mkdir()
        subprocess.run(["git", "clone", "--quiet", str(CHECKOUT), str(clone)], check=True)
        make_own_files(clone)
        environment = {key: value for key, value in os.environ.items() if key in ("PATH", "LANG", "PIP_INDEX_URL")}
        environment |= {key: value for key, value in os.environ.items() if key.startswith("PIP_")}
        command = ["bash", "-c", script()]
        done = subprocess.run(command, cwd=clone, env=environment | {"HOME": str(home)}, check=False)
        for place in ("stylized", "exports", "checkpoints", "runs"):
            for file in sorted((clone / place).rglob("*")):
                if file.suffix in (".jpg", ".png", ".safetensors", ".onnx", ".ckpt"):
                    print(file.relative_to(clone), file.stat().st_size)
    return done.returncode


if __name__ == "__main__":
    sys.exit(main())
