"""The plain channel to one endpoint: its connection, its state, the calls of each method on it, and its end."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import grpc
import grpc.aio

from weft.rpc.network.channel import MAX_MESSAGE_BYTES, client_options, dial

# More callables than this are not one program's methods: somebody makes their serializers anew each time.
MAX_CALLABLES = 1024


class Callee(NamedTuple):
    """A method as a stub asks for it."""

    # Name of the channel's method that makes it, such as "unary_unary".
    shape: str
    # "package.Service/Method".
    method: str
    serializer: Callable[[Any], bytes] | None
    deserializer: Callable[[bytes], Any] | None


class Connection:
    """Dials when it is first asked how it stands, and again whenever it is lost."""

    __slots__ = ("_address", "_callables", "_channel", "_max_message_bytes")

    def __init__(self, address: str, max_message_bytes: int = MAX_MESSAGE_BYTES) -> None:
        self._address = address
        self._max_message_bytes = max_message_bytes
        self._channel: grpc.aio.Channel | None = None
        self._callables: dict[Callee, Any] = {}

    def state(self) -> grpc.ChannelConnectivity:
        """How it stands now; one that is idle begins to connect."""
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
        """Cancel what runs on it, and close it."""
        if self._channel is not None:
            await self._channel.close()

    def _opened(self) -> grpc.aio.Channel:
        if self._channel is None:
            # Its own: endpoints at one address (an agent that was restarted) must not share fates.
            options = client_options(own_connection=True, max_message_bytes=self._max_message_bytes)
            self._channel = dial(self._address, options)
        return self._channel
