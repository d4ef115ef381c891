"""Checks the callers of an agent's own port, where coordinators check theirs.

    call ─► edge ─► ticket: verified here by the key of the last Welcome ─┬─► role and scope ─► the handler
                 └─► token, or a ticket made before tokens changed ─► CheckToken at the coordinator

An agent that has a token itself lets nobody in before a coordinator has told whether callers are checked. From then on it goes by
what it was told, also while no coordinator is there.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable

from grpc import aio

from weft.agent.direct.remote_judge import asked
from weft.rpc import refusals
from weft.rpc.identity.caller import ANYBODY, Caller, told_caller
from weft.rpc.identity.edge import Edge
from weft.rpc.identity.judges import TokenVerdict
from weft.rpc.process.logs import get_logger
from weft.rpc.security import tickets
from weft.rpc.times import seconds
from weft.v1 import security_pb2, session_pb2

_log = get_logger("weft.agent")

# A coordinator learns of a change of tokens within this time, and may make tickets by what it knew until then.
CHANGE_S = 5.0
# Tokens and tickets that have ended are forgotten so often.
RECHECK_S = 30.0
# Those that could not be judged are judged again after this time.
RETRY_S = 1.0
# Callers may know an agent a moment before it has its first welcome: so long, their calls wait for that.
WELCOME_S = 2.0


class CallerCheck:
    """The judge behind the edge of an agent's port. Belongs to the agent's event loop.

    Args:
        agent_id: this agent's.
        instance_id: this process'.
        coordinator: a channel to the coordinator that the agent is connected to; None: to none.
        has_token: the agent shows a token: coordinators check their callers, as far as it knows.
    """

    # The port has to check its callers, whatever coordinators do.
    must = False

    def __init__(
        self,
        agent_id: str,
        instance_id: str,
        coordinator: Callable[[], aio.Channel | None],
        *,
        has_token: bool,
    ) -> None:
        self._process = security_pb2.AgentProcess(agent_id=agent_id, instance_id=instance_id)
        self._coordinator = coordinator
        self._key = b""
        # The coordinators' clock is so much ahead of the monotonic one.
        self._ahead_s = time.time() - time.monotonic()
        # Tickets made before that are asked about.
        self._sure_from = 0.0
        self._changed = asyncio.Event()
        self._welcomed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self.edge = Edge(self)
        self.edge.on = has_token

    def now(self) -> float:
        """The coordinators' time."""
        return time.monotonic() + self._ahead_s

    def welcomed(self, welcome: session_pb2.Welcome) -> None:
        """A session is open."""
        if self.must and not welcome.tokens_checked:
            _log.error(
                "direct.callers_unknown",
                effect="this port lets nobody in: it is open to other machines, and the coordinator checks no tokens",
                do="start coordinators with --tokens on, or the agent with WEFT_AGENT_LISTEN=off",
            )
        self.edge.on = welcome.tokens_checked or self.must
        self._key = welcome.ticket_key
        if welcome.HasField("time"):
            self._ahead_s = seconds(welcome.time) - time.monotonic()
        self._welcomed.set()
        # Tokens may have changed while no coordinator told.
        self.tokens_changed()

    def tokens_changed(self) -> None:
        """Ask again about all tokens, and about tickets that were made until now."""
        self._sure_from = self.now() + CHANGE_S
        self._changed.set()

    def start(self) -> None:
        """End the calls of callers whose tokens end, from now on."""
        self._task = asyncio.get_running_loop().create_task(self._look_again(), name="direct-callers")

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _look_again(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(RECHECK_S):
                    await self._changed.wait()
            changed = self._changed.is_set()
            self._changed.clear()
            try:
                done = await self.edge.look_again(every=changed)
            except Exception:
                # A fault of weft. It must not leave the port to callers who may not call any more.
                _log.exception("direct.callers_not_checked")
                done = False
            if not done:
                await asyncio.sleep(RETRY_S)
                self._changed.set()

    async def judge(self, text: str) -> TokenVerdict:
        """
        Raises:
            Unauthenticated: the token or the ticket is not valid.
            Unavailable: that cannot be found out now.
        """
        if not self._welcomed.is_set():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(WELCOME_S):
                    await self._welcomed.wait()
        if tickets.is_ticket(text) and (verdict := self._by_key(text)) is not None:
            return verdict
        channel = self._coordinator()
        if channel is None:
            raise refusals.callers_unknown("it is connected to no coordinator now")
        verdict = await asked(channel, text, self.now())
        if verdict is not None:
            # Each change is told: what was told once holds until then.
            return TokenVerdict(_here(verdict.caller), verdict.ends_at)
        if self.must:
            raise refusals.callers_unknown("its coordinator checks no tokens, and its port is open to others")
        # It has begun to check none, and the next session will tell.
        return TokenVerdict(ANYBODY, fresh_until=self.now() + RECHECK_S)

    def _by_key(self, text: str) -> TokenVerdict | None:
        """What a ticket is worth, as far as its key tells. None: a coordinator knows more.

        Raises:
            Unauthenticated
        """
        try:
            claims = tickets.claims_of(text)
        except tickets.BadTicket as error:
            raise refusals.ticket_invalid(str(error)) from None
        if claims.agent != self._process:
            raise refusals.ticket_invalid("it is for another agent, or for another process of this one")
        ends_at = seconds(claims.expire_time)
        if self.now() >= ends_at:
            raise refusals.ticket_invalid("it has ended")
        if not self._key or seconds(claims.create_time) < self._sure_from:
            return None
        try:
            tickets.verified(text, self._key)
        except tickets.BadTicket:
            # Coordinators may make tickets by another secret now.
            return None
        return TokenVerdict(_here(told_caller(claims.caller)), ends_at)


def _here(caller: Caller) -> Caller:
    """A caller whose coordinator has found that it may call in this agent's namespace: there is no other one here."""
    return caller._replace(scope=caller.scope._replace(namespaces=()))
