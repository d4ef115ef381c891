"""The port for webhooks: its address, its TLS, and when it takes requests. aiohttp is imported when there is one, and never without."""

from __future__ import annotations

import asyncio
import ssl
from typing import TYPE_CHECKING, Any

from weft.rpc.identity.refused_calls import RefusedCalls
from weft.rpc.network.binding import OperatorsBindError, why_not
from weft.rpc.process.extras import require
from weft.rpc.process.logs import get_logger
from weft.rpc.security.https_context import HttpsContext
from weft.rpc.security.tls_files import TlsFiles

if TYPE_CHECKING:
    from weft.coordinator.hooks.hook_http import HookHttp, HookTaker

log = get_logger(__name__)

HTTPS = "https://"


class HookPort:
    """The port. `await bind()`, then `address`; `await start()` serves, `await stop()` ends it.

    Args:
        address: "host:port"; or "https://host:port", by TLS. Empty: there is none.
        files: the certificates of the process.
        refused: told of requests that are not signed.
    """

    def __init__(self, address: str, files: TlsFiles | None, hooks: HookTaker, refused: RefusedCalls) -> None:
        self._secure = address.startswith(HTTPS)
        self._asked = address.removeprefix(HTTPS)
        self._files = files
        self._hooks = hooks
        self._refused = refused
        self._server: asyncio.Server | None = None
        self.http: HookHttp | None = None
        self.address = ""

    async def bind(self) -> None:
        """Take the address, if there is one.

        Raises:
            OperatorsBindError: the address cannot be used, or there is no certificate.
            MissingExtra: aiohttp is not installed.
        """
        if not self._asked:
            return
        require("http")
        from weft.coordinator.hooks.hook_http import HANDSHAKE_S, HookHttp

        self.http = http = HookHttp(self._hooks, self._refused)
        host, _, port = self._asked.rpartition(":")
        context = self._context() if self._secure else None
        options: dict[str, Any] = {"ssl_handshake_timeout": HANDSHAKE_S} if context is not None else {}
        try:
            self._server = await asyncio.get_running_loop().create_server(
                http.connection,
                host.strip("[]"),
                int(port),
                ssl=context,
                reuse_address=True,
                start_serving=False,
                **options,
            )
        except OSError:
            raise OperatorsBindError(
                f"cannot serve webhooks on {self._asked}: {why_not(self._asked)}. Choose another address with --hooks HOST:PORT"
            ) from None
        self.address = f"{host}:{self._server.sockets[0].getsockname()[1]}"

    async def start(self) -> None:
        """Take requests."""
        if self._server is not None:
            await self._server.start_serving()
            log.info("hooks.opened", address=self.address)

    async def stop(self, grace_s: float) -> None:
        """Take no more requests; those under way may end."""
        if self._server is not None:
            self._server.close()
        if self.http is not None:
            await self.http.stop(grace_s)

    def _context(self) -> ssl.SSLContext:
        if self._files is None or not self._files.tls.serves:
            raise OperatorsBindError(
                f"webhooks by {HTTPS} need a certificate: set WEFT_TLS_CERT and WEFT_TLS_KEY (--tls-cert, --tls-key)"
            )
        contexts = HttpsContext(self._files, asks_callers=False)
        context = contexts.present()

        def follow(connection: ssl.SSLObject, _name: str | None, _context: ssl.SSLContext) -> None:
            # The certificate may have been renewed.
            connection.context = contexts.present()

        context.sni_callback = follow
        return context
