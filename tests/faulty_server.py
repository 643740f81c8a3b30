"""A web server for a folder that fails in the ways of real servers."""

import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

#: Seconds for which a hanging server sends nothing.
HANGING = 1.0
#: What can be wrong with an answer: an error status, no more bytes, a lost connection, a length that is announced too
#: short, and a changed byte.
FAULTS = ("refused", "hangs", "cut", "lies", "damaged")


class FaultyFiles(SimpleHTTPRequestHandler):
    """Serves files; `faults` lists by file name how the next answers fail."""

    def __init__(self, *args: Any, asked: list[str], faults: dict[str, list[str]], **options: Any) -> None:
        self.asked, self.faults = asked, faults
        super().__init__(*args, **options)

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        name = self.path.rpartition("/")[2]
        self.asked.append(name)
        fault = self.faults[name].pop(0) if self.faults[name] else None
        if fault:
            answer(self, Path(self.translate_path(self.path)).read_bytes(), fault)
        else:
            super().do_GET()


def answer(
    handler: BaseHTTPRequestHandler, content: bytes, fault: str | None, *, status: int = 200, **headers: str
) -> None:
    """Send a file, with one of `FAULTS`."""
    if fault == "refused":
        handler.send_error(503)
        return
    half = len(content) // 2
    sent = content[:half] if fault in ("hangs", "cut", "lies") else content
    if fault == "damaged":
        sent = content[:half] + bytes([content[half] ^ 255]) + content[half + 1 :]
    handler.send_response(status)
    for key, value in headers.items():
        handler.send_header(key.replace("_", "-"), value)
    handler.send_header("Content-Length", str(len(sent if fault == "lies" else content)))
    handler.end_headers()
    if handler.command == "GET":
        handler.wfile.write(sent)
        if fault == "hangs":
            time.sleep(HANGING)
    handler.close_connection = fault is not None


@contextmanager
def running(handler: Any) -> Iterator[str]:
    """The URL of a server with this handler."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def served(folder: Path, faults: dict[str, list[str]] | None = None) -> Iterator[tuple[str, list[str]]]:
    """The URL of a folder, and the names of the files requested so far."""
    asked: list[str] = []
    handler = partial(FaultyFiles, directory=str(folder), asked=asked, faults=defaultdict(list, faults or {}))
    with running(handler) as url:
        yield url, asked
