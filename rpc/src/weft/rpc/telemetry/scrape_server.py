"""The HTTP server behind the endpoint for Prometheus."""

from __future__ import annotations

import gzip
import socket
import threading
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, cast

from weft.rpc.telemetry.exposition import content_type, encode
from weft.rpc.telemetry.figures import Figures

if TYPE_CHECKING:
    from weft.rpc.security.https_context import HttpsContext

PATH = "/metrics"
_TIMEOUT_S = 10.0
_MOST_AT_A_TIME = 4


# By the `Authorization` of a request, and the address that it comes from.
Admit = Callable[[str, str], tuple[int, str] | None]


def _everybody(_authorization: str, _peer: str) -> None:
    """Let a request in."""


class ScrapeServer(ThreadingHTTPServer):
    """Serves figures, few scrapes at a time."""

    daemon_threads = True
    # Else closing would wait for peers.
    block_on_close = False

    def __init__(
        self,
        address: tuple[str, int],
        figures: Figures,
        https: HttpsContext | None = None,
        admit: Admit = _everybody,
    ) -> None:
        """
        Args:
            https: None: it has no TLS.
            admit: why a request is not let in: status and text; None: it is.
        """
        self._https = https
        self.admit = admit
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
            super().process_request_thread(self._secured(request), client_address)
        except OSError:
            # No handshake, or none in time.
            self.shutdown_request(request)
        finally:
            self.room.release()

    def _secured(self, request: socket.socket) -> socket.socket:
        """The connection after its handshake, if there is one. In the connection's own thread."""
        if self._https is None:
            return request
        request.settimeout(_TIMEOUT_S)
        return self._https.present().wrap_socket(request, server_side=True)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """The scraper has gone: nothing to do."""


class _Scrape(BaseHTTPRequestHandler):
    timeout = _TIMEOUT_S

    def do_GET(self) -> None:
        if self.path.partition("?")[0] != PATH:
            self.send_error(404, f"there is {PATH} alone")
            return
        refused = cast("ScrapeServer", self.server).admit(
            self.headers.get("Authorization", ""), str(self.client_address[0])
        )
        if refused is not None:
            self._refuse(*refused)
            return
        kind = content_type(self.headers.get("Accept", ""))
        body = encode(cast("ScrapeServer", self.server).figures.read(), kind)
        self.send_response(200)
        self.send_header("Content-Type", kind)
        if "gzip" in self.headers.get("Accept-Encoding", ""):
            body = gzip.compress(body, compresslevel=1)
            self.send_header("Content-Encoding", "gzip")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _refuse(self, status: int, text: str) -> None:
        body = f"{text}\n".encode()
        self.send_response(status)
        if status == HTTPStatus.UNAUTHORIZED:
            self.send_header("WWW-Authenticate", "Bearer")
        self.send_header("Content-Type", "text/plain; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # the base class' name
        """Scrapes are not logged."""

    def version_string(self) -> str:
        return "weft"
