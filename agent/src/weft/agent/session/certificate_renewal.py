"""Waits until the certificates of an agent have changed, and a connection with the new ones works.

Then the session is opened again, so that the coordinator sees the new certificate. New ones that do not work cut no session.
"""

from __future__ import annotations

import asyncio

from weft.rpc.network.channel import Route, client_options, dial
from weft.rpc.process.logs import get_logger

_log = get_logger("weft.agent")

LOOK_S = 1.0
_READY_TIMEOUT_S = 10.0
_RETRY_S = 30.0


async def renewed(target: str, route: Route) -> None:
    """Return when the certificates are others and the target takes them. For ever, if the connection is plain."""
    security = route.security
    if security is None or target.startswith("unix"):
        await asyncio.Event().wait()
        return
    version = security.version()
    while True:
        await asyncio.sleep(LOOK_S)
        if security.version() == version:
            continue
        if await _works(target, route):
            return
        _log.warning("session.certificates_refused", target=target, effect="the session goes on as it is")
        await asyncio.sleep(_RETRY_S)


async def _works(target: str, route: Route) -> bool:
    async with dial(target, client_options(own_connection=True), route) as channel:
        try:
            async with asyncio.timeout(_READY_TIMEOUT_S):
                await channel.channel_ready()
        except TimeoutError:
            return False
    return True
