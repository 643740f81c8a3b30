"""Shards from afar, kept in a folder of bounded size that all processes of a machine share."""

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

# What a killed download left, once nobody has written to it for so many seconds.
_ABANDONED = 600
# What `_place_of` calls a shard; nothing else in the folder is ever removed.
_OWN = re.compile(r"[0-9a-f]{16}-.+\.tar")


class ShardCache:
    """Where each shard lies on this machine; fetched, compared with its checksum, and evicted, as needed.

    Args:
        folder: for shards from afar; those on this machine stay where they are.
        max_bytes: what the folder may hold; the shards that were not read for the longest time go first.
    """

    def __init__(self, folder: str, *, max_bytes: int) -> None:
        self.folder, self.max_bytes = Path(folder).expanduser(), max_bytes
        self._waiting: queue.SimpleQueue[Shard] | None = None
        self._process = 0

    def __getstate__(self) -> dict[str, object]:
        """Without the thread, which stays in its process."""
        return {"folder": self.folder, "max_bytes": self.max_bytes, "_waiting": None, "_process": 0}

    def path_of(self, shard: Shard) -> str:
        """A whole file, which nobody changes though somebody may evict it.

        Raises:
            ValueError: it can't be fetched, or comes damaged.
            OSError: it can't be written here.
        """
        if not remote.is_remote(shard.url):
            return shard.url
        path = self._place_of(shard)
        with suppress(OSError):
            os.utime(path)  # It was needed just now.
            return str(path)
        self.folder.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_suffix(".lock")):
            if not path.exists():  # Nobody else fetched it while this process waited.
                remote.retry(lambda: self._fetch(shard, path), shard.url)
        return str(path)

    def fetch_soon(self, shard: Shard) -> None:
        """Fetch it in the background."""
        if not remote.is_remote(shard.url) or self._place_of(shard).exists():
            return
        if self._waiting is None or self._process != os.getpid():
            self._waiting, self._process = queue.SimpleQueue(), os.getpid()
            threading.Thread(target=self._fetch_all, args=(self._waiting,), daemon=True).start()
        self._waiting.put(shard)

    def _fetch_all(self, waiting: "queue.SimpleQueue[Shard]") -> None:
        while True:
            # What goes wrong here is met, and said, by who comes to need the shard.
            with suppress(Exception):
                self.path_of(waiting.get())

    def _fetch(self, shard: Shard, path: Path) -> None:
        with atomic_write(path) as file:
            with FileLock(self.folder / "room.lock"):
                self._make_room(shard.bytes)
                file.truncate(shard.bytes)  # Taken, as others who make room will see.
            if remote.copy(shard.url, file) != shard.sha256:
                raise remote.TransientError("its checksum is not the one in the index: it is damaged, or came so")

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
