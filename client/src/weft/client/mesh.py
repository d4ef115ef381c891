"""The way in: `connect(target)` gives a `Mesh`, one connection to a coordinator with all its uses."""

from __future__ import annotations

import asyncio
from functools import cached_property
from types import TracebackType
from typing import Self

import grpc.aio

from weft.client.api import DEFAULT_TIMEOUT_S, Api, Unreachable
from weft.client.fleet import Fleet
from weft.client.tasks import Tasks
from weft.rpc.channel import client_options

DEFAULT_PATIENCE_S = 60.0


def connect(
    target: str = "127.0.0.1:7700",
    *,
    timeout_s: float = DEFAULT_TIMEOUT_S,
    patience_s: float = DEFAULT_PATIENCE_S,
) -> Mesh:
    """A connection to the coordinator at `target` ("host:port", or "unix:path"). It dials when it is first used.

        async with connect("127.0.0.1:7700") as mesh:
            reply = await AnalystStub(mesh.channel()).Analyze(request, timeout=60)

    Args:
        timeout_s: deadline of a call of the API, repeats included, unless the call has its own.
        patience_s: how long waits and streams outlive a coordinator that cannot be reached.
    """
    return Mesh(target, timeout_s=timeout_s, patience_s=patience_s)


class Mesh:
    """A coordinator, as a client sees it. Belongs to the event loop in which it is first used."""

    def __init__(self, target: str, *, timeout_s: float, patience_s: float) -> None:
        self.target = target
        self._timeout_s = timeout_s
        self._patience_s = patience_s
        self._channel: grpc.aio.Channel | None = None

    def channel(self) -> grpc.aio.Channel:
        """A channel to the coordinator. Any generated stub works on it, and each of its calls is durable.

        Such a call is a task that is waited for. `weft.client.call_options` makes metadata that says how to run it.
        """
        if self._channel is None:
            self._channel = grpc.aio.insecure_channel(self.target, options=client_options())
        return self._channel

    @cached_property
    def tasks(self) -> Tasks:
        """Durable calls as tasks."""
        return Tasks(self._api, patience_s=self._patience_s)

    @cached_property
    def fleet(self) -> Fleet:
        """Agents and queues."""
        return Fleet(self._api)

    @cached_property
    def _api(self) -> Api:
        return Api(self.channel(), self.target, timeout_s=self._timeout_s)

    async def ready(self, timeout_s: float = 5.0) -> None:
        """Wait until the coordinator is connected.

        Raises:
            Unreachable: it is not, within the time.
        """
        try:
            async with asyncio.timeout(timeout_s):
                await self.channel().channel_ready()
        except TimeoutError:
            raise Unreachable(self.target, f"tried for {timeout_s:g} s") from None

    async def close(self) -> None:
        """End all waits and close the connection."""
        if "tasks" in self.__dict__:
            await self.tasks.close()
        if self._channel is not None:
            await self._channel.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()
