"""The endpoint that Prometheus scrapes: `GET /metrics` on a port of its own, in threads of its own.

It answers also while the event loop is blocked: figures are plain numbers, which any thread may read. Bounded: few scrapes at a
time, and a peer that does not read, or says nothing, is dropped.
"""

from __future__ import annotations

import gzip
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, cast

from weft.rpc.network.binding import why_not
from weft.rpc.process.logs import get_logger
from weft.rpc.telemetry.exposition import content_type, encode
from weft.rpc.telemetry.figures import Figures

_log = get_logger("weft.telemetry")

PATH = "/metrics"
_TIMEOUT_S = 10.0
_MOST_AT_A_TIME = 4


class MetricsBindError(Exception):
    """The address of the metrics cannot be used."""


def checked_address(value: str) -> str:
    """Check an address for metrics; empty: none.

    Raises:
        ValueError: it is not HOST:PORT.
    """
    host, _, port = value.rpartition(":")
    if value and not (host and port.isdecimal() and int(port) <= 65535):
        raise ValueError(f"{value!r} is not HOST:PORT, such as 127.0.0.1:9464")
    return value


class MetricsEndpoint:
    """Serves the figures of a process. `start`, then `address`; `close` ends it."""

    def __init__(self, figures: Figures, address: str) -> None:
        self._figures = figures
        self._asked = address
        self._server: _Server | None = None
        self.address = ""

    def start(self) -> None:
        """Serve.

        Raises:
            MetricsBindError: the address cannot be used; the message says why, and what to do.
        """
        host, _, port = self._asked.rpartition(":")
        try:
            self._server = server = _Server((host.strip("[]"), int(port)), self._figures)
        except OSError:
            raise MetricsBindError(
                f"cannot serve metrics on {self._asked}: {why_not(self._asked)}. Choose another address with"
                " --metrics HOST:PORT"
            ) from None
        self.address = f"{host}:{server.server_address[1]}"
        threading.Thread(
            target=server.serve_forever, kwargs={"poll_interval": 0.2}, name="weft-metrics", daemon=True
        ).start()
        _log.info("metrics.opened", address=self.address)

    def close(self) -> None:
        """Stop. Scrapes under way may end."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    # Else closing would wait for peers.
    block_on_close = False

    def __init__(self, address: tuple[str, int], figures: Figures) -> None:
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        self.figures = figures
        self.room = threading.BoundedSemaphore(_MOST_AT_A_TIME)
        super().__init__(address, _Scrape)

    def process_request(self, request: Any, client_address: Any) -> None:
        if self.room.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self.room.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """The scraper has gone: nothing to do."""


class _Scrape(BaseHTTPRequestHandler):
    timeout = _TIMEOUT_S

    def do_GET(self) -> None:
        if self.path.partition("?")[0] != PATH:
            self.send_error(404, f"there is {PATH} alone")
            return
        kind = content_type(self.headers.get("Accept", ""))
        body = encode(cast("_Server", self.server).figures.read(), kind)
        self.send_response(200)
        self.send_header("Content-Type", kind)
        if "gzip" in self.headers.get("Accept-Encoding", ""):
            body = gzip.compress(body, compresslevel=1)
            self.send_header("Content-Encoding", "gzip")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # the base class' name
        """Scrapes are not logged."""

    def version_string(self) -> str:
        return "weft"
