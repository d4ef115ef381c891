"""The plain channel to one endpoint: its connection, its state, and the callables of its methods."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any, NamedTuple

import grpc
import grpc.aio

from weft.rpc.network.channel import MAX_MESSAGE_BYTES, NO_TLS, Route, client_options, dial

# A program has fewer methods than this. With more callables, it makes new serializers for each call: then the cache is cleared.
MAX_CALLABLES = 1024


class Callee(NamedTuple):
    """A method as a stub asks for it."""

    # Name of the channel's method that makes the callable, such as "unary_unary".
    shape: str
    # "package.Service/Method".
    method: str
    serializer: Callable[[Any], bytes] | None
    deserializer: Callable[[bytes], Any] | None


class Connection:
    """A connection to one endpoint. It dials when its state is first asked for, and again whenever it is lost.

    Args:
        max_message_bytes: largest request or response.
        tls_name: the name in the endpoint's certificate; empty: it has no TLS.
        route: TLS of the connection, and what its calls show.
    """

    __slots__ = ("_address", "_callables", "_channel", "_max_message_bytes", "_route", "_tls_name")

    def __init__(
        self,
        address: str,
        max_message_bytes: int = MAX_MESSAGE_BYTES,
        tls_name: str = "",
        route: Route = NO_TLS,
    ) -> None:
        self._address = address
        self._tls_name = tls_name
        self._route = route
        self._max_message_bytes = max_message_bytes
        self._channel: grpc.aio.Channel | None = None
        self._callables: dict[Callee, Any] = {}

    def state(self) -> grpc.ChannelConnectivity:
        """The connection's state now. An idle connection begins to connect."""
        return self._opened().get_state(try_to_connect=True)

    def ready(self) -> bool:
        return self.state() is grpc.ChannelConnectivity.READY

    def callable(self, callee: Callee) -> Any:
        """The method's multicallable on this channel."""
        made = self._callables.get(callee)
        if made is None:
            if len(self._callables) >= MAX_CALLABLES:
                self._callables.clear()
            make = getattr(self._opened(), callee.shape)
            made = make(
                f"/{callee.method}",
                request_serializer=callee.serializer,
                response_deserializer=callee.deserializer,
            )
            self._callables[callee] = made
        return made

    async def close(self) -> None:
        """Cancel the calls on it, and close it."""
        if self._channel is not None:
            await self._channel.close()

    def _opened(self) -> grpc.aio.Channel:
        if self._channel is None:
            # Its own connection: two endpoints at one address (an agent before and after a restart) must not share one.
            options = client_options(own_connection=True, max_message_bytes=self._max_message_bytes)
            self._channel = dial(self._address, options, self._route, server_name=self._tls_name)
        return self._channel


def together(states: Collection[grpc.ChannelConnectivity]) -> grpc.ChannelConnectivity:
    """The connectivity of several connections as one."""
    for state in (grpc.ChannelConnectivity.READY, grpc.ChannelConnectivity.CONNECTING):
        if state in states:
            return state
    return grpc.ChannelConnectivity.TRANSIENT_FAILURE
