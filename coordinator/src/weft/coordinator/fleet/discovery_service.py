"""Discovery: gives watchers a snapshot of the agents, and all later changes.

    AgentRegister ─► something changed ─► each watcher reads what changed since its position

Watchers share one event and have no queues: a slow watcher sees the newest state, and the guard ends one that does not read. A
cursor is a position in this process' register. With another process' cursor a watcher gets a snapshot, once the agents of before
a restart have come back or had their time: until then the watcher knows more than this process.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import AsyncGenerator, Iterator, Sequence

from weft.coordinator.fleet.agent_register import AgentRegister
from weft.rpc import refusals
from weft.rpc.errors import WeftError
from weft.rpc.network.channel import BATCH_BYTES
from weft.v1 import coordinator_pb2, fleet_pb2

MAX_METHODS = 256
# The first change goes out at once, those that follow it within this time go together.
PACE_S = 0.02

Response = coordinator_pb2.WatchAgentsResponse


class DiscoveryService:
    """Follows the register, for callers that call agents directly.

    Args:
        max_watchers: most streams at a time.
        settle_s: after the start, how long agents may take to come back.
    """

    def __init__(self, register: AgentRegister, max_watchers: int, settle_s: float) -> None:
        self._register = register
        self._register_id = secrets.token_hex(8)
        self._max_watchers = max_watchers
        self._watchers = 0
        self._settle_s = settle_s
        # Set once the agents from before this process' start are back; and how long watchers wait for it, by the loop's
        # clock.
        self._settled = asyncio.Event()
        self._settled_by_s = 0.0
        self._news = asyncio.Event()
        # Why all watches have ended; None: they have not.
        self.ended: WeftError | None = None

    def start(self) -> None:
        """Begin, when the register holds the agents from before this process' start."""
        self._settled_by_s = asyncio.get_running_loop().time() + self._settle_s
        self.announce()

    def announce(self) -> None:
        """Tell the watchers that the register has changed."""
        news, self._news = self._news, asyncio.Event()
        news.set()
        if not self._register.awaited:
            self._settled.set()

    def close(self, error: WeftError) -> None:
        """End all watches with `error`."""
        self.ended = error
        self._settled.set()
        self.announce()

    async def watch(self, methods: Sequence[str], cursor: str) -> AsyncGenerator[Response]:
        """The responses of `WatchAgents`.

        Raises:
            InvalidArgument: too many methods.
            ResourceExhausted: too many watchers.
            WeftError: the coordinator stops.
        """
        if len(methods) > MAX_METHODS:
            raise refusals.invalid_field(
                f"at most {MAX_METHODS} methods can be asked for; there are {len(methods)}", field="methods"
            )
        if self._watchers >= self._max_watchers:
            raise refusals.overloaded(
                f"{self._max_watchers} streams watch the fleet already; try again later", retry_after_s=5.0
            )
        self._watchers += 1
        try:
            position = self._position(cursor)
            if position is None and cursor:
                await self.come_back()
            async for response in self._follow(frozenset(methods), position):
                yield response
        finally:
            self._watchers -= 1

    def agents(self) -> Sequence[fleet_pb2.Agent]:
        """All agents now."""
        return self._register.shown()

    async def snapshots(self) -> AsyncGenerator[Sequence[fleet_pb2.Agent]]:
        """All agents, now and after each change: for readers in this process. Ends when the coordinator stops."""
        while self.ended is None:
            news = self._news
            yield self.agents()
            await asyncio.sleep(PACE_S)
            await news.wait()

    async def _follow(self, methods: frozenset[str], position: int | None) -> AsyncGenerator[Response]:
        while True:
            if self.ended is not None:
                raise self.ended
            # Before the register is read: a change from now on is not missed.
            news = self._news
            found = None if position is None else self._register.since(position, methods)
            position = self._register.position
            cursor = f"{self._register_id}-{position}"
            if found is None:
                for page in _pages(self._register.shown(methods), (), cursor, snapshot=True):
                    yield page
            elif found.agents or found.removed:
                for page in _pages(found.agents, found.removed, cursor):
                    yield page
            await asyncio.sleep(PACE_S)
            await news.wait()

    def _position(self, cursor: str) -> int | None:
        """The position of a cursor. None if the cursor is not of this register."""
        register_id, _, digits = cursor.partition("-")
        if register_id == self._register_id and digits.isascii() and digits.isdigit() and len(digits) < 20:
            return int(digits)
        return None

    async def come_back(self) -> None:
        """Wait for the agents from before this process' start, at most until their time is over: for who knows of them already."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(self._settled_by_s):
                await self._settled.wait()


def _pages(
    agents: Sequence[fleet_pb2.Agent], removed: Sequence[str], cursor: str, *, snapshot: bool = False
) -> Iterator[Response]:
    """Messages of a bounded size. Only the last one has the cursor."""
    page = Response(snapshot=snapshot, removed=removed)
    size_bytes = 0
    for agent in agents:
        agent_bytes = agent.ByteSize()
        if page.agents and size_bytes + agent_bytes > BATCH_BYTES:
            yield page
            page, size_bytes = Response(), 0
        page.agents.append(agent)
        size_bytes += agent_bytes
    page.cursor = cursor
    yield page
