"""Drives the pools of one provider: looks, plans, stores the plan, and does it.

    list (provider) ─► rows (store) ─► plan (rules) ─► row, by compare-and-set ─► start, stop, forget (provider)

The order keeps the promise that nothing is left behind. A member is stored before anything is started for it, so that whatever the
provider lists without a row is somebody's leftover, and is stopped. A member is removed when the provider has nothing of it. Each step can be
repeated by any coordinator of the place, at any time: a start of what is there does nothing, and a row that somebody else has changed since
is planned anew. So no coordinator leads.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from weft.coordinator.pools.member_start import MemberStart
from weft.coordinator.pools.pool_plan import Load, Plan, Seen, SeenAgent
from weft.coordinator.pools.pool_rows import PoolRows
from weft.coordinator.pools.pool_rules import plan
from weft.coordinator.pools.pool_table import PoolTable, pool_of
from weft.coordinator.pools.provider import AgentProvider, ListedMember
from weft.coordinator.pools.provider_calls import ProviderCalls
from weft.coordinator.pools.scaling_rules import needs_load, watched_methods
from weft.coordinator.store.table_store import TableRow
from weft.rpc.errors import Unavailable, WeftError
from weft.rpc.process.background_tasks import end_tasks
from weft.rpc.process.logs import get_logger
from weft.rpc.times import seconds
from weft.v1 import fleet_pb2, pool_pb2

log = get_logger(__name__)

# Between looks, without news: while a pool gets to where it should be, and when it is there.
_CHANGING_S, _SETTLED_S = 1.0, 5.0
_RETRY_S = 0.5
# For what a leftover runs.
_LEFTOVER_GRACE_S = 5.0
# Each member has both in its row.
_MAX_NAME_CHARS = 32


_SETTLED = frozenset(
    {
        pool_pb2.POOL_STATE_READY,
        pool_pb2.POOL_STATE_PAUSED,
        pool_pb2.POOL_STATE_STOPPED,
        pool_pb2.POOL_STATE_ENDED,
    }
)


@dataclass(slots=True)
class FleetAccess:
    """What a driver knows and does of agents.

    Attributes:
        agents: as the register has them, of those asked for.
        desire: sets the desired state of an agent.
        leave: ends the session of an agent whose processes stand still, in order.
        load: the work of some methods and agents.
    """

    agents: Callable[[Sequence[str]], Mapping[str, SeenAgent]]
    desire: Callable[[str, fleet_pb2.DesiredState], Awaitable[None]]
    leave: Callable[[str], Awaitable[None]]
    load: Callable[[Sequence[str], Mapping[str, SeenAgent]], Awaitable[Load]]


class PoolDriver:
    """The pools of one provider.

    Args:
        alone: no other coordinator shares the store.

    Attributes:
        rows: of its pools.
    """

    def __init__(
        self,
        table: PoolTable,
        provider: AgentProvider,
        start: MemberStart,
        fleet: FleetAccess,
        coordinator_id: str,
        *,
        alone: bool,
    ) -> None:
        self._table, self._provider, self._start, self._fleet = table, provider, start, fleet
        self._coordinator_id, self._alone = coordinator_id[:_MAX_NAME_CHARS], alone
        self._place = _short(provider.place)
        self.rows = PoolRows(table, provider.name)
        self._wake = asyncio.Event()
        self._calls = ProviderCalls(provider, self._wake.set)
        self._task: asyncio.Task[None] | None = None
        # Whether the provider had members when it was last asked.
        self._had_members = True

    def start(self) -> None:
        self._task = asyncio.get_running_loop().create_task(
            self._run(), name=f"pools of {self._provider.name}"
        )

    async def stop(self) -> None:
        if self._task is not None:
            await end_tasks(self._task)
        await self._calls.close()

    def rows_changed(self) -> None:
        self.rows.stale = True
        self._wake.set()

    def changed(self) -> None:
        """A member, or its agent, may have changed."""
        self._wake.set()

    @property
    def problem(self) -> str:
        """Why the provider cannot be used now. Empty: it can."""
        return self._calls.problem

    @property
    def has_pools(self) -> bool:
        return bool(self.rows.known)

    # -- looks ----------------------------------------------------------------------------------------------------

    async def _run(self) -> None:
        while True:
            self._wake.clear()
            try:
                rest_s = await self._look()
            except WeftError as error:
                if not isinstance(error, Unavailable):
                    # A store that is unavailable logs that itself.
                    log.warning("pools.failed", provider=self._provider.name, error=error.message)
                rest_s = _RETRY_S
            except Exception:
                log.exception("pools.failed", provider=self._provider.name)
                rest_s = _RETRY_S
            try:
                async with asyncio.timeout(rest_s):
                    await self._wake.wait()
            except TimeoutError:
                continue

    async def _look(self) -> float | None:
        """Look at all pools. Returns how long nothing needs to be looked at without news; None: for ever."""
        await self.rows.read()
        if not self.rows.known and not self._had_members:
            return None
        listed = await self._calls.list()
        # After the list: what was started before has its row by now.
        await self.rows.read()
        rests_s = [await self._drive(row, listed) for row in self.rows.known]
        if listed is not None:
            await self._clear(listed)
            self._had_members = bool(listed)
        if not self.rows.known and not self._had_members:
            return None
        return min(rests_s, default=_CHANGING_S)

    # -- one pool -------------------------------------------------------------------------------------------------

    async def _drive(self, row: TableRow, listed: Mapping[str, ListedMember] | None) -> float:
        """Plan what is to be done with a pool, store it, and begin to do it. Returns how long it needs no look without news."""
        pool = pool_of(row)
        ids = [member.id for member in pool.members]
        agents = self._fleet.agents(ids)
        seen = Seen(
            self._coordinator_id,
            self._place,
            listed,
            problem=f"the provider {self._provider.name} does not answer: {self.problem}",
            agents=agents,
            faults=self._calls.faults_of(ids),
            busy=self._calls.busy & set(ids),
            alone=self._alone,
            load=await self._fleet.load(watched_methods(pool), agents) if needs_load(pool) else None,
        )
        made = plan(pool, seen, self._table.now(), lambda: self._start.new_member(pool.name))
        for token_id in made.revoke:
            await self._start.revoke(token_id)
        if not await self._store(row, pool, made):
            return _CHANGING_S
        self._calls.faults_taken(seen.faults)
        await self._act(pool, made)
        return _rest_s(pool, self._table.now())

    async def _store(self, row: TableRow, pool: pool_pb2.Pool, made: Plan) -> bool:
        """Store a plan. False: somebody else has changed the pool since, or it is gone."""
        if made.gone:
            if await self._table.delete(pool.name, row.revision):
                log.info("pool.gone", pool=pool.name)
            self.rows_changed()
            return False
        before = pool_of(row)
        if pool == before:
            return True
        stored = await self._table.put(before, pool, row.revision)
        # Soon, since members that are to be stopped are only noted by now.
        self.rows_changed()
        return bool(stored)

    async def _act(self, pool: pool_pb2.Pool, made: Plan) -> None:
        for agent_id, desired in made.desire.items():
            await self._fleet.desire(agent_id, desired)
        members = {member.id: member for member in pool.members}
        for member_id in made.start:
            self._calls.ask_start(member_id, partial(self._begin, pool, members[member_id]))
        for member_id, grace_s in made.stop.items():
            self._calls.ask_stop(member_id, grace_s)
        for member_id in made.forget:
            self._calls.ask_forget(member_id)
        for member_id in made.freeze:
            self._calls.ask_freeze(member_id)
        for member_id in made.thaw:
            self._calls.ask_freeze(member_id, thaw=True)
        for agent_id in made.leave:
            await self._fleet.leave(agent_id)

    async def _begin(self, pool: pool_pb2.Pool, member: pool_pb2.PoolMember) -> None:
        log.info("pool.member_starts", pool=pool.name, agent_id=member.id, provider=self._provider.name)
        await self._provider.start(await self._start.spec(pool, member))
        # Also if its pool has gone meanwhile.
        self._had_members = True

    # -- leftovers ------------------------------------------------------------------------------------------------

    async def _clear(self, listed: Mapping[str, ListedMember]) -> None:
        """Stop what has no row: its start was under way when its pool, or the coordinator, ended."""
        strangers = [each for each in self._strangers(listed) if each not in self._calls.busy]
        if not strangers:
            return
        await self.rows.read(anew=True)
        for member_id in self._strangers(listed) if not self.rows.unreadable else ():
            if listed[member_id].running:
                log.warning("pool.leftover", provider=self._provider.name, agent_id=member_id)
                self._calls.ask_stop(member_id, _LEFTOVER_GRACE_S)
            else:
                self._calls.ask_forget(member_id)

    def _strangers(self, listed: Mapping[str, ListedMember]) -> set[str]:
        return listed.keys() - self.rows.members()


def _rest_s(pool: pool_pb2.Pool, now: float) -> float:
    """How long a pool that was planned needs no look without news."""
    if pool.HasField("retry_time"):
        return min(max(seconds(pool.retry_time) - now, 0.0), _CHANGING_S)
    settled = pool.state in _SETTLED and not (needs_load(pool) or pool.spec.HasField("ttl"))
    return _SETTLED_S if settled else _CHANGING_S


def _short(place: str) -> str:
    """A place's name, short, and still its own."""
    if len(place) <= _MAX_NAME_CHARS:
        return place
    return f"{place[: _MAX_NAME_CHARS - 9]}-{hashlib.sha256(place.encode()).hexdigest()[:8]}"
