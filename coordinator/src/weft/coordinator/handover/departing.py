"""The calls of those who are still connected to a coordinator that has given its store away.

    serves ─► hold: calls wait ─► pass_on: they go to the successor, byte for byte     until their connections are renewed, which leads there
                                └► fail: there is none

Nothing of a call is known here: who calls, and what they may, is asked where the call arrives.
"""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
from grpc import aio

from weft.rpc import refusals
from weft.rpc.calls import metadata, relay
from weft.rpc.calls.late_handler import late_handler
from weft.rpc.errors import WeftError
from weft.rpc.network.channel import dial

# Agents dial anew for each session: their sessions need not go through here.
_SESSIONS = "/weft.v1.CoordinatorService/Connect"


class Departing(grpc.GenericRpcHandler):
    """Stands between a port and its handlers.

    Args:
        max_held: calls that wait for the successor at a time; more are refused.
    """

    def __init__(self, inner: grpc.GenericRpcHandler, max_held: int) -> None:
        self._inner, self._max_held = inner, max_held
        self._successor: asyncio.Future[aio.Channel] | None = None
        self._held = 0

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        if self._successor is None:
            return self._inner.service(handler_call_details)
        path: str = handler_call_details.method
        return late_handler(lambda _context: self._late(path))

    def hold(self) -> None:
        """From now on, calls wait."""
        self._successor = asyncio.get_running_loop().create_future()

    def pass_on(self, address: str) -> None:
        """Pass the calls that wait, and all that follow, on to the successor."""
        assert self._successor is not None, "hold comes first"
        if not self._successor.done():
            self._successor.set_result(dial(address))

    async def successor(self) -> aio.Channel:
        """Leads to the successor, once it serves.

        Raises:
            WeftError: there is none.
        """
        assert self._successor is not None, "hold comes first"
        return await asyncio.shield(self._successor)

    def fail(self, error: WeftError) -> None:
        """End the calls that wait, and all that follow: there is no successor."""
        if self._successor is None:
            self.hold()
        assert self._successor is not None
        if not self._successor.done():
            self._successor.set_exception(error)
            # Nobody may be waiting.
            self._successor.exception()

    async def close(self) -> None:
        """The port is closed."""
        if self._successor is not None and self._successor.done() and self._successor.exception() is None:
            await self._successor.result().close()

    async def _late(self, path: str) -> Any:
        if self._held >= self._max_held:
            raise refusals.overloaded(
                "too many calls wait while another coordinator takes over", retry_after_s=1.0
            )
        self._held += 1
        try:
            channel = await self.successor()
        finally:
            self._held -= 1
        if path == _SESSIONS:
            raise refusals.stopping("another coordinator has taken over; dial again", retry_after_s=0.0)
        return relay.handler(channel, path, outgoing=_unchanged)


def _unchanged(context: relay.Context) -> metadata.Pairs:
    return relay.passed_on(context, lambda key: key.startswith("weft-"), tokens=True)
