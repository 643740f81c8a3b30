"""The cache of remote shards: a folder of limited size that all processes of a machine share."""

import os
import queue
import re
import threading
import time
from contextlib import suppress
from pathlib import Path

from filelock import FileLock

from fast_style.atomic_files import atomic_write
from fast_style.data.shards import remote
from fast_style.data.shards.index import Shard

# Seconds without a write after which a temporary file counts as left over from a killed download.
_ABANDONED = 600
# Names made by `_place_of`. Other files are never removed, except temporary files of downloads.
_OWN = re.compile(r"[0-9a-f]{16}-.+\.tar")


class ShardCache:
    """Local paths of shards; remote shards are downloaded, verified and evicted as needed.

    Args:
        folder: folder for remote shards; local shards stay where they are.
        max_bytes: limit of the folder's size; the least recently used shards are evicted first.
    """

    def __init__(self, folder: str, *, max_bytes: int) -> None:
        self.folder, self.max_bytes = Path(folder).expanduser(), max_bytes
        self._waiting: queue.SimpleQueue[Shard] | None = None
        self._process = 0

    def __getstate__(self) -> dict[str, object]:
        """Leave out the thread, which belongs to its process."""
        return {"folder": self.folder, "max_bytes": self.max_bytes, "_waiting": None, "_process": 0}

    def path_of(self, shard: Shard) -> str:
        """The path of the complete shard. Nobody changes this file, but another process may evict it.

        Raises:
            ValueError: the shard can't be downloaded, or it is damaged.
            OSError: the shard can't be written to the cache.
        """
        if not remote.is_remote(shard.url):
            return shard.url
        path = self._place_of(shard)
        with suppress(OSError):
            os.utime(path)  # Mark it as recently used.
            return str(path)
        self.folder.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_suffix(".lock")):
            if not path.exists():  # No other process downloaded it while this one waited.
                remote.retry(lambda: self._fetch(shard, path), shard.url)
        return str(path)

    def fetch_soon(self, shard: Shard) -> None:
        """Download a shard in the background."""
        if not remote.is_remote(shard.url) or self._place_of(shard).exists():
            return
        if self._waiting is None or self._process != os.getpid():
            self._waiting, self._process = queue.SimpleQueue(), os.getpid()
            threading.Thread(target=self._fetch_all, args=(self._waiting,), daemon=True).start()
        self._waiting.put(shard)

    def _fetch_all(self, waiting: "queue.SimpleQueue[Shard]") -> None:
        while True:
            # Ignore errors here: `path_of` meets and reports them when the shard is needed.
            with suppress(Exception):
                self.path_of(waiting.get())

    def _fetch(self, shard: Shard, path: Path) -> None:
        with atomic_write(path) as file:
            with FileLock(self.folder / "room.lock"):
                self._make_room(shard.bytes)
                file.truncate(shard.bytes)  # Reserve the space, so that other processes count it.
            if remote.copy(shard.url, file) != shard.sha256:
                raise remote.TransientError("its checksum differs from the index: the file or the download is damaged")

    def _make_room(self, needed: int) -> None:
        files = []
        for entry in self.folder.iterdir():
            with suppress(FileNotFoundError):
                status = entry.stat()
                if entry.suffix == ".tmp" and time.time() - status.st_mtime > _ABANDONED:
                    entry.unlink()
                elif entry.suffix != ".lock":
                    files.append((status.st_mtime, status.st_size, entry))
        excess = sum(size for _, size, _ in files) + needed - self.max_bytes
        for _, size, entry in sorted(files):
            if excess > 0 and _OWN.fullmatch(entry.name):
                entry.unlink(missing_ok=True)
                excess -= size

    def _place_of(self, shard: Shard) -> Path:
        assert shard.sha256 is not None
        return self.folder / f"{shard.sha256[:16]}-{Path(shard.name).stem}.tar"
