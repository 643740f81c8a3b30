"""A server with the few answers of the Hugging Face Hub that loading a data set needs."""

import json
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from hashlib import sha256
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import unquote, urlsplit

from faulty_server import answer, running

COMMIT = "a" * 40


class HubRequest(BaseHTTPRequestHandler):
    """Answers for one data set; `faults` lists by file name how the next answers fail."""

    protocol_version = "HTTP/1.1"

    def __init__(self, *args: Any, name: str, files: dict[str, bytes], **options: Any) -> None:
        self.name, self.files = name, files
        self.asked, self.faults = options.pop("asked"), options.pop("faults")
        super().__init__(*args, **options)

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self.asked.append((self.command, path, self.headers.get("User-Agent", "")))
        api, files = f"/api/datasets/{self.name}", f"/datasets/{self.name}/resolve/"
        if path.startswith(f"{api}/tree"):
            self._list(path.removeprefix(f"{api}/tree/").partition("/")[2])
        elif path.startswith(api):
            self._say({"id": self.name, "sha": COMMIT, "siblings": [{"rfilename": file} for file in self.files]})
        elif path.startswith(files):
            self._send(path.removeprefix(files).partition("/")[2])
        else:
            self._say({"error": "Repository not found"}, status=404, X_Error_Code="RepoNotFound")

    def do_HEAD(self) -> None:
        self.do_GET()

    def _say(self, content: object, **options: Any) -> None:
        answer(self, json.dumps(content).encode(), None, **options)

    def _list(self, folder: str) -> None:
        below = f"{folder}/" if folder else ""
        inside = {file for file in self.files if file.startswith(below)}
        deep = "recursive=true" in self.path.lower()
        here = {file for file in inside if deep or "/" not in file.removeprefix(below)}
        folders = {below + file.removeprefix(below).partition("/")[0] for file in inside - here}
        if inside:
            self._say(
                [{"type": "directory", "path": path, "oid": "0", "size": 0} for path in folders]
                + [*map(self._entry, here)]
            )
        else:
            self._say({"error": "Entry not found"}, status=404, X_Error_Code="EntryNotFound")

    def _entry(self, file: str) -> dict[str, object]:
        content = self.files[file]
        lfs = {"oid": sha256(content).hexdigest(), "size": len(content), "pointerSize": 1}
        return {"type": "file", "path": file, "size": len(content), "oid": "0" * 40, "lfs": lfs}

    def _send(self, file: str) -> None:
        if file not in self.files:
            answer(self, b"", None, status=404, X_Error_Code="EntryNotFound", X_Repo_Commit=COMMIT)
            return
        content = self.files[file]
        digest = f'"{sha256(content).hexdigest()}"'
        headers = {"ETag": digest, "X_Linked_Etag": digest, "X_Linked_Size": str(len(content)), "X_Repo_Commit": COMMIT}
        start = int(self.headers.get("Range", "bytes=0-").removeprefix("bytes=").partition("-")[0])
        if start:
            headers["Content_Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        fault = self.faults[file].pop(0) if self.command == "GET" and self.faults[file] else None
        answer(self, content[start:], fault, status=206 if start else 200, **headers)


@contextmanager
def hub_with(
    name: str, files: dict[str, bytes], faults: dict[str, list[str]] | None = None
) -> Iterator[tuple[str, list[tuple[str, str, str]]]]:
    """The URL of a Hub that has one data set, and the method, path and user agent of the requests so far."""
    asked: list[tuple[str, str, str]] = []
    with running(
        partial(HubRequest, name=name, files=files, faults=defaultdict(list, faults or {}), asked=asked)
    ) as url:
        yield url, asked
