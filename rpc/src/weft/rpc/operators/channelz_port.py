"""The port on which operators look at this process' connections: channelz, with health and reflection, and nothing else."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterable
from typing import TYPE_CHECKING

from grpc import aio
from grpc_health.v1 import health_pb2, health_pb2_grpc

from weft.rpc import health
from weft.rpc.contracts.reflection import Reflection, ServiceFiles
from weft.rpc.health import Status
from weft.rpc.network.binding import OperatorsBindError
from weft.rpc.network.channel import make_server
from weft.rpc.network.ports import PortRefused, open_port
from weft.rpc.network.routes import Routes
from weft.rpc.process.logs import get_logger

if TYPE_CHECKING:
    from weft.rpc.operators.channelz_service import ChannelzService
    from weft.rpc.security.tls_files import TlsFiles

_CHANNELZ = "grpc.channelz.v1.Channelz"
# Time for calls in flight at the end.
_CLOSE_S = 1.0

_log = get_logger("weft.channelz")


class ChannelzPort:
    """The server of that port. `await start()`, then `address`; `await stop()` ends it.

    Args:
        address: "host:port"; empty: there is none, and nothing is loaded for it.
        files: the certificate of the process' ports; None: they are plain.
    """

    _server: aio.Server | None = None
    _service: ChannelzService | None = None
    address = ""

    def __init__(self, address: str, files: TlsFiles | None = None) -> None:
        self._asked, self._files = address, files

    async def start(self) -> None:
        """Serve.

        Raises:
            OperatorsBindError: the address cannot be used; the message says why, and what to do.
        """
        if not self._asked:
            return
        # Loaded by processes that are asked for it alone.
        from weft.rpc.operators.channelz_service import ChannelzService

        server = make_server()
        try:
            port = open_port(server, self._asked, self._files)
        except PortRefused as refused:
            raise OperatorsBindError(
                f"cannot serve channelz on {self._asked}: {refused}. Choose another address with"
                " --channelz HOST:PORT"
            ) from None
        service, status, routes = ChannelzService(), _Health(), Routes(server)
        health_pb2_grpc.add_HealthServicer_to_server(status, routes)
        Reflection(_NothingHosted(), [_CHANNELZ, health.SERVICE]).serve_on(routes)
        health.HealthLists(status).serve_on(routes)
        routes.others = service
        await server.start()
        self._server, self._service = server, service
        self.address = f"{self._asked.rpartition(':')[0]}:{port}"
        _log.info("channelz.opened", address=self.address)

    async def stop(self) -> None:
        """Close the port. Calls in flight are cancelled."""
        if self._server is None or self._service is None:
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_CLOSE_S):
                await self._server.stop(None)
        self._service.close()
        self._server = self._service = None


@contextlib.asynccontextmanager
async def channelz_port(address: str) -> AsyncIterator[ChannelzPort]:
    """A port that is open meanwhile.

    Raises:
        OperatorsBindError: the address cannot be used.
    """
    port = ChannelzPort(address)
    await port.start()
    try:
        yield port
    finally:
        await port.stop()


class _Health(health.HealthService):
    def services(self) -> Iterable[str]:
        return ("", _CHANNELZ)

    def status(self, service: str) -> health_pb2.HealthCheckResponse.ServingStatus:
        return Status.SERVING if service in self.services() else Status.SERVICE_UNKNOWN


class _NothingHosted:
    """For reflection: this port has no services of applications."""

    def services(self) -> Iterable[str]:
        return ()

    def of_service(self, service: str) -> ServiceFiles | None:  # noqa: ARG002
        return None

    def in_force(self) -> Iterable[ServiceFiles]:
        return ()
