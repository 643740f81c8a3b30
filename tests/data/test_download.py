"""Originals of the styles are downloaded completely, once, and never as another file; from a local server."""

import hashlib
import multiprocessing
import re
import socket
import threading
from collections.abc import Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pooch  # type: ignore[import-untyped]
import pytest
from checkout import CONF
from omegaconf import OmegaConf

from fast_style.data import download
from fast_style.data.download import Painting

CONTENT = bytes(range(256)) * 2000
CATALOGUE = sorted((CONF / "style").glob("*.yaml"))


class Gallery(BaseHTTPRequestHandler):
    """Serves CONTENT at any address; `ways` sets how it answers the first requests, `asked` records their paths."""

    def __init__(self, *args: Any, asked: list[str], ways: list[str]) -> None:
        self.asked, self.ways = asked, ways
        super().__init__(*args)

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        self.asked.append(self.path)
        way = self.ways.pop(0) if self.ways else "good"
        if way.isdigit():
            self.send_error(int(way))
        elif way == "hang":
            self.connection.recv(1)  # Until the client gives up.
        else:
            self.send_response(200)
            content = b"another picture" if way == "another" else CONTENT
            if way != "endless":
                self.send_header("Content-Length", str(len(content) // (2 if way == "claim less" else 1)))
            self.end_headers()
            self._send(content, way)
        self.close_connection = True

    def _send(self, content: bytes, way: str) -> None:
        try:
            self.wfile.write(content[: len(content) // 2] if way == "cut" else content)
            while way == "endless":
                self.wfile.write(content)
        except OSError:
            return  # The client has closed the connection.


class Server:
    """A local server: its URL, how it answers the next requests, and the paths they asked for."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.ways: list[str] = []
        self.http = ThreadingHTTPServer(("127.0.0.1", 0), partial(Gallery, asked=self.asked, ways=self.ways))
        self.http.daemon_threads = False  # Closing waits for all answers.
        self.url = f"http://127.0.0.1:{self.http.server_port}/images/starry_night_google.jpg"

    def painting(self, **changes: str) -> Painting:
        sha256 = hashlib.sha256(CONTENT).hexdigest()
        return Painting(**{"work": "Nobody, Nothing, 1900", "url": self.url, "sha256": sha256} | changes)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setattr(download, "TIMEOUT", (1.0, 0.2))
    monkeypatch.setattr(pooch.core, "time", SimpleNamespace(sleep=lambda _: None))  # Between two tries.
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    server = Server()
    thread = threading.Thread(target=server.http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield server
    server.http.shutdown()
    server.http.server_close()
    thread.join()


def left(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir() if path.suffix != ".lock"}


def test_an_original_is_downloaded_completely_and_once(tmp_path: Path, server: Server) -> None:
    for _ in range(3):
        path = server.painting().fetched("dots", cache=tmp_path / "cache")
    assert path == tmp_path / "cache" / "dots.jpg"
    assert path.read_bytes() == CONTENT
    assert len(server.asked) == 1
    assert left(tmp_path / "cache") == {"dots.jpg"}
    (tmp_path / "open").touch()
    assert path.stat().st_mode == (tmp_path / "open").stat().st_mode  # Other users may read it.


@pytest.mark.parametrize(
    "ways", [["503"], ["429"], ["cut"], ["hang"], ["another"], ["claim less"], ["cut", "503"]], ids=str
)
def test_a_failed_transfer_is_retried(tmp_path: Path, server: Server, ways: list[str]) -> None:
    server.ways += ways
    assert server.painting().fetched("dots", cache=tmp_path).read_bytes() == CONTENT
    assert left(tmp_path) == {"dots.jpg"}


@pytest.mark.parametrize(
    ("ways", "said", "requests"),
    [
        (["another"] * 3, "sends another file", 3),
        (["claim less"] * 3, "sends another file", 3),
        (["404"] * 3, "the server answers 404 Not Found", 3),
        (["503"] * 3, "the server answers 503", 3),
        (["cut"] * 3, "can't be reached (ChunkedEncodingError)", 3),
        (["hang"] * 3, "can't be reached (ReadTimeout)", 3),
        (["endless"], "larger than 1 MB", 1),
    ],
)
def test_a_failed_download_is_one_sentence_and_leaves_no_file(
    tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch, ways: list[str], said: str, requests: int
) -> None:
    monkeypatch.setattr(download, "MAX_BYTES", 1_000_000)
    server.ways += ways
    with pytest.raises(ValueError, match=re.escape(said)) as caught:
        server.painting().fetched("dots", cache=tmp_path)
    sentence = str(caught.value)
    assert sentence.startswith(f"The original of dots (Nobody, Nothing, 1900) was wanted from {server.url}, but ")
    assert f"put the file at {tmp_path / 'dots.jpg'} by hand" in sentence
    assert sentence.endswith("style.source=texture.")
    assert "\n" not in sentence
    assert len(server.asked) == requests
    assert left(tmp_path) == set()
    assert server.painting().fetched("dots", cache=tmp_path).read_bytes() == CONTENT  # The next call succeeds.


def closed_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("http://127.0.0.1:{}/wave.jpg", "can't be reached (ConnectionError)"),
        ("ftp://127.0.0.1:{}/wave.jpg", "can't be reached (InvalidSchema)"),
    ],
)
def test_without_a_network_the_sentence_names_the_alternatives(
    tmp_path: Path, server: Server, url: str, said: str
) -> None:
    with pytest.raises(ValueError, match=re.escape(said)) as caught:
        server.painting(url=url.format(closed_port())).fetched("wave", cache=tmp_path)
    assert f"put the file at {tmp_path / 'wave.jpg'} by hand" in str(caught.value)


def test_a_file_put_there_by_hand_needs_no_network_and_no_write_permission(tmp_path: Path, server: Server) -> None:
    (tmp_path / "dots.jpg").write_bytes(CONTENT)
    tmp_path.chmod(0o500)
    assert server.painting().fetched("dots", cache=tmp_path) == tmp_path / "dots.jpg"
    tmp_path.chmod(0o700)
    assert {path.name for path in tmp_path.iterdir()} == {"dots.jpg"}
    assert server.asked == []


def test_another_file_in_its_place_is_reported_or_replaced(tmp_path: Path, server: Server) -> None:
    (tmp_path / "dots.jpg").write_bytes(b"mine")
    server.ways += ["404"] * 3
    with pytest.raises(ValueError, match="by hand in place of the other file there now"):
        server.painting().fetched("dots", cache=tmp_path)
    assert (tmp_path / "dots.jpg").read_bytes() == b"mine"
    assert server.painting().fetched("dots", cache=tmp_path).read_bytes() == CONTENT


def test_a_cache_that_cannot_be_written_is_reported(tmp_path: Path, server: Server) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match=r"can't be stored .*file.*style\.cache=.*style\.source=texture"):
        server.painting().fetched("dots", cache=tmp_path / "file" / "cache")


def fetch(painting: Painting, folder: Path, go: Any) -> None:
    go.wait()
    assert painting.fetched("dots", cache=folder).read_bytes() == CONTENT


def test_many_processes_download_it_once(tmp_path: Path, server: Server) -> None:
    context = multiprocessing.get_context("fork")
    go = context.Event()
    several = [context.Process(target=fetch, args=(server.painting(), tmp_path / "cache", go)) for _ in range(4)]
    for one in several:
        one.start()
    go.set()
    for one in several:
        one.join()
    assert [one.exitcode for one in several] == [0] * 4
    assert len(server.asked) == 1


@pytest.mark.parametrize("file", CATALOGUE, ids=lambda file: file.stem)
def test_every_named_style_has_the_address_and_checksum_of_its_original(file: Path) -> None:
    named = OmegaConf.to_container(OmegaConf.load(file))
    assert isinstance(named, dict)
    if file.stem == "painting":
        assert named["pictures"] == {}
        return
    ((name, said),) = named["pictures"].items()
    painting = Painting(**said)
    assert name == file.stem
    assert painting.texture == f"data/styles/{name}.png"
    # The address names a commit, so that the file can't change.
    assert re.fullmatch(r"https://raw\.githubusercontent\.com/[\w-]+/[\w-]+/[0-9a-f]{40}/[\w/%-]+\.jpg", painting.url)
    assert re.fullmatch(r"[0-9a-f]{64}", painting.sha256)
