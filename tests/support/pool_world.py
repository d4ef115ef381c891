"""A pool, its provider and some coordinators, simulated step by step: for tests of the rules. Each step can be the last of a coordinator."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping

from weft.coordinator.pools.pool_plan import PAUSES_S, Load, Plan, Seen, SeenAgent
from weft.coordinator.pools.pool_rules import NewMember, plan
from weft.coordinator.pools.provider import ListedMember
from weft.v1 import fleet_pb2, pool_pb2

PLACE = "here"
RUNS = ListedMember("1", True)


def new_pool(size: int = 3, **spec: object) -> pool_pb2.Pool:
    template = pool_pb2.PoolTemplate(provider="process", program="m:agent")
    made = pool_pb2.PoolSpec(template=template, size=size)
    for name, value in spec.items():
        setattr(made, name, value)
    return pool_pb2.Pool(name="p", spec=made, uid="u", version=1)


class Case:
    """One pool, and what is seen of it."""

    def __init__(self, size: int = 2, **spec: object) -> None:
        self.pool, self.now = new_pool(size, **spec), 100.0
        self.listed: dict[str, ListedMember] | None = {}
        self.agents: dict[str, SeenAgent] = {}
        self._numbers = itertools.count(1)

    def run(
        self,
        after_s: float = 0.0,
        *,
        faults: Mapping[str, str] | None = None,
        place: str = PLACE,
        load: Load | None = None,
    ) -> Plan:
        self.now += after_s
        seen = Seen("c", place, self.listed, "hangs", self.agents, faults or {}, load=load)
        return plan(self.pool, seen, self.now, lambda: NewMember(f"p-{next(self._numbers)}", "t"))

    def ready(self) -> None:
        """All members run and are ready."""
        started = self.run().start
        self.listed = dict.fromkeys([member.id for member in self.pool.members], RUNS)
        self.agents = {each: SeenAgent(True, True) for each in self.listed}
        assert not self.run().start
        assert started

    @property
    def states(self) -> list[str]:
        return [pool_pb2.PoolMemberState.Name(each.state).rpartition("_")[2] for each in self.pool.members]

    @property
    def state(self) -> str:
        return pool_pb2.PoolState.Name(self.pool.state).removeprefix("POOL_STATE_")


class PoolWorld:
    """The store's row, the provider's processes and the clock. Coordinators hold the actions that they have planned and not done.

    Attributes:
        broken: versions whose processes end before they are ready.
        desired: the desired states of agents that operators or pools have set.
        frozen: processes that stand still.
        left: those of them whose agents have left the mesh.
    """

    def __init__(self, pool: pool_pb2.Pool, coordinators: int = 2) -> None:
        self.row: pool_pb2.Pool | None = pool
        self.revision = 1
        self.now = 1000.0
        # True: it runs.
        self.processes: dict[str, bool] = {}
        self.desired: dict[str, fleet_pb2.DesiredState] = {}
        self.frozen: set[str] = set()
        self.left: set[str] = set()
        self.broken: set[int] = set()
        self.revoked: set[str] = set()
        self._numbers = itertools.count(1)
        self._plans: dict[int, list[Callable[[], None]]] = {each: [] for each in range(coordinators)}
        self._names = {each: f"c{each}" for each in range(coordinators)}
        self._restarts = itertools.count(coordinators)

    # -- what an operator and the world do ------------------------------------------------------------------------

    def change(self, change: Callable[[pool_pb2.Pool], None]) -> None:
        if self.row is not None:
            change(self.row)
            self.row.update_time.FromSeconds(int(self.now))
            self.revision += 1

    def kill(self, number: int) -> None:
        """Kill one of the running processes."""
        running = sorted(each for each, runs in self.processes.items() if runs)
        if running:
            self.processes[running[number % len(running)]] = False

    def crash(self, number: int) -> None:
        """Kill a coordinator, and start another one in its place."""
        self._plans[number].clear()
        self._names[number] = f"c{next(self._restarts)}"

    # -- what a coordinator does ----------------------------------------------------------------------------------

    def look(self, number: int) -> None:
        """List, plan, and store the plan."""
        listed = {
            each: ListedMember("1", runs, "" if runs else "killed", frozen=runs and each in self.frozen)
            for each, runs in self.processes.items()
        }
        row, revision = self.row, self.revision
        if row is not None:
            pool = pool_pb2.Pool.FromString(row.SerializeToString())
            seen = Seen(self._names[number], PLACE, listed, agents=self._agents(row), alone=False)
            made = plan(pool, seen, self.now, self._draw)
            self.revoked.update(made.revoke)
            if revision == self.revision:
                self.revision += 1
                self.row = None if made.gone else pool
                plans = self._plans[number]
                plans += [lambda each=each: self._start(each) for each in made.start]
                plans += [lambda each=each: self._stop(each) for each in made.stop]
                plans += [lambda each=each: self._forget(each) for each in made.forget]
                plans += [lambda each=each: self._freeze(each) for each in made.freeze]
                plans += [lambda each=each: self._thaw(each) for each in made.thaw]
                plans += [lambda each=each: self._leave(each) for each in made.leave]
                at = self.now
                plans += [
                    lambda each=each, to=to: self._desire(each, to, at) for each, to in made.desire.items()
                ]
        known = set() if self.row is None else {member.id for member in self.row.members}
        for stranger in listed.keys() - known:
            self._plans[number] += [
                lambda each=stranger: self._stop(each),
                lambda each=stranger: self._forget(each),
            ]

    def act(self, number: int) -> None:
        """Do one of the planned actions."""
        if self._plans[number]:
            self._plans[number].pop(0)()

    def _version_of(self, member_id: str) -> int:
        members = [] if self.row is None else self.row.members
        return next((member.version for member in members if member.id == member_id), 0)

    def _agents(self, row: pool_pb2.Pool) -> dict[str, SeenAgent]:
        bad = {member.id for member in row.members if member.version in self.broken}
        active = fleet_pb2.DESIRED_STATE_ACTIVE
        return {
            each: SeenAgent(
                each not in self.left, each not in self.left, self.desired.get(each, active), here=True
            )
            for each, runs in self.processes.items()
            if runs and each not in bad
        }

    def _draw(self) -> NewMember:
        return NewMember(f"p-{next(self._numbers)}", f"t{next(self._numbers)}")

    def _start(self, member_id: str) -> None:
        self.processes.setdefault(member_id, self._version_of(member_id) not in self.broken)

    def _freeze(self, member_id: str) -> None:
        if self.processes.get(member_id):
            self.frozen.add(member_id)

    def _thaw(self, member_id: str) -> None:
        """It goes on, and its agent joins again."""
        self.frozen.discard(member_id)
        self.left.discard(member_id)

    def _leave(self, member_id: str) -> None:
        """An agent whose process does not stand still dials again at once."""
        if member_id in self.frozen:
            self.left.add(member_id)

    def _desire(self, member_id: str, desired: fleet_pb2.DesiredState, at: float) -> None:
        # It follows the plan, and a store that does not answer for so long is away.
        if self.now - at < PAUSES_S - 1:
            self.desired[member_id] = desired

    def _stop(self, member_id: str) -> None:
        if member_id in self.processes:
            self.processes[member_id] = False

    def _forget(self, member_id: str) -> None:
        if self.processes.get(member_id) is False:
            del self.processes[member_id]

    # -- the end --------------------------------------------------------------------------------------------------

    def settle(self, seconds: float = 400.0) -> None:
        """Let time pass until nothing changes any more."""
        quiet, ends_at = 0, self.now + seconds
        while quiet < 8 and self.now < ends_at:
            before = (self.revision, dict(self.processes)) if self.row is None else self._picture()
            for number in self._plans:
                self.look(number)
                while self._plans[number]:
                    self.act(number)
            self.now += 0.5
            after = (self.revision, dict(self.processes)) if self.row is None else self._picture()
            goes_on = self.row is not None and (self.row.failures or self.row.rolling)
            quiet = quiet + 1 if before == after and not goes_on else 0

    def _picture(self) -> object:
        assert self.row is not None
        return self.row.SerializeToString(deterministic=True), dict(self.processes)

    @property
    def running(self) -> list[str]:
        return sorted(each for each, runs in self.processes.items() if runs)
