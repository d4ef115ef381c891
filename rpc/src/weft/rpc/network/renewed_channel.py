"""A channel whose credentials change while it is used. Each call begins on the newest connection.

    new certificates ─► another channel connects ─► it is ready ─► new calls go there; the old one is closed after its last call

As long as the other channel cannot connect, calls stay on the old one: wrong certificates do not cut a connection that works.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from typing import Any, Self

import grpc
from grpc import aio

from weft.rpc.process.logs import get_logger

_log = get_logger("weft.tls")

READY_TIMEOUT_S = 10.0
RETRY_S = 30.0
_READY = grpc.ChannelConnectivity.READY


class _Generation:
    """One plain channel, and its calls that have not ended."""

    def __init__(self, channel: aio.Channel, closing: set[asyncio.Task[None]]) -> None:
        self.channel = channel
        self.calls = 0
        self._closing = closing
        self._retired = False

    def began(self, call: Any) -> Any:
        self.calls += 1
        call.add_done_callback(self._ended)
        return call

    def retire(self) -> None:
        """Close it when its last call has ended."""
        self._retired = True
        self._close_when_idle()

    def _ended(self, _call: Any) -> None:
        self.calls -= 1
        if self._retired:
            self._close_when_idle()

    def _close_when_idle(self) -> None:
        if not self.calls:
            task = asyncio.get_running_loop().create_task(self.channel.close())
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)


class _Callable:
    """A method of a stub, on whichever channel is the newest."""

    def __init__(
        self, channel: RenewedChannel, shape: str, made_by: tuple[Any, ...], how: dict[str, Any]
    ) -> None:
        self._channel = channel
        self._shape, self._made_by, self._how = shape, made_by, how
        self._of: _Generation | None = None
        self._plain: Any = None

    def __call__(self, *args: Any, **how: Any) -> Any:
        generation = self._channel.newest()
        if generation is not self._of:
            self._plain = getattr(generation.channel, self._shape)(*self._made_by, **self._how)
            self._of = generation
        return generation.began(self._plain(*args, **how))


class RenewedChannel(aio.Channel):
    """The channel. Made and used on one event loop.

    Args:
        make: a plain channel with the present credentials.
        version: is another one when there are other credentials.
        address: for the log.
    """

    def __init__(self, make: Callable[[], aio.Channel], version: Callable[[], object], address: str) -> None:
        self._make = make
        self._version = version
        self._address = address
        self._closing: set[asyncio.Task[None]] = set()
        self._retired: list[_Generation] = []
        self._of = version()
        self._newest = _Generation(make(), self._closing)
        self._renewing: asyncio.Task[None] | None = None
        self._retry_at_s = 0.0
        # Set at each change of the newest channel.
        self._renewed = asyncio.Event()
        self._closed = False

    def newest(self) -> _Generation:
        """The channel for a call that begins now."""
        if self._version() != self._of and not self._closed:
            self._renew()
        return self._newest

    def _renew(self) -> None:
        if self._newest.channel.get_state() is not _READY:
            # There is no connection to keep.
            self._take(self._version(), self._make())
        elif self._renewing is None and time.monotonic() >= self._retry_at_s:
            self._renewing = asyncio.get_running_loop().create_task(self._connect(), name="channel-renewal")

    async def _connect(self) -> None:
        """Connect another channel, and take it when it is ready."""
        version, channel = self._version(), self._make()
        try:
            async with asyncio.timeout(READY_TIMEOUT_S):
                await channel.channel_ready()
        except TimeoutError:
            self._retry_at_s = time.monotonic() + RETRY_S
            self._not_renewed()
            await channel.close()
        except BaseException:
            await channel.close()
            raise
        else:
            self._take(version, channel)
        finally:
            self._renewing = None

    def _not_renewed(self) -> None:
        _log.warning(
            "tls.not_renewed",
            address=self._address,
            error=f"no connection with the new certificates in {READY_TIMEOUT_S:g} s",
            effect="the connection that there is stays in use",
        )

    def _take(self, version: object, channel: aio.Channel) -> None:
        old, self._newest, self._of = self._newest, _Generation(channel, self._closing), version
        self._retired = [each for each in (*self._retired, old) if each.calls]
        old.retire()
        renewed, self._renewed = self._renewed, asyncio.Event()
        renewed.set()

    # -- the interface of a channel -----------------------------------------------------------------------------------

    def unary_unary(self, *made_by: Any, **how: Any) -> Any:
        return _Callable(self, "unary_unary", made_by, how)

    def unary_stream(self, *made_by: Any, **how: Any) -> Any:
        return _Callable(self, "unary_stream", made_by, how)

    def stream_unary(self, *made_by: Any, **how: Any) -> Any:
        return _Callable(self, "stream_unary", made_by, how)

    def stream_stream(self, *made_by: Any, **how: Any) -> Any:
        return _Callable(self, "stream_stream", made_by, how)

    def get_state(self, try_to_connect: bool = False) -> grpc.ChannelConnectivity:
        return self.newest().channel.get_state(try_to_connect)

    async def wait_for_state_change(self, last_observed_state: grpc.ChannelConnectivity) -> None:
        """Wait until the newest channel has another state."""
        while True:
            newest, renewed = self._newest, asyncio.ensure_future(self._renewed.wait())
            changed = asyncio.ensure_future(newest.channel.wait_for_state_change(last_observed_state))
            try:
                await asyncio.wait({changed, renewed}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for each in (changed, renewed):
                    each.cancel()
                await asyncio.gather(changed, renewed, return_exceptions=True)
            if self._closed or self._newest.channel.get_state() is not last_observed_state:
                return

    async def channel_ready(self) -> None:
        """Wait until the newest channel is connected."""
        while (state := self.get_state(try_to_connect=True)) is not _READY:
            await self.wait_for_state_change(state)

    async def close(self, grace: float | None = None) -> None:
        """Close it, and what is left of older ones."""
        self._closed = True
        if self._renewing is not None:
            self._renewing.cancel()
            await asyncio.gather(self._renewing, return_exceptions=True)
        for each in (*self._retired, self._newest):
            await each.channel.close(grace)
        with contextlib.suppress(ValueError):
            await asyncio.wait(self._closing)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()
