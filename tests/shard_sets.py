"""Small real shards, and a server to read them from."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import torch

from fast_style import save_image
from fast_style.data.shards.sources import PictureFolder
from fast_style.data.shards.writer import ShardSettings, write_shards


def numbered_photos(folder: Path, count: int, *, side: int = 24) -> Path:
    """Grey photos of different brightness: every pixel of photo n is n."""
    for number in range(count):
        save_image(torch.full((1, 3, side, side), number / 255), folder / f"{number:04d}.png")
    return folder


def shards(folder: Path, count: int = 10, *, samples: int = 3) -> Path:
    """Shards in `folder/shards` of `count` numbered photos, `samples` per shard."""
    photos = numbered_photos(folder / "photos", count)
    write_shards(PictureFolder(str(photos)), str(folder / "shards"), ShardSettings(shard_samples=samples))
    return folder / "shards"


class Quiet(SimpleHTTPRequestHandler):
    """Serves files; `spoil` sets how the first requests for a file fail."""

    def __init__(self, *args: Any, asked: list[str], spoil: dict[str, list[str]], **options: Any) -> None:
        self.asked, self.spoil = asked, spoil
        super().__init__(*args, **options)

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        name = self.path.rpartition("/")[2]
        self.asked.append(name)
        wrongs = self.spoil.get(name)
        wrong = wrongs.pop(0) if wrongs else None
        if wrong == "refused":
            self.send_error(503)
        elif wrong in ("dropped", "damaged"):
            content = Path(self.translate_path(self.path)).read_bytes()
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content[: len(content) // 2] if wrong == "dropped" else content[:-1] + b"!")
            self.close_connection = True
        else:
            super().do_GET()


@contextmanager
def served(folder: Path, **spoil: list[str]) -> Iterator[tuple[str, list[str]]]:
    """The URL of a folder, and the names of the files requested so far."""
    asked: list[str] = []
    spoilt = {name.replace("_tar", ".tar").replace("shard_", "shard-"): wrongs for name, wrongs in spoil.items()}
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder), asked=asked, spoil=spoilt))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
