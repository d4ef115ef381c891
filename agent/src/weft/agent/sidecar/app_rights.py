"""What a sidecar's app may call: judged at the egress, before a call is passed on.

the call shows nothing ─► the sidecar's own token ─┐
the call shows a token ─► that one ────────────────┴─► CheckToken at the coordinator, kept a while ─► role and scope
"""

from __future__ import annotations

import asyncio
import contextlib
import time

from grpc import aio

from weft.agent.direct.remote_judge import asked
from weft.rpc import refusals
from weft.rpc.identity.caller import ANYBODY
from weft.rpc.identity.edge import Edge
from weft.rpc.identity.judges import TokenVerdict
from weft.rpc.process.logs import get_logger
from weft.rpc.security import tickets
from weft.rpc.security.token_source import Shown

_log = get_logger("weft.sidecar")

# What calls show is judged again so often, and a coordinator that asks for no tokens is asked whether it still does not.
RECHECK_S = 2.0


class AppRights:
    """The judge behind the edge of an egress.

    Args:
        coordinator: leads to a coordinator, and shows it the sidecar's token.
        token: the sidecar's. None: it has none, and calls are passed on as they are.
    """

    def __init__(self, coordinator: aio.Channel, token: Shown | None) -> None:
        self._coordinator = coordinator
        self._token = token
        self._task: asyncio.Task[None] | None = None
        self.edge = Edge(None if token is None else self, unnamed=True)

    def now(self) -> float:
        return time.monotonic()

    async def judge(self, text: str) -> TokenVerdict:
        """
        Raises:
            Unauthenticated: the token is not valid.
            Unavailable: no coordinator tells.
        """
        assert self._token is not None
        if tickets.is_ticket(text):
            raise refusals.ticket_invalid("it is for the port of one agent, and this is an egress")
        verdict = await asked(self._coordinator, text or self._token.text(), self.now())
        fresh_until = self.now() + RECHECK_S
        return (verdict or TokenVerdict(ANYBODY))._replace(fresh_until=fresh_until)

    def start(self) -> None:
        """End the calls of tokens that end, from now on."""
        if self.edge.on:
            self._task = asyncio.get_running_loop().create_task(self._look_again(), name="app-rights")

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _look_again(self) -> None:
        while True:
            await asyncio.sleep(RECHECK_S)
            with contextlib.suppress(Exception):
                await self.edge.look_again(every=False)
