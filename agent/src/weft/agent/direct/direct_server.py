"""The direct server: every hosted method on the agent's own port, for callers that know its address.

    caller ─► grpc.aio ─┬─► a hosted method's own RPC          direct_handlers.py ─┬─► slots ─► a handler run
                        └─► many calls on one Execute stream   execute_service.py ─┘   (full: refused)

Beside them AgentService, health and reflection. At the agent's end: NOT_SERVING and nothing new, then the running calls'
grace, then closed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

import grpc
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_health.v1 import health_pb2, health_pb2_grpc

from weft.agent.direct.direct_endings import Endings, not_hosted
from weft.agent.direct.direct_handlers import DirectHandlers, DirectParts, Handler
from weft.agent.direct.execute_service import AgentService
from weft.agent.direct.listening import not_bound
from weft.agent.direct.orca_service import OrcaReports
from weft.agent.hosting.hosted_methods import HostedMethod
from weft.rpc import health
from weft.rpc.contracts import descriptors
from weft.rpc.contracts.reflection import Reflection
from weft.rpc.health import Status
from weft.rpc.identity.edge import Edge
from weft.rpc.network.channel import make_server, server_options
from weft.rpc.network.ports import PortRefused, open_port
from weft.rpc.network.routes import Routes
from weft.rpc.security.tls_files import TlsFiles
from weft.v1 import agent_pb2_grpc, fleet_pb2

_OWN_SERVICE = "weft.v1.AgentService"
# After its goodbye an agent still refuses calls for this time, so that callers without the news try other agents.
LEAVE_GRACE_S = 0.5
# Time for cancelled calls to end before the server is abandoned.
_CLOSE_TIMEOUT_S = 1.0


class DirectServer:
    """The server. Made, started and stopped on the application's event loop.

    Args:
        methods: the hosted methods; they may change while it runs (see `update_methods`).
        parts: shared with durable attempts.
        contract: the serialized FileDescriptorSet behind the methods.
        describe: the agent as it is now.
        edge: in front of it.
    """

    def __init__(
        self,
        methods: Mapping[str, HostedMethod],
        parts: DirectParts,
        *,
        contract: bytes,
        describe: Callable[[], fleet_pb2.Agent],
        edge: Edge,
    ) -> None:
        self._slots = parts.slots
        self._endings = endings = Endings(parts.load, edge.why_ended)
        self._hosted = _Hosted(methods, contract)
        self._health = _Health(self._hosted, edge)
        # Refuses calls when the notice of that is over.
        self._refusing: asyncio.TimerHandle | None = None
        self._server = make_server(server_options(max_message_bytes=parts.max_message_bytes))
        routes = Routes(edge.behind(self._server))
        agent_pb2_grpc.add_AgentServiceServicer_to_server(
            AgentService(methods, parts, endings, describe, edge), routes
        )
        health_pb2_grpc.add_HealthServicer_to_server(self._health, routes)
        Reflection(self._hosted, [_OWN_SERVICE, health.SERVICE]).serve_on(routes)
        health.HealthLists(self._health).serve_on(routes)
        OrcaReports(parts.load, endings).serve_on(routes)
        routes.others = parts.calls.timed(_Methods(methods, DirectHandlers(parts, endings), endings))

    def bind(self, address: str, tls: TlsFiles | None = None) -> int:
        """Listen on the address. Returns the port.

        Args:
            tls: the certificate of the port; None: it is plain.

        Raises:
            ListenError: it cannot be had.
        """
        try:
            return open_port(self._server, address, tls)
        except PortRefused as refused:
            raise not_bound(address, refused) from None

    async def start(self) -> None:
        await self._server.start()

    def update_methods(self, contract: bytes) -> None:
        """Serve other methods, with this contract behind them."""
        self._hosted.read(contract)
        self._health.changed()

    def make_unavailable(self, services: frozenset[str]) -> None:
        """Report in health that these services take no calls, and that all others do."""
        self._health.unavailable = services
        self._health.changed()

    def accept(self, *, on: bool, notice_s: float = 0.0) -> None:
        """Take new calls, or refuse them.

        Args:
            notice_s: calls are taken for so long, while health says already that they are not.
        """
        if self._refusing is not None:
            self._refusing.cancel()
            self._refusing = None
        self._health.on = on
        if on or not notice_s:
            self._slots.open_direct(on=on)
        else:
            refuse = partial(self._slots.open_direct, on=False)
            self._refusing = asyncio.get_running_loop().call_later(notice_s, refuse)
        self._health.changed()

    async def stop(self, grace_s: float = 0.0) -> None:
        """Refuse new calls, cancel running ones, and close the port.

        Args:
            grace_s: new calls are refused for so long first. gRPC would end them as cancelled, or with the connection.
        """
        self.accept(on=False)
        await asyncio.sleep(grace_s)
        try:
            self._endings.closing = True
            async with asyncio.timeout(_CLOSE_TIMEOUT_S):
                await self._server.stop(None)
        except TimeoutError:
            # A handler that ignores its cancellation. Its process ends soon.
            return


class _Hosted:
    """The hosted services, for reflection and health."""

    def __init__(self, methods: Mapping[str, HostedMethod], contract: bytes) -> None:
        self._methods = methods
        self.pool = DescriptorPool()
        self.read(contract)

    def read(self, contract: bytes) -> None:
        self.pool = descriptors.build_pool(FileDescriptorSet.FromString(contract).file)

    def services(self) -> Iterable[str]:
        return {name.partition("/")[0] for name in self._methods}

    def of_service(self, service: str) -> _Hosted | None:
        return self if service in self.services() else None

    def in_force(self) -> Iterable[_Hosted]:
        return (self,)


class _Health(health.HealthService):
    def __init__(self, hosted: _Hosted, edge: Edge) -> None:
        super().__init__(edge)
        # Whether calls are taken at all.
        self.on = True
        self.unavailable: frozenset[str] = frozenset()
        self._hosted = hosted

    def services(self) -> Iterable[str]:
        return ("", _OWN_SERVICE, *sorted(self._hosted.services()))

    def status(self, service: str) -> health_pb2.HealthCheckResponse.ServingStatus:
        if service not in ("", _OWN_SERVICE) and service not in self._hosted.services():
            return Status.SERVICE_UNKNOWN
        takes_calls = self.on and service not in self.unavailable
        return Status.SERVING if takes_calls else Status.NOT_SERVING


class _Methods(grpc.GenericRpcHandler):
    """Finds the handler of a hosted method, and answers the calls of all others."""

    def __init__(
        self, methods: Mapping[str, HostedMethod], handlers: DirectHandlers, endings: Endings
    ) -> None:
        self._methods = methods
        self._making = handlers
        self._endings = endings
        # By path. Another hosting of the same method has its own entry.
        self._handlers: dict[str, tuple[HostedMethod, Handler]] = {}

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Handler:
        path = handler_call_details.method
        hosted = self._methods.get(path[1:])
        if hosted is None:
            return self._refusal(path[1:])
        known = self._handlers.get(path)
        if known is not None and known[0] is hosted:
            return known[1]
        handler = self._make(hosted)
        self._handlers[path] = (hosted, handler)
        return handler

    def _make(self, hosted: HostedMethod) -> Handler:
        if hosted.isolated is not None and hosted.request_streaming:
            # The requests of a stream cannot go to another process one by one.
            return self._refusal(hosted.name)
        return self._making.handler(hosted)

    def _refusal(self, name: str) -> Handler:
        async def refuse(_requests: Any, context: Any) -> None:
            await self._endings.refuse(not_hosted(name), context)

        # Any shape of call fits this one on the wire.
        return grpc.stream_stream_rpc_method_handler(refuse)
