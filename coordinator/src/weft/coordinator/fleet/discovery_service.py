"""Discovery: tells watchers which agents there are, at once and as long as they listen.

    sessions here ──────────────────┐
    sessions elsewhere, by the store ┼─► AgentLog ─► each watcher reads what is new since it last looked
    lost, left ─────────────────────┘

Watchers share one event and have no queues: one that is slow sees the newest, one that does not read is ended by the
guard. A cursor is a position in this process' log. With another's a watcher gets a snapshot, but not one of a fleet that is
still coming back after a restart: until then it knows better.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import AsyncGenerator, Iterable, Iterator, Sequence

from weft.coordinator.fleet.agent_log import AgentLog
from weft.coordinator.fleet.agent_view import described
from weft.coordinator.sessions.agent_session import AgentSession
from weft.coordinator.store.records import Owner
from weft.rpc.errors import InvalidArgument, ResourceExhausted, WeftError
from weft.rpc.network.channel import BATCH_BYTES
from weft.v1 import coordinator_pb2, fleet_pb2

MAX_METHODS = 256
# A change goes out at once, those that follow it closely go together.
PACE_S = 0.02

Response = coordinator_pb2.WatchAgentsResponse


class DiscoveryService:
    """What is known of the agents that are connected, for those who call them directly.

    Args:
        max_watchers: most streams at a time.
        settle_s: after the start, how long agents may take to come back.
    """

    def __init__(self, max_watchers: int, settle_s: float) -> None:
        self._log = AgentLog()
        self._log_id = secrets.token_hex(8)
        self._max_watchers = max_watchers
        self._watchers = 0
        self._settle_s = settle_s
        # Agents that were connected before this process began and have not been heard of since; until when that matters.
        self._awaited: set[str] = set()
        self._settled = asyncio.Event()
        self._settled_by_s = 0.0
        self._news = asyncio.Event()
        self._error: WeftError | None = None

    # -- what it is told ------------------------------------------------------------------------------------------

    def open(self, agents: Iterable[fleet_pb2.Agent]) -> None:
        """Begin with the agents that were connected when the last coordinator ended."""
        self._settled_by_s = asyncio.get_running_loop().time() + self._settle_s
        for agent in agents:
            self._log.put(agent)
            if agent.state == fleet_pb2.AGENT_STATE_SUSPECT:
                self._awaited.add(agent.id)
        self._check_settled()

    def look(self, session: AgentSession) -> None:
        """A session is new, has changed or has ended."""
        agent_id = session.owner.agent_id
        known = self._log.get(agent_id)
        if known is not None and known.epoch > session.owner.epoch:
            # The last words of a session that another has taken over from.
            return
        if session.open:
            # Before its contract is accepted nobody can call it.
            if session.accepted:
                self._told(agent_id, self._log.put(described(session)))
        elif session.goodbye:
            self._told(agent_id, self._log.remove(agent_id))
        elif known is not None:
            agent = described(session)
            agent.state = fleet_pb2.AGENT_STATE_SUSPECT
            self._told(agent_id, self._log.put(agent))

    def lost(self, owner: Owner) -> None:
        """A lease has passed, and no later session was opened here."""
        known = self._log.get(owner.agent_id)
        if known is not None and known.epoch <= owner.epoch:
            self._told(owner.agent_id, self._log.remove(owner.agent_id))

    @property
    def position(self) -> int:
        """Where the log is: for `reconcile`."""
        return self._log.position

    def reconcile(self, others: Iterable[fleet_pb2.Agent], nowhere: Iterable[str], since: int) -> bool:
        """Take in what has changed in a fleet that several coordinators share.

        Args:
            others: agents that are connected elsewhere or suspect.
            nowhere: ids of agents that are not connected.
            since: `position` from before these were read: what has changed here after that is newer.

        Returns: whether it was; False: more has changed here than is remembered, and they must be read again.
        """
        newer = self._log.since(since)
        if newer is None:
            return False
        known_better = {*newer.removed, *(agent.id for agent in newer.agents)}
        for agent in others:
            if agent.id not in known_better:
                self._told(agent.id, self._log.put(agent))
        for agent_id in nowhere:
            if agent_id not in known_better:
                self._told(agent_id, self._log.remove(agent_id))
        return True

    def close(self, error: WeftError) -> None:
        """End all watches with `error`."""
        self._error = error
        self._settled.set()
        self._announce()

    def _told(self, agent_id: str, changed: bool) -> None:
        if changed:
            self._announce()
        known = self._log.get(agent_id)
        if known is None or known.state != fleet_pb2.AGENT_STATE_SUSPECT:
            self._awaited.discard(agent_id)
            self._check_settled()

    def _announce(self) -> None:
        news, self._news = self._news, asyncio.Event()
        news.set()

    def _check_settled(self) -> None:
        if not self._awaited:
            self._settled.set()

    # -- what it tells --------------------------------------------------------------------------------------------

    async def watch(self, methods: Sequence[str], cursor: str) -> AsyncGenerator[Response]:
        """What `WatchAgents` answers.

        Raises:
            InvalidArgument: too many methods.
            ResourceExhausted: too many watchers.
            WeftError: the coordinator stops.
        """
        if len(methods) > MAX_METHODS:
            raise InvalidArgument(
                f"at most {MAX_METHODS} methods can be asked for; there are {len(methods)}", field="methods"
            )
        if self._watchers >= self._max_watchers:
            raise ResourceExhausted(
                f"{self._max_watchers} streams watch the fleet already; try again later", retry_after_s=5.0
            )
        self._watchers += 1
        try:
            position = self._position(cursor)
            if position is None and cursor:
                await self._come_back()
            async for response in self._follow(frozenset(methods), position):
                yield response
        finally:
            self._watchers -= 1

    async def snapshots(self) -> AsyncGenerator[Sequence[fleet_pb2.Agent]]:
        """All agents, now and after each change: for who balances in this process. Ends when the coordinator stops."""
        while self._error is None:
            news = self._news
            yield self._log.all()
            await asyncio.sleep(PACE_S)
            await news.wait()

    async def _follow(self, methods: frozenset[str], position: int | None) -> AsyncGenerator[Response]:
        while True:
            if self._error is not None:
                raise self._error
            # Before the log is read: what changes from now on is not missed.
            news = self._news
            found = None if position is None else self._log.since(position, methods)
            position = self._log.position
            cursor = f"{self._log_id}-{position}"
            if found is None:
                for page in _pages(self._log.all(methods), (), cursor, snapshot=True):
                    yield page
            elif found.agents or found.removed:
                for page in _pages(found.agents, found.removed, cursor):
                    yield page
            await asyncio.sleep(PACE_S)
            await news.wait()

    def _position(self, cursor: str) -> int | None:
        """The position that a cursor stands for; None: it is not one of this log's."""
        log_id, _, digits = cursor.partition("-")
        if log_id == self._log_id and digits.isascii() and digits.isdigit() and len(digits) < 20:
            return int(digits)
        return None

    async def _come_back(self) -> None:
        """Until the agents that were connected before this process began are back, or have had time enough."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(self._settled_by_s):
                await self._settled.wait()


def _pages(
    agents: Sequence[fleet_pb2.Agent], removed: Sequence[str], cursor: str, *, snapshot: bool = False
) -> Iterator[Response]:
    """Messages of a bounded size. The last one has the cursor: before it, there is more to come."""
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
