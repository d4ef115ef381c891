"""The register of agents: one entry an agent, whichever coordinator has its session. Pure: facts and time are passed in.

    session events   opened, changed, ended, lost ─┐                  ┌─► watchers, the balancer of direct calls (`since`, `shown`)
                                                   ├─► AgentRegister ─┼─► ListAgents, GetAgent, desired state (`get`, `ids`)
    the store's news   records of changed agents ──┘                  ├─► dispatch, health, queues (`elsewhere`, `serves`, `standing`)
                                                                      └─► forgetting (`due_to_forget`, `contracts`, `methods`)

Which input counts: an open session here before a record; a record before a session that has ended, but a record of that same
session only when it knows of the end.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import NamedTuple, cast

from weft.coordinator.fleet.agent_standing import AgentStanding, lacking
from weft.coordinator.fleet.agent_view import described
from weft.coordinator.fleet.change_log import ChangeLog
from weft.coordinator.fleet.method_index import MethodIndex, NameCounts
from weft.coordinator.fleet.registered_agent import RegisteredAgent, Standing
from weft.coordinator.sessions.agent_session import AgentSession
from weft.coordinator.store.records import AgentRecord, Owner
from weft.coordinator.store.rules import QueueKey
from weft.v1 import fleet_pb2


class News(NamedTuple):
    """Changes: the agents that changed, the earliest change first, and the ids of agents that are gone."""

    agents: Sequence[fleet_pb2.Agent]
    removed: Sequence[str]


class DesiredChange(NamedTuple):
    """An operator set this at another coordinator, for an agent whose session is here."""

    agent_id: str
    desired: fleet_pb2.DesiredState


class AgentRegister:
    """The register. Large because it has both inputs and all readers; most methods are a few lines over one of its parts.

    Args:
        changed: called after each input that changed the agents of watchers.

    Attributes:
        awaited: agents that were connected before this process began, and have not come back yet.
    """

    def __init__(self, changed: Callable[[], None] = lambda: None) -> None:
        self._changed = changed
        self._entries: dict[str, RegisteredAgent] = {}
        self._log = ChangeLog()
        self._index = MethodIndex()
        # Agents that are lost or have left, each with the time when this process learned it; in the order of these
        # times.
        self._gone: dict[str, float] = {}
        self._contracts, self._methods = NameCounts(), NameCounts()
        self.awaited: set[str] = set()

    # -- session events -----------------------------------------------------------------------------------------

    def session_changed(self, session: AgentSession) -> None:
        """A session here was opened, has changed or has ended."""
        agent_id, epoch = session.owner.agent_id, session.owner.epoch
        entry = self._entries.get(agent_id)
        if entry is None:
            if not session.open:
                return
            entry = self._entries[agent_id] = RegisteredAgent()
        elif entry.agent.epoch > epoch:
            # A later session has taken over.
            return
        position = self._log.position
        agent = described(session)
        if session.open:
            entry.session = session
        else:
            entry.session, entry.ended_epoch = None, epoch
            agent.state = fleet_pb2.AGENT_STATE_LEFT if session.goodbye else fleet_pb2.AGENT_STATE_SUSPECT
        self._replace(agent_id, entry, agent)
        if not entry.connected:
            self._show(agent_id, entry, None)
        elif session.accepted if session.open else entry.shown is not None:
            # Before its contract is accepted, no caller can use it.
            self._show(agent_id, entry, agent)
        self._tell(position)

    def session_lost(self, owner: Owner) -> None:
        """The lease of a session has passed."""
        entry = self._entries.get(owner.agent_id)
        if entry is None or entry.agent.epoch > owner.epoch:
            return
        position = self._log.position
        if not entry.has_session:
            entry.ended_epoch = owner.epoch
            self._replace(owner.agent_id, entry, _in_state(entry.agent, fleet_pb2.AGENT_STATE_LOST))
        self._show(owner.agent_id, entry, None)
        self._tell(position)

    # -- the store's news ---------------------------------------------------------------------------------------

    def take_news(
        self, news: Mapping[str, AgentRecord | None], now_s: float, *, first: bool = False
    ) -> list[DesiredChange]:
        """Take in records that have changed. None stands for an agent that the store does not know (any more).

        Args:
            now_s: by the monotonic clock.
            first: these are the agents of before this process began.
        """
        position = self._log.position
        desired: list[DesiredChange] = []
        for agent_id, record in news.items():
            self._note_gone(agent_id, record, now_s)
            entry = self._entries.get(agent_id)
            if entry is not None and entry.session is not None and entry.session.open:
                entry.record = record
                if record is not None and record.desired_state not in (0, entry.session.desired):
                    desired.append(
                        DesiredChange(agent_id, cast("fleet_pb2.DesiredState", record.desired_state))
                    )
            elif record is not None:
                self._take_record(agent_id, entry or RegisteredAgent(), record, first=first)
            elif entry is not None:
                self._remove(agent_id, entry)
        self._tell(position)
        return desired

    def _take_record(
        self, agent_id: str, entry: RegisteredAgent, record: AgentRecord, *, first: bool
    ) -> None:
        """Take the store's record of an agent without a session here."""
        self._entries[agent_id] = entry
        entry.session, entry.record = None, record
        agent = _of_record(entry, record)
        self._replace(agent_id, entry, agent)
        if not entry.connected:
            self._show(agent_id, entry, None)
        elif first or record.view or entry.shown is not None:
            # One that no coordinator has shown yet is about to open its first session.
            self._show(agent_id, entry, agent)
            if first and agent.state == fleet_pb2.AGENT_STATE_SUSPECT:
                self.awaited.add(agent_id)

    def _remove(self, agent_id: str, entry: RegisteredAgent) -> None:
        del self._entries[agent_id]
        self._show(agent_id, entry, None)
        self._index.remove(agent_id)
        self._contracts.change((entry.agent.contract_hash,), ())
        self._methods.change(entry.methods, ())

    def _note_gone(self, agent_id: str, record: AgentRecord | None, now_s: float) -> None:
        if record is None or record.connected:
            self._gone.pop(agent_id, None)
        else:
            self._gone.setdefault(agent_id, now_s)

    def _replace(self, agent_id: str, entry: RegisteredAgent, agent: fleet_pb2.Agent) -> None:
        known, hash_before, methods_before = bool(entry.agent.id), entry.agent.contract_hash, entry.methods
        entry.replace(agent)
        self._contracts.change((hash_before,) if known else (), (agent.contract_hash,))
        self._methods.change(methods_before, entry.methods)
        self._index.put(agent_id, entry)

    def _show(self, agent_id: str, entry: RegisteredAgent, agent: fleet_pb2.Agent | None) -> None:
        """Set the agent's description for watchers. None: they do not know the agent."""
        if agent == entry.shown:
            return
        entry.shown = agent
        if agent is None:
            self._log.remove(agent_id)
        else:
            self._log.put(agent_id, entry.methods.keys())
        if agent is None or agent.state != fleet_pb2.AGENT_STATE_SUSPECT:
            self.awaited.discard(agent_id)

    def _tell(self, position: int) -> None:
        if self._log.position != position:
            self._changed()

    # -- what watchers read -------------------------------------------------------------------------------------

    @property
    def position(self) -> int:
        """The position of the last change that watchers are told of."""
        return self._log.position

    def shown(self, methods: frozenset[str] = frozenset()) -> list[fleet_pb2.Agent]:
        """The agents that watchers know, of those that host one of `methods`; without methods all."""
        return self._shown(self._log.ids(methods))

    def since(self, position: int, methods: frozenset[str] = frozenset()) -> News | None:
        """The changes after a position. None if that position is not known (any more)."""
        changes = self._log.since(position, methods)
        return None if changes is None else News(self._shown(changes.changed), changes.removed)

    def _shown(self, agent_ids: Sequence[str]) -> list[fleet_pb2.Agent]:
        found = (self._entries[agent_id].shown for agent_id in agent_ids)
        return [agent for agent in found if agent is not None]

    # -- what lists and dispatch read ---------------------------------------------------------------------------

    def is_elsewhere(self, agent_id: str) -> bool:
        """Whether another coordinator has the session of an agent."""
        entry = self._entries.get(agent_id)
        return entry is not None and entry.is_elsewhere

    def get(self, agent_id: str) -> RegisteredAgent | None:
        return self._entries.get(agent_id)

    def description(self, agent_id: str) -> fleet_pb2.Agent | None:
        entry = self._entries.get(agent_id)
        return None if entry is None else entry.agent

    def ids(self) -> Collection[str]:
        return self._entries.keys()

    def served(self) -> set[str]:
        """The methods that some agent takes calls of now."""
        return self._index.served()

    def serves(self, method: str) -> bool:
        """Whether some agent takes calls of a method now."""
        return self._index.serves(method)

    def serving(self, key: QueueKey) -> int:
        """How many agents take tasks of a queue now."""
        return sum(entry.takes(key) for entry in self._index.hosts(key.method))

    def taking(self, key: QueueKey) -> list[RegisteredAgent]:
        """The agents that take tasks of a queue now."""
        return [entry for entry in self._index.hosts(key.method) if entry.takes(key)]

    def can_run(self, key: QueueKey) -> bool:
        """Whether some agent takes tasks of a queue, or will if nobody changes anything."""
        return any(entry.is_able(key) for entry in self._index.hosts(key.method))

    def elsewhere(self, key: QueueKey) -> tuple[int, int]:
        """How many agents at other coordinators take tasks of a queue, and how many of those keep failing."""
        return self._index.elsewhere(key)

    def hosts(self, method: str) -> Iterable[fleet_pb2.Agent]:
        """The connected agents that host a method."""
        return (entry.agent for entry in self._index.hosts(method))

    def is_back(self, agent_id: str, instance_id: str, contract_hash: str) -> bool:
        """Whether this process is known as the agent, connected, and its contract has been accepted."""
        entry = self._entries.get(agent_id)
        shown = None if entry is None else entry.shown
        return shown is not None and (shown.instance_id, shown.contract_hash) == (instance_id, contract_hash)

    def standing(self, key: QueueKey) -> AgentStanding:
        """How many of the agents that host a queue's method can take its tasks, without the avoided one if others can."""
        counts: Counter[Standing] = Counter()
        failing: list[str] = []
        for entry in self._index.hosts(key.method):
            if entry.agent.id == key.avoid:
                continue
            standing = entry.standing(key)
            counts[standing] += 1
            if standing is Standing.FREE and entry.agent.failing:
                failing.append(entry.agent.id)
        free, taking = counts[Standing.FREE], counts[Standing.FREE] + counts[Standing.BUSY]
        if key.avoid and not taking:
            return self.standing(key.base)
        return AgentStanding(
            hosts=counts.total(),
            fitting=counts.total() - counts[Standing.UNFIT],
            taking=taking,
            free=free,
            failing=tuple(failing),
            draining=counts[Standing.DRAINING],
            paused=counts[Standing.PAUSED],
            down=counts[Standing.DOWN],
            avoided=key.avoid,
        )

    def lacking(self, key: QueueKey) -> str:
        """What the agents that host a queue's method have, of which none fits."""
        return lacking(key, (entry.agent for entry in self._index.hosts(key.method)))

    def gone_for_s(self, agent_id: str, now_s: float) -> float:
        """How long an agent has been lost, or has left, as far as this process knows, by the monotonic clock."""
        since_s = self._gone.get(agent_id)
        return 0.0 if since_s is None else now_s - since_s

    # -- what forgetting reads ----------------------------------------------------------------------------------

    def due_to_forget(self, now_s: float, after_s: float) -> list[str]:
        """Agents that have been gone for `after_s`. One that an operator drained or paused is not among them: that holds
        when it comes back."""
        due: list[str] = []
        for agent_id, since_s in self._gone.items():
            if now_s - since_s < after_s:
                break
            entry = self._entries.get(agent_id)
            record = entry.record if entry is not None else None
            if record is None or record.desired_state in (0, fleet_pb2.DESIRED_STATE_ACTIVE):
                due.append(agent_id)
        return due

    @property
    def contracts(self) -> list[str]:
        """The digests of the contracts that known agents have."""
        return self._contracts.names()

    @property
    def methods(self) -> list[str]:
        """The methods that known agents host, connected or not."""
        return self._methods.names()


def _of_record(entry: RegisteredAgent, record: AgentRecord) -> fleet_pb2.Agent:
    """The description of an agent without a session here, by the store."""
    if record.connected and record.epoch == entry.ended_epoch:
        # The store does not know of the session's end yet.
        agent = _in_state(entry.agent, entry.agent.state)
    elif record.connected and record.view:
        agent = fleet_pb2.Agent.FromString(record.view)
    else:
        agent = fleet_pb2.Agent.FromString(record.description)
        agent.state = _state(record)
        if entry.agent.failing:
            # It stays so until the agent comes back, and shows that it works.
            agent.failing = True
            agent.ejection.CopyFrom(entry.agent.ejection)
    agent.id = record.agent_id
    agent.epoch = record.epoch
    agent.desired_state = cast(
        "fleet_pb2.DesiredState", record.desired_state or fleet_pb2.DESIRED_STATE_ACTIVE
    )
    return agent


def _state(record: AgentRecord) -> fleet_pb2.AgentState:
    """The state of an agent that no coordinator shows."""
    if record.connected:
        return fleet_pb2.AGENT_STATE_SUSPECT
    return fleet_pb2.AGENT_STATE_LEFT if record.left else fleet_pb2.AGENT_STATE_LOST


def _in_state(agent: fleet_pb2.Agent, state: fleet_pb2.AgentState) -> fleet_pb2.Agent:
    copy = fleet_pb2.Agent()
    copy.CopyFrom(agent)
    copy.state = state
    return copy
