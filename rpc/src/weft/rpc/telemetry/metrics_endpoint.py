"""The endpoint that Prometheus scrapes: `GET /metrics` on a port of its own, in threads of its own.

It answers also while the event loop is blocked: figures are plain numbers, which any thread may read. Bounded: few scrapes at a
time, and a peer that does not read, or says nothing, is dropped.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from weft.rpc.network.binding import OperatorsBindError, why_not
from weft.rpc.process.logs import get_logger
from weft.rpc.telemetry.figures import Figures

if TYPE_CHECKING:
    from weft.rpc.security.https_context import HttpsContext
    from weft.rpc.security.tls import Tls
    from weft.rpc.telemetry.scrape_server import ScrapeServer

_log = get_logger("weft.telemetry")


# Before an address: with TLS, by the certificate of the process.
HTTPS = "https://"


class MetricsBindError(OperatorsBindError):
    """The address of the metrics cannot be used."""


def checked_address(value: str) -> str:
    """Check an address for metrics; empty: none.

    Raises:
        ValueError: it is neither HOST:PORT nor https://HOST:PORT.
    """
    host, _, port = value.removeprefix(HTTPS).rpartition(":")
    if value and not (host and port.isdecimal() and int(port) <= 65535):
        raise ValueError(f"{value!r} is not HOST:PORT, such as 127.0.0.1:9464, nor {HTTPS}HOST:PORT")
    return value


class MetricsEndpoint:
    """Serves the figures of a process. `start`, then `address`; `close` ends it.

    Args:
        address: "host:port"; or "https://host:port", with TLS.
        tls: the certificates of the process, for TLS.
    """

    def __init__(self, figures: Figures, address: str, tls: Tls | None = None) -> None:
        self._figures = figures
        self._secure = address.startswith(HTTPS)
        self._asked = address.removeprefix(HTTPS)
        self._tls = tls
        self._server: ScrapeServer | None = None
        self.address = ""
        # Why a request is not let in, by its `Authorization` and the address that it comes from: status and text; None: it is.
        self.admit: Callable[[str, str], tuple[int, str] | None] = lambda _authorization, _peer: None

    def start(self) -> None:
        """Serve.

        Raises:
            MetricsBindError: the address cannot be used, or there is no certificate; the message says why, and what to do.
            InvalidArgument: a file of certificates cannot be used.
        """
        # Processes without an endpoint start sooner without it.
        from weft.rpc.telemetry.scrape_server import ScrapeServer

        host, _, port = self._asked.rpartition(":")
        try:
            self._server = server = ScrapeServer(
                (host.strip("[]"), int(port)),
                self._figures,
                self._https() if self._secure else None,
                self._admitted,
            )
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

    def _admitted(self, authorization: str, peer: str) -> tuple[int, str] | None:
        return self.admit(authorization, peer)

    def _https(self) -> HttpsContext:
        if self._tls is None or not self._tls.serves:
            raise MetricsBindError(
                f"metrics by {HTTPS} need a certificate: set WEFT_TLS_CERT and WEFT_TLS_KEY (--tls-cert, --tls-key)"
            )
        from weft.rpc.security.https_context import HttpsContext
        from weft.rpc.security.process_tls import files_of

        return HttpsContext(files_of(self._tls))

    def close(self) -> None:
        """Stop. Scrapes under way may end."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None
