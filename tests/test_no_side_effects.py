"""Training and stylizing with default settings access only the project, its packages and the run folder."""

import os
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from checkout import CHECKOUT

#: Python's audit events for access to paths and to the network (PEP 578).
PATHS = (
    *("open", "os.listdir", "os.scandir", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "shutil.rmtree"),
    *("os.link", "os.symlink", "os.truncate", "subprocess.Popen", "os.posix_spawn", "os.exec"),
)
NETWORK = (
    "socket.connect",
    "socket.bind",
    "socket.getaddrinfo",
    "socket.gethostbyname",
    "socket.sendto",
    "urllib.Request",
)
WATCHING = f"""
import os, runpy, socket, sys
log = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
def watch(event, said):
    if event in {PATHS}:
        for place in said[:2] if event in ("os.rename", "os.link", "os.symlink") else said[:1]:
            if isinstance(place, (str, bytes, os.PathLike)):
                os.write(log, f"path\\t{{os.path.abspath(os.fsdecode(place))}}\\n".encode())
    elif event in {NETWORK} and getattr(said[0], "family", None) != socket.AF_UNIX:  # Loader workers use those.
        os.write(log, f"network\\t{{event}} {{said!r}}\\n".encode())
sys.addaudithook(watch)
sys.argv = sys.argv[2:]
sys.path.insert(0, os.path.dirname(sys.argv[0]))
runpy.run_path(sys.argv[0], run_name="__main__")
"""
#: Folders of Python and the system, which every program accesses.
SYSTEM = {
    sys.prefix,
    sys.base_prefix,
    *sysconfig.get_paths().values(),
    "/proc",
    "/sys",
    "/dev",
    "/etc",
    "/usr",
    "/sbin",
}


def watched(log: Path, home: Path, temporary: Path, script: str, *arguments: str) -> list[str]:
    """Run a script in the checkout with an empty home folder; returns one line per access."""
    told = ("FAST_STYLE", "TORCHINDUCTOR")  # torch sets this variable for its child processes.
    environment = {name: value for name, value in os.environ.items() if not name.startswith(told)}
    command = [sys.executable, "-c", WATCHING, str(log), str(CHECKOUT / "scripts" / f"{script}.py"), *arguments]
    environment |= {"HOME": str(home), "XDG_CACHE_HOME": str(home / ".cache"), "TMPDIR": str(temporary)}
    ended = subprocess.run(command, cwd=CHECKOUT, env=environment, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    return log.read_text().splitlines()


def strange(lines: list[str], *allowed: Path) -> set[str]:
    """Accessed paths outside the system, the checkout and the allowed folders."""
    places = [Path(place) for place in (*SYSTEM, CHECKOUT, *allowed)]
    places += [place.resolve() for place in places]
    found = [line.split("\t", 1) for line in lines]
    paths = {Path(said) for kind, said in found if kind == "path"}
    outside = {str(path) for path in paths if not any(path.is_relative_to(place) for place in places)}
    # Accessing a parent folder of an allowed folder does not read its content.
    return outside - {str(parent) for place in places for parent in place.parents}


@pytest.fixture
def temporary() -> Iterator[Path]:
    """A temporary folder with a short path: the sockets of loading workers need one."""
    with tempfile.TemporaryDirectory(prefix="t") as folder:
        yield Path(folder)


def test_accesses_are_recorded(tmp_path: Path) -> None:
    script = tmp_path / "scripts" / "peeping.py"
    script.parent.mkdir()
    script.write_text(
        "import os, socket\n"
        "try: open('/nowhere/else')\n"
        "except OSError: pass\n"
        "try: socket.create_connection(('127.0.0.1', 9), timeout=1)\n"
        "except OSError: pass\n"
    )
    lines = watched(tmp_path / "log", tmp_path / "home", tmp_path, str(script.with_suffix("")))
    assert "/nowhere/else" in strange(lines)
    assert any(line.startswith("network") for line in lines)


@pytest.mark.slow
def test_training_and_stylizing_access_nothing_else(tmp_path: Path, temporary: Path) -> None:
    home, run = tmp_path / "home", tmp_path / "run"
    home.mkdir()
    run.mkdir()
    network = run / "network.safetensors"
    training = ["experiment=quick", "style=starry_night", "steps=2", "data.size=64", "compile=false", "style.size=64"]
    training += ["init_from=null", "generator.width=8", "generator.blocks=1"]  # Preparing a network takes seconds.
    lines = watched(run / "train.log", home, temporary, "train", *training, f"runs={run}", f"network_file={network}")
    painting = [
        f"ckpt={network}",
        "input=docs/images/cat_wave.jpg",
        f"output={run / 'painted.png'}",
        f"cache={run / 'cache'}",
    ]
    lines += watched(run / "stylize.log", home, temporary, "stylize", *painting)
    assert strange(lines, run, temporary) == set()
    assert [line for line in lines if line.startswith("network")] == []
    assert list(home.iterdir()) == []
    assert (run / "painted.png").is_file()
