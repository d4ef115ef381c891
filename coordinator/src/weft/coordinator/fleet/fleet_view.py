"""Every agent known: what the store remembers, filled in with what its live session says now."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from weft.coordinator.fleet.agent_view import described, load_of
from weft.coordinator.sessions.agent_session import AgentSession
from weft.coordinator.sessions.sessions import Sessions
from weft.coordinator.store.base import Store
from weft.coordinator.store.records import AgentRecord
from weft.coordinator.store.rules import QueueKey
from weft.rpc.errors import InvalidArgument, NotFound
from weft.rpc.network.channel import BATCH_BYTES
from weft.rpc.process.logs import get_logger
from weft.v1 import errors_pb2, fleet_pb2

log = get_logger(__name__)

# What a session adds to an agent's description, about.
_FILLED_IN_BYTES = 100
# How busy an agent is, is shared when that changes, and so often in any case.
_LOAD_S = 5.0
_COUNTS_KEPT = 4096


class AgentStanding(NamedTuple):
    """How many connected agents host a queue's method; of those have what its tasks require; take work now; have room."""

    hosts: int
    fitting: int
    taking: int
    free: int


class FleetView:
    """Reads and steers the fleet."""

    def __init__(self, store: Store, sessions: Sessions, *, forget_after_s: float) -> None:
        self._store = store
        self._sessions = sessions
        self._forget_after_s = forget_after_s
        # Agents at other coordinators, as those see them.
        self._elsewhere: dict[str, fleet_pb2.Agent] = {}
        # Of queues that were asked for since those changed.
        self._counts_elsewhere: dict[QueueKey, tuple[int, int]] = {}
        # Agents to look at again, and those here of which others are to be told.
        self._touched: set[str] = set()
        self._unshared: set[str] = set()
        # How busy each agent here was when that was last shared, and when that was.
        self._shared_loads: dict[str, tuple[tuple[int, int], float]] = {}
        # How many agents that are known have a contract, and host a method; and what each does.
        self._contracts: Counter[str] = Counter()
        self._methods: Counter[str] = Counter()
        self._hosting: dict[str, tuple[str, tuple[str, ...]]] = {}
        # Agents that are gone, the first to go first: since when this process has known, and whether an operator wants
        # something of them when they come back.
        self._gone: dict[str, tuple[float, bool]] = {}

    async def page(self, method: str, after: str, size: int) -> tuple[list[fleet_pb2.Agent], bool]:
        """Agents by id from the one behind `after`, with `method` those that host it, and whether there are more.

        A page ends early where it would become a large message.
        """
        records = await self._store.agents()
        page: list[AgentRecord] = []
        size_bytes, more = 0, False
        for agent_id in sorted(agent_id for agent_id in records if agent_id > after):
            if len(page) >= size or size_bytes > BATCH_BYTES:
                more = True
                break
            record = records[agent_id]
            if not method or any(hosted.name == method for hosted in self._agent(record).methods):
                page.append(record)
                size_bytes += len(record.description) + _FILLED_IN_BYTES
        return await self._with_loads(page), more

    async def agent(self, agent_id: str) -> fleet_pb2.Agent:
        """One agent.

        Raises:
            NotFound: AGENT_NOT_FOUND.
        """
        record = (await self._store.agents()).get(agent_id)
        if record is not None:
            return (await self._with_loads([record]))[0]
        raise NotFound(
            f"no agent has the id {agent_id!r}; `weft agents list` shows those that are known",
            reason=errors_pb2.ERROR_REASON_AGENT_NOT_FOUND,
            metadata={"agent_id": agent_id},
        )

    async def update(self, agent_id: str, desired_state: fleet_pb2.DesiredState) -> fleet_pb2.Agent:
        """Keep a wish, and tell the agent when it is connected.

        Raises:
            InvalidArgument: the state is none.
            NotFound: AGENT_NOT_FOUND.
        """
        known = (
            fleet_pb2.DESIRED_STATE_ACTIVE,
            fleet_pb2.DESIRED_STATE_DRAINING,
            fleet_pb2.DESIRED_STATE_PAUSED,
        )
        if desired_state not in known:
            raise InvalidArgument("desired_state must be ACTIVE, DRAINING or PAUSED", field="desired_state")
        if await self._store.set_desired(agent_id, desired_state):
            self._sessions.want(agent_id, desired_state)
        return await self.agent(agent_id)

    def serving(self, methods: Sequence[str]) -> bool:
        """Whether some agent takes calls of one of these methods now."""
        return any(self.takers(QueueKey(method)) for method in methods)

    def hosted(self) -> set[str]:
        """Methods that some agent takes calls of now."""
        here = {
            name
            for session in self._sessions.taking_work()
            for name in session.methods
            if not session.is_unavailable(name)
        }
        return here.union(
            *(
                {method.name for method in agent.methods if not method.unavailable}
                for agent in self._active_elsewhere()
            )
        )

    def takers(self, key: QueueKey) -> int:
        """How many agents take tasks of a queue now."""
        here = sum(bool(session.costs([key])) for session in self._sessions.taking_work())
        return here + sum(_takes(agent, key) for agent in self._active_elsewhere())

    def standing(self, key: QueueKey) -> AgentStanding:
        """How the connected agents stand to a queue. Looks at each of them."""
        hosts = fitting = taking = free = 0
        for session in self._sessions.all():
            if key.method in session.methods:
                takes = session.takes_work and session.queue_cost(key) is not None
                hosts += 1
                fitting += session.could_serve(key)
                taking += takes
                free += takes and session.cost(key.method) <= session.free_slots
        for agent in self._elsewhere.values():
            for method in agent.methods:
                if method.name == key.method:
                    takes = agent.state == fleet_pb2.AGENT_STATE_ACTIVE and _takes(agent, key)
                    hosts += 1
                    fitting += method.slot_cost <= agent.slots and key.requirements.met_by(
                        agent.labels, agent.resources
                    )
                    taking += takes
                    free += takes and max(1, method.slot_cost) <= agent.slots - agent.used_slots
        return AgentStanding(hosts, fitting, taking, free)

    def elsewhere(self, key: QueueKey) -> tuple[int, int]:
        """How many agents at other coordinators take tasks of a queue, and how many of them keep failing."""
        known = self._counts_elsewhere.get(key)
        if known is None:
            if len(self._counts_elsewhere) >= _COUNTS_KEPT:
                self._counts_elsewhere.clear()
            takers = [
                agent for agent in self._active_elsewhere() if agent.id != key.avoid and _takes(agent, key)
            ]
            known = self._counts_elsewhere[key] = (len(takers), sum(agent.failing for agent in takers))
        return known

    def _active_elsewhere(self) -> Iterable[fleet_pb2.Agent]:
        return (agent for agent in self._elsewhere.values() if agent.state == fleet_pb2.AGENT_STATE_ACTIVE)

    def changed(self, agent_id: str) -> None:
        """An agent that is or was connected here has changed: `look` and `share` are to know."""
        self._touched.add(agent_id)
        self._unshared.add(agent_id)

    def look_again(self, agent_ids: Iterable[str]) -> None:
        """With the next `look`."""
        self._touched.update(agent_ids)

    async def look(self, now_s: float) -> tuple[list[fleet_pb2.Agent], list[str]]:
        """See what has changed in the store, and hear what operators said at other coordinators.

        Returns: those of the changed agents that are connected elsewhere or suspect, and ids of those that are neither
        that nor here.
        """
        touched, self._touched = self._touched, set()
        try:
            news = await self._store.agent_news(touched)
        except BaseException:
            self._touched |= touched
            raise
        if news:
            self._counts_elsewhere.clear()
        others: list[fleet_pb2.Agent] = []
        nowhere: list[str] = []
        for agent_id, record in news.items():
            self._note_gone(agent_id, record, now_s)
            self._note_hosted(agent_id, record)
            session = self._sessions.get(agent_id)
            if session is not None:
                self._elsewhere.pop(agent_id, None)
                if record is not None and record.desired_state not in (0, session.desired):
                    self._sessions.want(agent_id, record.desired_state)  # type: ignore[arg-type]
            elif record is not None and record.connected:
                self._elsewhere[agent_id] = self._agent(record)
                others.append(self._elsewhere[agent_id])
            else:
                self._elsewhere.pop(agent_id, None)
                nowhere.append(agent_id)
                if record is None:
                    # Forgotten, maybe by another coordinator.
                    self._sessions.forget(agent_id)
        return others, nowhere

    async def share(self, now_s: float) -> None:
        """Show other coordinators on the store the agents here that have changed, and how busy they are."""
        views: dict[str, tuple[int, bytes]] = {}
        for agent_id in list(self._unshared):
            session = self._sessions.get(agent_id)
            if session is None:
                self._unshared.discard(agent_id)
            else:
                views[agent_id] = (session.owner.epoch, described(session).SerializeToString())
        loads: dict[str, bytes] = {}
        shared: dict[str, tuple[tuple[int, int], float]] = {}
        for session in self._sessions.all():
            agent_id = session.owner.agent_id
            busy = (session.busy_slots, len(session.held))
            before, at_s = self._shared_loads.get(agent_id, (None, 0.0))
            if busy != before or now_s - at_s >= _LOAD_S:
                at_s = now_s
                loads[agent_id] = self._load(session).SerializeToString()
            shared[agent_id] = (busy, at_s)
        if views or loads:
            await self._store.share(views, loads)
        self._shared_loads = shared
        self._unshared -= views.keys()

    async def connected(self) -> list[fleet_pb2.Agent]:
        """The agents that have not left, as far as the store knows."""
        return [self._agent(record) for record in (await self._store.agents()).values() if record.connected]

    async def forget_gone(self, now_s: float) -> None:
        """Forget who has been lost for long, unless an operator wants something of it when it comes back."""
        due = []
        for agent_id, (since_s, wanted) in self._gone.items():
            if now_s - since_s < self._forget_after_s:
                break
            if not wanted:
                due.append(agent_id)
        for agent_id in due:
            await self._store.forget_agent(agent_id)
            self._sessions.forget(agent_id)
            del self._gone[agent_id]

    async def forget_contracts(self, grace_s: float) -> Sequence[str]:
        """Forget contracts that no known agent hosts and no unfinished task needs, once that has been so for long."""
        forgotten = await self._store.forget_contracts(list(self._contracts), list(self._methods), grace_s)
        if forgotten:
            log.info("contracts.forgotten", count=len(forgotten), first=forgotten[0][:12])
        return forgotten

    def _note_hosted(self, agent_id: str, record: AgentRecord | None) -> None:
        hosting = None
        if record is not None:
            agent = fleet_pb2.Agent.FromString(record.description)
            hosting = (agent.contract_hash, tuple(method.name for method in agent.methods))
        before = self._hosting.pop(agent_id, None)
        if hosting is not None:
            self._hosting[agent_id] = hosting
        # First what is new: what stays the same is never gone.
        if hosting is not None:
            self._contracts[hosting[0]] += 1
            self._methods.update(hosting[1])
        if before is not None:
            _take_one(self._contracts, before[:1])
            _take_one(self._methods, before[1])

    def _note_gone(self, agent_id: str, record: AgentRecord | None, now_s: float) -> None:
        if record is None or record.connected:
            self._gone.pop(agent_id, None)
        else:
            since_s, _ = self._gone.get(agent_id, (now_s, False))
            wanted = record.desired_state not in (0, fleet_pb2.DESIRED_STATE_ACTIVE)
            self._gone[agent_id] = (since_s, wanted)

    async def _with_loads(self, records: Sequence[AgentRecord]) -> list[fleet_pb2.Agent]:
        """Agents, with how busy they are."""
        elsewhere = [record.agent_id for record in records if self._is_elsewhere(record)]
        loads = await self._store.loads(elsewhere) if elsewhere else {}
        agents = []
        for record in records:
            agent = self._agent(record)
            session = self._sessions.get(record.agent_id)
            if session is not None:
                agent.MergeFrom(self._load(session))
            elif self._is_elsewhere(record):
                agent.MergeFromString(loads.get(agent.id, b""))
            else:
                agent.stale_results_refused = self._sessions.stale_refused.get(agent.id, 0)
            agents.append(agent)
        return agents

    def _is_elsewhere(self, record: AgentRecord) -> bool:
        return record.connected and bool(record.view) and self._sessions.get(record.agent_id) is None

    def _load(self, session: AgentSession) -> fleet_pb2.Agent:
        load = load_of(session, self._store.now(), session.silent_for_s(time.monotonic()))
        load.stale_results_refused = self._sessions.stale_refused.get(session.owner.agent_id, 0)
        return load

    def _agent(self, record: AgentRecord) -> fleet_pb2.Agent:
        """An agent as the coordinator says that has its session; epoch and wish as the store says.

        Each coordinator counts the late results that it refused itself: of an agent elsewhere its coordinator's count is
        shown, of one that is nowhere this one's.
        """
        session = self._sessions.get(record.agent_id)
        if session is not None:
            agent = described(session)
        elif self._is_elsewhere(record):
            agent = fleet_pb2.Agent.FromString(record.view)
        else:
            agent = fleet_pb2.Agent.FromString(record.description)
            agent.state = _state(record)
        agent.epoch = record.epoch
        agent.desired_state = record.desired_state or fleet_pb2.DESIRED_STATE_ACTIVE  # type: ignore[assignment]
        return agent


def _state(record: AgentRecord) -> fleet_pb2.AgentState:
    """How an agent stands that has no session."""
    if record.connected:
        return fleet_pb2.AGENT_STATE_SUSPECT
    return fleet_pb2.AGENT_STATE_LEFT if record.left else fleet_pb2.AGENT_STATE_LOST


def _takes(agent: fleet_pb2.Agent, key: QueueKey) -> bool:
    return key.requirements.met_by(agent.labels, agent.resources) and any(
        method.name == key.method and method.slot_cost <= agent.slots and not method.unavailable
        for method in agent.methods
    )


def _take_one(counts: Counter[str], names: Iterable[str]) -> None:
    for name in names:
        counts[name] -= 1
        if not counts[name]:
            del counts[name]
