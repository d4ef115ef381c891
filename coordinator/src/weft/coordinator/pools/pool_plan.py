"""What a reconciler sees of a pool, and what it wants done: plain values."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import NamedTuple

from weft.coordinator.pools.provider import ListedMember
from weft.v1 import fleet_pb2, pool_pb2

STARTING, READY = pool_pb2.POOL_MEMBER_STATE_STARTING, pool_pb2.POOL_MEMBER_STATE_READY
STOPPING = pool_pb2.POOL_MEMBER_STATE_STOPPING
# A member is stored so long before another coordinator takes up its start.
TAKE_UP_S = 2.0
# A member whose agent has not been connected for so long is lost.
LOST_S = 10.0
# A member elsewhere, where no coordinator looks, has ended by itself so long after its grace.
ELSEWHERE_S = 120.0
# A member that ends sooner after it was ready is replaced a moment later.
STABLE_S = 10.0
STABLE_RETRY_S = 0.5
# Pauses between failed starts: doubled each time.
FIRST_RETRY_S, LAST_RETRY_S = 0.5, 60.0
# A pause of its agents that was begun before the pool was changed is through after so long.
PAUSES_S = 5.0
DEFAULT_READY_S, DEFAULT_GRACE_S = 60.0, 30.0
MAX_SIZE = 200
# With those that start while others stop.
MAX_MEMBERS = 256
MAX_PROBLEM_CHARS = 512
MAX_REASON_CHARS = 64
# Of the methods of its members, and of those that an operator names.
MAX_METHODS, MAX_METHOD_CHARS = 20, 200


class SeenAgent(NamedTuple):
    """The agent of a member, as the register has it.

    Attributes:
        connected: neither lost nor left.
        ready: it has a session, its contract was accepted, and it takes calls of its methods.
        desired: its desired state.
        in_flight: attempts that it holds, as far as is known here.
        failing: its attempts keep failing.
        methods: those that it hosts.
        used: slots that it uses, as far as is known here.
        here: its session is at this coordinator: so what it holds and uses is known.
    """

    connected: bool
    ready: bool
    desired: fleet_pb2.DesiredState = fleet_pb2.DESIRED_STATE_ACTIVE
    in_flight: int = 0
    failing: bool = False
    methods: Collection[str] = ()
    used: int = 0
    here: bool = False


class Load(NamedTuple):
    """The work of a pool.

    Attributes:
        queued: tasks of its methods that wait.
        running: those that run.
        used: slots that its members use, also for direct calls.
    """

    queued: int = 0
    running: int = 0
    used: int = 0

    @property
    def work(self) -> int:
        return self.queued + max(self.running, self.used)


@dataclass(frozen=True, slots=True)
class Seen:
    """What a coordinator sees of a pool.

    Attributes:
        coordinator_id: its own.
        place: of its provider.
        listed: the members that the provider has there. None: it does not answer.
        problem: why not.
        agents: the known agents, by member.
        faults: starts and freezes that have failed since the last plan, by member, and why.
        busy: members that the provider is being asked to start or stop.
        alone: no other coordinator shares the store.
        load: the work, of a pool whose size depends on it. None: it is not known.
    """

    coordinator_id: str
    place: str
    listed: Mapping[str, ListedMember] | None
    problem: str = ""
    agents: Mapping[str, SeenAgent] = field(default_factory=dict)
    faults: Mapping[str, str] = field(default_factory=dict)
    busy: AbstractSet[str] = frozenset()
    alone: bool = True
    load: Load | None = None


@dataclass(slots=True)
class Plan:
    """What is to be done.

    Attributes:
        revoke: tokens to revoke before the pool is stored.
        start: members to start.
        stop: members to stop, and their grace.
        forget: members that have ended, for the provider to forget.
        freeze: members that are to stand still.
        thaw: members that are to go on.
        leave: members that stand still, and whose agents leave the mesh.
        desire: desired states of agents.
        gone: nothing is left of the pool: its row is to be deleted.
    """

    revoke: list[str] = field(default_factory=list)
    start: list[str] = field(default_factory=list)
    stop: dict[str, float] = field(default_factory=dict)
    forget: list[str] = field(default_factory=list)
    freeze: list[str] = field(default_factory=list)
    thaw: list[str] = field(default_factory=list)
    leave: list[str] = field(default_factory=list)
    desire: dict[str, fleet_pb2.DesiredState] = field(default_factory=dict)
    gone: bool = False
