"""A channel to any of the coordinators that a source of addresses names at the time.

    other addresses ─► another channel connects ─► it is ready ─► new calls go there; the old one is closed after its last call

As long as none of the others can be reached, calls stay where they are. A set that only grows changes nothing for a connection that works.
"""

from __future__ import annotations

import asyncio
import contextlib

import grpc
from grpc import aio

from weft.rpc.errors import FailedPrecondition
from weft.rpc.network.channel import NO_TLS, Route, authority, check_safe, client_options, plain_channel
from weft.rpc.network.renewed_channel import READY_TIMEOUT_S, RenewedChannel
from weft.rpc.process.logs import get_logger
from weft.rpc.registries.followed import Followed, follow

_log = get_logger("weft.registries")

# What is dialled while no address is known, or none may be dialled: each call fails as if no coordinator answered. gRPC's message has these texts, and
# `connection_faults` explains them.
NO_ADDRESS = "unix:/nonexistent/no-address"
NO_TLS_THERE = "unix:/nonexistent/no-tls"
# The source gives the order of the addresses.
_IN_ORDER = ("grpc.service_config", '{"loadBalancingConfig":[{"pick_first":{}}]}')


def dial_followed(source: str, route: Route = NO_TLS) -> aio.Channel:
    """See `coordinator_channel.dial_any`."""
    followed = follow(source)
    try:
        followed.wait()
        _check_safe(followed, route)
        channel = FollowedChannel(followed, route)
    except BaseException:
        followed.release()
        raise
    if route.token is None and not route.namespace:
        return channel
    from weft.rpc.network.caller_channel import CallerChannel

    return CallerChannel(channel, route.token, route.namespace)


class FollowedChannel(RenewedChannel):
    """The channel. Made and used on one event loop.

    Args:
        followed: the source. It is released with the channel.
    """

    def __init__(self, followed: Followed, route: Route) -> None:
        self._followed, self._route = followed, route
        self._loop = asyncio.get_running_loop()
        super().__init__(self._made, self._present, followed.text)
        self._end_telling = followed.tell(self._changed)

    def _made(self) -> aio.Channel:
        """A channel to the present addresses."""
        addresses, target = self._followed.dialled
        route = self._route
        try:
            _check_safe(self._followed, route)
        except FailedPrecondition as error:
            _log.error("addresses.not_safe", source=self._followed.text, error=error.message)
            target = NO_TLS_THERE
        name = route.server_name((self._followed.text,))
        if name is None and addresses:
            name = route.server_name(addresses)
        options = [*client_options(), _IN_ORDER, *authority(addresses, route)]
        return plain_channel(target or NO_ADDRESS, options, route, name)

    def _present(self) -> object:
        """What the newest channel should have been made of: certificates and addresses."""
        security, wanted = self._route.security, self._followed.known
        made: tuple[object, frozenset[str]] | None = getattr(self, "_of", None)
        if made is not None and made[1] is not wanted and made[1] and made[1] <= wanted and self._connected():
            wanted = made[1]
        return (0 if security is None else security.version()), wanted

    def _connected(self) -> bool:
        return self._newest.channel.get_state() is grpc.ChannelConnectivity.READY

    def _changed(self) -> None:
        """From the thread of the source."""
        with contextlib.suppress(RuntimeError):  # The loop has ended.
            self._loop.call_soon_threadsafe(self.newest)

    def _not_renewed(self) -> None:
        _log.warning(
            "addresses.not_reached",
            source=self._followed.text,
            error=f"no connection to the new addresses, or with the new certificates, in {READY_TIMEOUT_S:g} s",
            effect="the connection that there is stays in use",
        )

    async def close(self, grace: float | None = None) -> None:
        self._end_telling()
        self._followed.release()
        await super().close(grace)


def _check_safe(followed: Followed, route: Route) -> None:
    addresses, target = followed.dialled
    if addresses and route.token is not None and route.token.is_bearer:
        check_safe(target, route.security)
