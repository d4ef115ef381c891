"""The servicer of `envoy.service.discovery.v3.AggregatedDiscoveryService`: tells gRPC's own clients which agents they may call.

    the fleet ─► FollowedMesh: a version for each change ─► each stream: `ResourceSubscriptions` ─► one answer at a time
                                                                ▲
    requests ─► discovery_request ──────────────────────────────┘

The form is state of the world: gRPC's clients know no other. Nothing here waits by time: a stream sleeps until the fleet or its client says something.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
from grpc import aio

from weft.coordinator import guard
from weft.coordinator.doors.xds.discovery_request import DiscoveryAsked, discovery_asked
from weft.coordinator.doors.xds.followed_mesh import FollowedMesh
from weft.coordinator.doors.xds.subscriptions import ResourceSubscriptions
from weft.coordinator.namespaces.namespace import Namespace
from weft.coordinator.namespaces.namespaces import Namespaces
from weft.coordinator.settings import CoordinatorSettings
from weft.rpc import refusals
from weft.rpc.errors import WeftError
from weft.rpc.identity.caller import Caller
from weft.rpc.identity.edge import Edge
from weft.rpc.process.logs import get_logger

log = get_logger(__name__)

SERVICE = "envoy.service.discovery.v3.AggregatedDiscoveryService"
METHOD = f"{SERVICE}/StreamAggregatedResources"
# A stream says that its client has rejected an answer so often; further ones only count as answers.
_TOLD_REJECTIONS = 3


class AggregatedDiscovery:
    """Answers clients. One that may not call any method of a service is not told of it.

    Args:
        default: the mesh of streams that name no namespace.
        shows_certificate: clients show agents a certificate, if these have TLS.
        max_streams: most at a time.
        stalled_stream_s: a stream that is not read for so long, or on which nothing is asked first, ends.
    """

    def __init__(
        self,
        default: Namespace,
        others: Namespaces,
        edge: Edge,
        *,
        shows_certificate: bool,
        max_streams: int,
        stalled_stream_s: float,
    ) -> None:
        self._default = default
        self._others = others
        self._edge = edge
        self._shows_certificate = shows_certificate
        self._max_streams = max_streams
        self._stalled_s = stalled_stream_s
        self._streams = 0
        self._followed: dict[str, FollowedMesh] = {}
        self._ended: WeftError | None = None

    def add_to(self, server: Any) -> None:
        """Serve it by a server for generated code. Messages stay bytes: streams share what they are told."""
        handler: Any = grpc.stream_stream_rpc_method_handler(self._stream)
        server.add_registered_method_handlers(SERVICE, {METHOD.rpartition("/")[2]: handler})

    def close(self, why: WeftError) -> None:
        """End all streams."""
        self._ended = why
        for followed in list(self._followed.values()):
            followed.end(why)

    @guard.unary
    async def _stream(self, requests: AsyncIterator[bytes], context: aio.ServicerContext[Any, Any]) -> None:
        if self._streams >= self._max_streams:
            raise refusals.overloaded(f"there are {self._max_streams} streams already", retry_after_s=10.0)
        self._streams += 1
        try:
            first = await self._first(requests)
            if first is not None:
                caller = self._caller(context, first.namespace)
                followed = await self._follow(caller.namespace)
                stream = _Stream(self, followed, caller, context)
                await stream.serve(first, requests)
        finally:
            self._streams -= 1

    async def _first(self, requests: AsyncIterator[bytes]) -> DiscoveryAsked | None:
        """The first request. None: there was none."""
        try:
            async with asyncio.timeout(self._stalled_s):
                raw = await anext(requests, None)
        except TimeoutError:
            raise refusals.overloaded("nothing was asked on this stream; it was closed") from None
        return None if raw is None else discovery_asked(raw)

    def _caller(self, context: Any, namespace: str) -> Caller:
        """Who asks, in the namespace of its node: gRPC sends no metadata of weft's on this stream.

        Raises:
            PermissionDenied: OUT_OF_SCOPE.
        """
        caller = self._edge.caller(context)
        if namespace:
            caller = caller._replace(namespace=namespace)
            with self._edge.counting(context, METHOD):
                caller.check_namespace()
        return caller

    async def _follow(self, namespace: str) -> FollowedMesh:
        """A mesh, followed."""
        mesh = (await self._others.opened(namespace)).mesh if namespace else self._default
        if self._ended is not None:
            raise self._ended
        found = self._followed.get(namespace)
        if found is None or found.mesh is not mesh or found.ended is not None:
            found = self._followed[namespace] = FollowedMesh(mesh, shows_certificate=self._shows_certificate)
            found.start()
        return found

    def left(self, followed: FollowedMesh) -> None:
        """The last stream of a mesh has ended: it is not followed any more."""
        followed.stop()
        for namespace, found in list(self._followed.items()):
            if found is followed:
                del self._followed[namespace]

    async def write(self, context: Any, message: bytes, *, first: bool) -> None:
        """Send an answer.

        Raises:
            ResourceExhausted: the client does not read.
        """
        await guard.write(context, message, self._stalled_s, headers=() if first else None)

    def caller_now(self, context: Any, before: Caller) -> Caller:
        """Who asks, by what it may at this moment."""
        return self._edge.caller(context)._replace(namespace=before.namespace)


class _Stream:
    """One stream, from its first request to its end."""

    def __init__(
        self, discovery: AggregatedDiscovery, followed: FollowedMesh, caller: Caller, context: Any
    ) -> None:
        self._discovery = discovery
        self._followed = followed
        self._caller = caller
        self._context = context
        self._subscriptions = ResourceSubscriptions(self._may_see)
        self._rejections = 0
        self._woken = asyncio.Event()
        # Why no more requests come.
        self._failure: BaseException | None = None
        self._asks = True

    async def serve(self, first: DiscoveryAsked, requests: AsyncIterator[bytes]) -> None:
        """
        Raises:
            WeftError: why this coordinator ends the stream.
        """
        wake = self._woken.set
        self._followed.listen(wake)
        reader: asyncio.Task[None] | None = None
        try:
            if first.version:
                await self._followed.come_back()
            self._take(first)
            reader = asyncio.get_running_loop().create_task(self._read(requests), name="xds requests")
            await self._answer()
        finally:
            if reader is not None:
                reader.cancel()
            if self._followed.leave(wake):
                self._discovery.left(self._followed)

    async def _answer(self) -> None:
        is_first = True
        while True:
            self._woken.clear()
            if self._followed.ended is not None:
                raise self._followed.ended
            if self._failure is not None:
                raise self._failure
            self._caller = self._discovery.caller_now(self._context, self._caller)
            while (answer := self._subscriptions.next(self._followed.version)) is not None:
                await self._discovery.write(self._context, answer, first=is_first)
                is_first = False
            if not self._asks:
                return
            await self._woken.wait()

    async def _read(self, requests: AsyncIterator[bytes]) -> None:
        try:
            async for raw in requests:
                self._take(discovery_asked(raw))
                self._woken.set()
        except Exception as error:
            self._failure = error
        self._asks = False
        self._woken.set()

    def _take(self, asked: DiscoveryAsked) -> None:
        if self._subscriptions.ask(asked):
            return
        self._rejections += 1
        if self._rejections <= _TOLD_REJECTIONS:
            log.warning(
                "xds.rejected",
                peer=self._context.peer(),
                namespace=self._caller.namespace or "default",
                kind=asked.type_url.rpartition(".")[2],
                error=asked.rejected,
            )

    def _may_see(self, service: str) -> bool:
        if self._caller.sees_all:
            return True
        found = self._followed.version.services.get(service)
        return found is not None and any(self._caller.sees(method) for method in found.methods)


def served(
    default: Namespace, others: Namespaces, edge: Edge, settings: CoordinatorSettings, server: Any
) -> AggregatedDiscovery:
    """The servicer, added to a server for generated code."""
    made = AggregatedDiscovery(
        default,
        others,
        edge,
        shows_certificate=bool(settings.tls_client_ca) or settings.ca == "auto",
        max_streams=settings.max_watchers,
        stalled_stream_s=settings.stalled_stream_s,
    )
    made.add_to(server)
    return made
