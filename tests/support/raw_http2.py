"""HTTP/2 by hand, for peers that break its rules or use them up: frames, headers without compression, and a connection.

Only what such peers need: no HPACK but literals, and no check of what the server sends.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import time
from collections.abc import Sequence
from typing import Self

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = 0, 1, 3, 4, 6, 7, 8, 9
END_STREAM, ACK, END_HEADERS = 1, 1, 4
FRAME_BYTES = 16_384
CANCEL = struct.pack(">I", 8)

# A line of a gigabit. Loopback has twenty times that: it would measure which process gets the cores.
LINE_BYTES_PER_S = 125_000_000

Pairs = Sequence[tuple[bytes, bytes]]


def frame(kind: int, flags: int = 0, stream: int = 0, body: bytes = b"") -> bytes:
    return struct.pack(">I", len(body))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + body


def literal(name: bytes, value: bytes) -> bytes:
    """A header that is not put into the table."""
    return b"\x00" + _text(name) + _text(value)


def _text(text: bytes) -> bytes:
    size = len(text)
    if size < 127:
        return bytes([size]) + text
    size, out = size - 127, [127]
    while size >= 128:
        out.append(size % 128 | 128)
        size //= 128
    return bytes([*out, size]) + text


def call_headers(path: str, *further: tuple[bytes, bytes]) -> bytes:
    """The headers of a gRPC call."""
    pairs: Pairs = [
        (b":method", b"POST"),
        (b":scheme", b"http"),
        (b":path", path.encode()),
        (b":authority", b"weft"),
        (b"content-type", b"application/grpc"),
        (b"te", b"trailers"),
        *further,
    ]
    return b"".join(literal(*pair) for pair in pairs)


def message(payload: bytes, *, compressed: bool = False, says_bytes: int | None = None) -> bytes:
    """A gRPC message; `says_bytes`: it claims to be of this size."""
    return struct.pack(">BI", compressed, len(payload) if says_bytes is None else says_bytes) + payload


class RawConnection:
    """A connection after its preface. `pump` reads what has come; the windows say what may be sent."""

    def __init__(self, target: str, *, window: bool = True, timeout_s: float = 5.0) -> None:
        host, _, port = target.rpartition(":")
        self.socket = socket.create_connection((host, int(port)), timeout=timeout_s)
        self.socket.sendall(PREFACE + frame(SETTINGS))
        if window:
            self.socket.sendall(frame(WINDOW_UPDATE, body=struct.pack(">I", (1 << 31) - 70_000)))
        self._timeout_s = timeout_s
        self._free_at = time.monotonic()
        self._pending = b""
        self.window, self.initial_window = 65_535, 65_535
        self.windows: dict[int, int] = {}
        # Frames that ended streams or the connection, and headers: (kind, stream, body).
        self.seen: list[tuple[int, int, bytes]] = []
        # The flags of headers that came: calls end with some.
        self.headers_seen: list[int] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self.socket.close()

    def send(self, *frames: bytes) -> None:
        """Send, as fast as the line is."""
        content, now = b"".join(frames), time.monotonic()
        if self._free_at - now > 0.01:
            time.sleep(self._free_at - now)
        self._free_at = max(self._free_at, now) + len(content) / LINE_BYTES_PER_S
        self.socket.settimeout(self._timeout_s)
        self.socket.sendall(content)

    def send_data(self, stream: int, content: bytes) -> int:
        """Send as much of it as the windows allow now. Returns how much."""
        window = self.windows.setdefault(stream, self.initial_window)
        size = max(0, min(FRAME_BYTES, window, self.window, len(content)))
        if size:
            self.send(frame(DATA, 0, stream, content[:size]))
            self.windows[stream] -= size
            self.window -= size
        return size

    def pump(self, timeout_s: float) -> bool:
        """Read once. False: nothing came, or the connection is closed."""
        self.socket.settimeout(max(timeout_s, 0.001))
        content = b""
        with contextlib.suppress(TimeoutError, ConnectionError):
            content = self.socket.recv(1 << 16)
        self._pending += content
        while len(self._pending) >= 9:
            size = int.from_bytes(self._pending[:3], "big")
            if len(self._pending) < 9 + size:
                break
            head, body = self._pending[:9], self._pending[9 : 9 + size]
            self._pending = self._pending[9 + size :]
            self._take(head[3], head[4], int.from_bytes(head[5:9], "big"), body)
        return bool(content)

    def _take(self, kind: int, flags: int, stream: int, body: bytes) -> None:
        if kind == WINDOW_UPDATE:
            more = int.from_bytes(body, "big")
            if stream:
                self.windows[stream] = self.windows.get(stream, self.initial_window) + more
            else:
                self.window += more
        elif kind == SETTINGS and not flags & ACK:
            for name, value in struct.iter_unpack(">HI", body):
                if name == 4:
                    self.windows = {
                        each: left + value - self.initial_window for each, left in self.windows.items()
                    }
                    self.initial_window = value
            # Until then the server counts with what it said before.
            self.send(frame(SETTINGS, ACK))
        elif kind == PING and not flags & ACK:
            self.send(frame(PING, ACK, 0, body))
        elif kind in (HEADERS, RST_STREAM, GOAWAY):
            if kind == HEADERS:
                self.headers_seen.append(flags)
            self.seen.append((kind, stream, body))
