"""grpc.health.v1: SERVING means *able to receive work*, for the coordinator and for each hosted service."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import grpc
from grpc import aio
from grpc_health.v1 import health_pb2, health_pb2_grpc

from weft.coordinator.contracts import Contracts
from weft.coordinator.fleet import Fleet
from weft.coordinator.store.base import Store

OWN_SERVICES = frozenset({"", "weft.v1.CoordinatorService"})
MAX_WATCHERS = 4096
# A change that nobody announced (the store's health) is seen at the latest after this.
RECHECK_S = 1.0

_Status = health_pb2.HealthCheckResponse


class HealthService(health_pb2_grpc.HealthServicer):
    """Answers from the fleet as it is now; nothing is stored twice.

    The stock servicer writes to watchers under the lock that a change of status needs, so that one stalled watcher
    holds up all: here each watcher has its own event.
    """

    def __init__(self, store: Store, fleet: Fleet, contracts: Contracts) -> None:
        self._store = store
        self._fleet = fleet
        self._contracts = contracts
        self._stopping = False
        self._watchers: set[asyncio.Event] = set()

    def changed(self) -> None:
        for event in self._watchers:
            event.set()

    def stop(self) -> None:
        """NOT_SERVING from now on."""
        self._stopping = True
        self.changed()

    def status(self, service: str) -> health_pb2.HealthCheckResponse.ServingStatus:
        """The status of a service; SERVICE_UNKNOWN for one that is neither weft's nor hosted."""
        methods = () if service in OWN_SERVICES else self._methods_of(service)
        if service not in OWN_SERVICES and not methods:
            return _Status.SERVICE_UNKNOWN
        if self._stopping or not self._store.writable:
            return _Status.NOT_SERVING
        if service in OWN_SERVICES or self._fleet.serving(methods):
            return _Status.SERVING
        return _Status.NOT_SERVING

    def _methods_of(self, service: str) -> list[str]:
        prefix = f"{service}/"
        return [info.name for info in self._contracts.methods() if info.name.startswith(prefix)]

    async def Check(
        self,
        request: health_pb2.HealthCheckRequest,
        context: aio.ServicerContext[health_pb2.HealthCheckRequest, health_pb2.HealthCheckResponse],
    ) -> health_pb2.HealthCheckResponse:
        status = self.status(request.service)
        if status == _Status.SERVICE_UNKNOWN:
            await context.abort(grpc.StatusCode.NOT_FOUND, f"no service {request.service!r} is hosted here")
        return health_pb2.HealthCheckResponse(status=status)

    async def Watch(
        self,
        request: health_pb2.HealthCheckRequest,
        context: aio.ServicerContext[health_pb2.HealthCheckRequest, health_pb2.HealthCheckResponse],
    ) -> AsyncIterator[health_pb2.HealthCheckResponse]:
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
