"""A caller's tickets for agents: got from the coordinator as agents become known, before they are called, and again before they end.

discovery ─► agents ─┬─ each has a ticket ───────────────────────────► the balancer
└─ some are new ─► CreateTickets at the coordinator ─┘
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterable, Sequence

import grpc
from grpc import aio

from weft.rpc.errors import WeftError, from_call
from weft.rpc.process.logs import get_logger
from weft.rpc.security.token_source import Shown
from weft.rpc.times import seconds
from weft.v1 import fleet_pb2, security_pb2
from weft.v1.security_pb2_grpc import TokenServiceStub

_log = get_logger(__name__)

Update = Callable[[list[fleet_pb2.Agent]], None]
Key = tuple[str, str]

TIMEOUT_S = 5.0
# Tickets of one request.
BATCH = 1000
# A coordinator that asks for no tokens now, or that makes no tickets for this caller, is asked again after this time.
REFUSED_S = 10.0
# One that cannot be reached.
RETRY_S = 1.0
# How often a file with the token is looked at: tickets end with the token that they were made for.
LOOK_S = 2.0
# Tickets are replaced when this share of their time is left.
_LEFT = 1 / 3


class TicketBook:
    """Stands between discovery and a balancer. Belongs to the event loop in which it is started.

    Args:
        coordinator: leads to a coordinator, and shows it the token.
        token: the token that it shows.
        update: told of all agents: of new ones when there are tickets for them.
    """

    def __init__(self, coordinator: aio.Channel, token: Shown, update: Update) -> None:
        self._create = TokenServiceStub(coordinator).CreateTickets
        self._token = token
        self._update = update
        self._agents: list[fleet_pb2.Agent] = []
        # Each with the time to replace it, by the monotonic clock.
        self._tickets: dict[Key, tuple[str, float]] = {}
        # Until then no tickets are asked for: there are none to be had.
        self._none_until_s = 0.0
        # The token that the tickets were made for.
        self._made_for = ""
        self._due = asyncio.Event()
        self._told = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def text(self, agent_id: str, instance_id: str) -> str:
        """The ticket for a process of an agent; empty: there is none."""
        return self._tickets.get((agent_id, instance_id), ("", 0.0))[0]

    def fleet_changed(self, agents: list[fleet_pb2.Agent]) -> None:
        """Take what discovery has found."""
        self._agents = agents
        if self._missing(time.monotonic()):
            self._due.set()
        else:
            self._tell(agents)
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._run(), name="tickets")

    async def ready(self, timeout_s: float) -> None:
        """Wait until `update` was told of agents, or the time is over."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._told.wait()

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def _tell(self, agents: list[fleet_pb2.Agent]) -> None:
        self._update(agents)
        self._told.set()

    def _missing(self, now_s: float) -> list[Key]:
        """The agents that tickets are to be got for."""
        if now_s < self._none_until_s:
            return []
        found = (_key(agent) for agent in self._agents if agent.advertised_address)
        return [key for key in found if now_s >= self._tickets.get(key, ("", 0.0))[1]]

    async def _run(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._wait_s(time.monotonic())):
                    await self._due.wait()
            self._due.clear()
            try:
                await self._look()
            except Exception:
                # A fault of weft. It must not end the direct calls of a program.
                _log.exception("tickets.failed")
                await asyncio.sleep(RETRY_S)

    def _wait_s(self, now_s: float) -> float:
        """Seconds until something is to be done."""
        times = [at for _, at in self._tickets.values()] or [now_s + REFUSED_S]
        wait_s = max(min(times), self._none_until_s) - now_s
        return max(0.0, min(wait_s, LOOK_S) if self._token.renewable else wait_s)

    async def _look(self) -> None:
        token = self._token.text()
        if token != self._made_for:
            self._made_for, self._none_until_s = token, 0.0
            self._tickets = {key: (text, 0.0) for key, (text, _) in self._tickets.items()}
        agents = self._agents
        for key in self._tickets.keys() - {_key(agent) for agent in agents if agent.advertised_address}:
            del self._tickets[key]
        missing = self._missing(time.monotonic())
        if not missing:
            return
        try:
            for at in range(0, len(missing), BATCH):
                await self._get(missing[at : at + BATCH])
        except aio.AioRpcError as error:
            self._not_got(from_call(error), missing)
        if agents is self._agents:
            self._tell([agent for agent in agents if self._callable(agent)])
        else:
            self._due.set()

    def _callable(self, agent: fleet_pb2.Agent) -> bool:
        """Whether a call of the agent shows what it must, as far as is known."""
        no_tickets = time.monotonic() < self._none_until_s
        return no_tickets or not agent.advertised_address or _key(agent) in self._tickets

    async def _get(self, keys: Sequence[Key]) -> None:
        """
        Raises:
            AioRpcError
        """
        processes = (
            security_pb2.AgentProcess(agent_id=name, instance_id=instance) for name, instance in keys
        )
        response = await self._create(security_pb2.CreateTicketsRequest(agents=processes), timeout=TIMEOUT_S)
        now_s = time.monotonic()
        if response.unchecked:
            self._none_until_s = now_s + REFUSED_S
            self._tickets.clear()
            return
        renew_at_s = now_s + max(RETRY_S, (1 - _LEFT) * seconds(response.time_left))
        self._tickets.update(
            (key, (text, renew_at_s)) for key, text in zip(keys, response.texts, strict=False)
        )

    def _not_got(self, error: WeftError, keys: Iterable[Key]) -> None:
        """No tickets: those that there are stay, until they end."""
        _log.warning("tickets.not_got", error=error.message, reason=error.reason_name)
        away = error.code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)
        wait_s = RETRY_S if away else REFUSED_S
        if away:
            # Agents without a ticket are not called yet.
            for key in keys:
                if key in self._tickets:
                    self._tickets[key] = self._tickets[key][0], time.monotonic() + wait_s
            asyncio.get_running_loop().call_later(wait_s, self._due.set)
        else:
            self._none_until_s = time.monotonic() + wait_s


def _key(agent: fleet_pb2.Agent) -> Key:
    return agent.id, agent.instance_id
