"""Coordinators in the test's own process, with namespaces: calls in any of them, as a client and as an agent."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc.aio

from tests.support.redis_server import RedisServer
from weft.coordinator.server import Coordinator
from weft.coordinator.settings import CoordinatorSettings
from weft.rpc.network.channel import Route, client_options, dial
from weft.v1 import namespace_pb2
from weft.v1.namespace_pb2_grpc import NamespaceServiceStub


class Sites:
    """Two doors to one store: on Redis two coordinators, else the same one twice."""

    def __init__(self, coordinators: list[Coordinator], redis: RedisServer | None) -> None:
        self.coordinators = coordinators
        self.redis = redis
        self._channels: list[grpc.aio.Channel] = []

    def channel(self, namespace: str = "", at: int = 0) -> grpc.aio.Channel:
        """A channel whose calls are in a namespace, on a connection of its own."""
        address = self.coordinators[at % len(self.coordinators)].address
        channel = dial(address, client_options(own_connection=True), Route(namespace=namespace))
        self._channels.append(channel)
        return channel

    async def create(self, name: str) -> None:
        stub = NamespaceServiceStub(self.channel())
        await stub.CreateNamespace(namespace_pb2.CreateNamespaceRequest(name=name), timeout=10)

    async def close_channels(self) -> None:
        for channel in self._channels:
            await channel.close()


@contextlib.asynccontextmanager
async def sites_on(kind: str, folder: Path, **settings: Any) -> AsyncIterator[Sites]:
    """Coordinators on an embedded store, or on a Redis."""
    async with contextlib.AsyncExitStack() as stack:
        redis: RedisServer | None = None
        store = str(folder / "weft.db")
        if kind == "redis":
            redis = await stack.enter_async_context(RedisServer(folder / "redis"))
            store = redis.url
        made: list[Coordinator] = []
        for number in range(1 if redis is None else 2):
            given = CoordinatorSettings(
                listen="127.0.0.1:0", store=store, coordinator_id=f"site-{number}", **settings
            )
            coordinator = Coordinator(given)
            await coordinator.start()
            stack.push_async_callback(coordinator.stop, 0.0)
            made.append(coordinator)
        sites = Sites(made, redis)
        stack.push_async_callback(sites.close_channels)
        yield sites
