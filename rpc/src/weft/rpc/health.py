"""grpc.health.v1 for every server of weft: SERVING means *able to receive work*, for "" and for each service.

The stock servicer writes to its watchers under the lock that a change of status needs, so that one watcher that does not read
blocks all. Here the status is computed when it is needed, and each watcher has its own event.
"""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from collections.abc import AsyncIterator, Iterable
from typing import Any

import grpc
from google.protobuf.message_factory import GetMessageClass
from grpc import aio
from grpc_health.v1 import health_pb2, health_pb2_grpc

from weft.rpc.calls import relay
from weft.rpc.contracts import descriptors
from weft.rpc.contracts.health_contract import health_file
from weft.rpc.errors import WeftError
from weft.rpc.identity.edge import Edge
from weft.rpc.network.routes import Routes

SERVICE = "grpc.health.v1.Health"
MAX_WATCHERS = 4096
# Watchers see a change without an announcement after this time at the latest.
RECHECK_S = 1.0

Status = health_pb2.HealthCheckResponse


_LIST_RESPONSE: Any = GetMessageClass(
    descriptors.build_pool([health_file()]).FindMessageTypeByName("grpc.health.v1.HealthListResponse")
)


class HealthLists:
    """`grpc.health.v1.Health/List`: the status of every service at once."""

    def __init__(self, health: HealthService) -> None:
        self._health = health
        self._handler: Any = grpc.unary_unary_rpc_method_handler(self._list)

    def serve_on(self, routes: Routes) -> None:
        routes.add(f"/{SERVICE}/List", self._handler)

    async def _list(self, _request: bytes, _context: Any) -> bytes:
        answer = _LIST_RESPONSE()
        for name in self._health.services():
            answer.statuses[name].status = self._health.status(name)
        listed: bytes = answer.SerializeToString()
        return listed


class HealthService(health_pb2_grpc.HealthServicer):
    """The health service. A server implements `status` and `services`."""

    def __init__(self, edge: Edge | None = None) -> None:
        """
        Args:
            edge: of the server, if it may ask for tokens. Without one a caller learns the health of the server itself, no more.
        """
        self._watchers: set[asyncio.Event] = set()
        self._edge = edge

    @abstractmethod
    def status(self, service: str) -> health_pb2.HealthCheckResponse.ServingStatus:
        """The status of a service now. SERVICE_UNKNOWN: it is neither weft's own nor hosted."""

    @abstractmethod
    def services(self) -> Iterable[str]:
        """The services that have a status, including ""."""

    def changed(self) -> None:
        """Tell the watchers that a status may have changed."""
        for event in self._watchers:
            event.set()

    async def _check_caller(self, service: str, context: aio.ServicerContext[Any, Any]) -> None:
        if service and self._edge is not None:
            try:
                self._edge.caller(context)
            except WeftError as error:
                await relay.refuse(error, context)

    async def Check(
        self,
        request: health_pb2.HealthCheckRequest,
        context: aio.ServicerContext[health_pb2.HealthCheckRequest, health_pb2.HealthCheckResponse],
    ) -> health_pb2.HealthCheckResponse:
        await self._check_caller(request.service, context)
        status = self.status(request.service)
        if status == Status.SERVICE_UNKNOWN:
            await context.abort(grpc.StatusCode.NOT_FOUND, f"no service {request.service!r} is hosted here")
        return health_pb2.HealthCheckResponse(status=status)

    async def Watch(
        self,
        request: health_pb2.HealthCheckRequest,
        context: aio.ServicerContext[health_pb2.HealthCheckRequest, health_pb2.HealthCheckResponse],
    ) -> AsyncIterator[health_pb2.HealthCheckResponse]:
        await self._check_caller(request.service, context)
        if len(self._watchers) >= MAX_WATCHERS:
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "too many health watchers")
        event = asyncio.Event()
        self._watchers.add(event)
        loop = asyncio.get_running_loop()
        last: health_pb2.HealthCheckResponse.ServingStatus | None = None
        try:
            while True:
                status = self.status(request.service)
                if status != last:
                    last = status
                    yield health_pb2.HealthCheckResponse(status=status)
                timer = loop.call_later(RECHECK_S, event.set)
                await event.wait()
                timer.cancel()
                event.clear()
        finally:
            self._watchers.discard(event)
