"""TCP connections from every process to rank 0, so that all processes learn at once that one of them died.

Without them, a collective on GPUs waits half an hour for a dead process. The operating system closes the connections of
a process that dies.
"""

import secrets
import selectors
import socket
import struct
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, TypeVar

T = TypeVar("T")

#: Messages on a connection; any other number is the rank of a process that died.
DONE, FAILED = -1, -2

_NUMBER = struct.Struct("!i")
_TOKEN_BYTES = 16
#: Detects a machine without power after 10 + 3 x 5 seconds.
_KEEPALIVE = {"TCP_KEEPIDLE": 10, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 3}


class PeerMonitor:
    """This process's end of the connections; a thread listens to them.

    Args:
        lines: connections by the rank at their other end. Rank 0 is connected to all ranks, the others to rank 0.
        on_end: called in the listening thread when a process ends early: with its rank, or with `FAILED` if the process
            reported an error of its own.
    """

    def __init__(self, lines: Mapping[int, socket.socket], on_end: Callable[[int], None]) -> None:
        self._lines, self._on_end = dict(lines), on_end
        self._ended: int | None = None
        self._known = threading.Event()
        self._listener = threading.Thread(target=self._listen, name="peer-monitor", daemon=True)
        self._listener.start()

    def ended(self, seconds: float) -> int | None:
        """The argument of `on_end`, or None if no process ended within `seconds`."""
        self._known.wait(seconds)
        return self._ended

    def leave(self, word: int, *, wait: float = 10) -> None:
        """Send `DONE` or `FAILED`; after `DONE`, wait up to `wait` seconds for the others' `DONE`."""
        self._tell(word)
        if word == DONE:
            self._listener.join(wait)
        for line in self._lines.values():
            with suppress(OSError):
                line.shutdown(socket.SHUT_WR)

    def _tell(self, word: int) -> None:
        for line in self._lines.values():
            with suppress(OSError):
                line.sendall(_NUMBER.pack(word))

    def _listen(self) -> None:
        with selectors.DefaultSelector() as selector:
            for rank, line in self._lines.items():
                selector.register(line, selectors.EVENT_READ, rank)
            while selector.get_map():
                for key, _ in selector.select():
                    word = _read_number(key.fileobj)
                    if word == DONE:
                        selector.unregister(key.fileobj)
                        continue
                    self._ended = key.data if word is None else word
                    self._known.set()
                    self._tell(self._ended)
                    return self._on_end(self._ended)
        return None


def listen(count: int, share: Callable[[Any], Any], *, timeout: float = 120) -> dict[int, socket.socket]:
    """Accept a connection from every other process (rank 0 only).

    Args:
        count: number of processes.
        share: sends an object to all other processes: port and token.
        timeout: seconds to wait.

    Returns:
        Connections by rank.

    Raises:
        TimeoutError: a process did not connect in time.
    """
    token = secrets.token_bytes(_TOKEN_BYTES)
    lines: dict[int, socket.socket] = {}
    with socket.create_server(("", 0), backlog=count) as server:
        share((server.getsockname()[1], token))
        server.settimeout(timeout)
        while len(lines) < count - 1:
            line, _ = server.accept()
            line.settimeout(timeout)
            # A stranger that finds the port does not know the token.
            if _read(line, _TOKEN_BYTES) == token and (rank := _read_number(line)) is not None:
                lines[rank] = _kept(line)
            else:
                line.close()
    return lines


def connect(rank: int, address: str, share: Callable[[Any], Any], *, timeout: float = 120) -> dict[int, socket.socket]:
    """Connect to rank 0 at `address`; `share` receives port and token. Returns the connection by rank."""
    port, token = share(None)
    line = socket.create_connection((address, port), timeout)
    line.sendall(token + _NUMBER.pack(rank))
    return {0: _kept(line)}


def _kept(line: socket.socket) -> socket.socket:
    line.settimeout(None)
    line.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, seconds in _KEEPALIVE.items():
        if hasattr(socket, name):
            line.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), seconds)
    return line


def _read_number(line: Any) -> int | None:
    data = _read(line, _NUMBER.size)
    return None if data is None else int(_NUMBER.unpack(data)[0])


def _read(line: socket.socket, size: int) -> bytes | None:
    data = b""
    with suppress(OSError):
        while len(data) < size and (part := line.recv(size - len(data))):
            data += part
    return data if len(data) == size else None
