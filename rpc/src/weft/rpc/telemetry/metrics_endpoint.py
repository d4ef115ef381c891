"""The endpoint that Prometheus scrapes: `GET /metrics` on a port of its own, in threads of its own.

It answers also while the event loop is blocked: figures are plain numbers, which any thread may read. Bounded: few scrapes at a
time, and a peer that does not read, or says nothing, is dropped.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from weft.rpc.network.binding import why_not
from weft.rpc.process.logs import get_logger
from weft.rpc.telemetry.figures import Figures

if TYPE_CHECKING:
    from weft.rpc.telemetry.scrape_server import ScrapeServer

_log = get_logger("weft.telemetry")


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
        self._server: ScrapeServer | None = None
        self.address = ""

    def start(self) -> None:
        """Serve.

        Raises:
            MetricsBindError: the address cannot be used; the message says why, and what to do.
        """
        # Processes without an endpoint start sooner without it.
        from weft.rpc.telemetry.scrape_server import ScrapeServer

        host, _, port = self._asked.rpartition(":")
        try:
            self._server = server = ScrapeServer((host.strip("[]"), int(port)), self._figures)
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
