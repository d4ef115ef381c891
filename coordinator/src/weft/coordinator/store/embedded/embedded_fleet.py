"""The embedded store's fleet: sessions and leases, agents, contracts, queues."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence

from weft.coordinator.store.embedded import run_limit_table
from weft.coordinator.store.embedded.agent_table import AgentTable
from weft.coordinator.store.embedded.attempt_moves import AttemptMoves
from weft.coordinator.store.embedded.contract_table import ContractTable
from weft.coordinator.store.embedded.journal import Journal
from weft.coordinator.store.embedded.ready import Claimable, ReadyQueue
from weft.coordinator.store.embedded.recovery import RecoveryBarrier
from weft.coordinator.store.embedded.task_table import TaskTable
from weft.coordinator.store.queue_depths import by_base
from weft.coordinator.store.records import AgentRecord, LockRecord, Owner, QueueDepth
from weft.coordinator.store.rules import RECLAIM_ATTEMPTS, QueueKey
from weft.coordinator.store.run_limits import RunLimitRules
from weft.rpc import refusals


class EmbeddedFleet:
    """The fleet's half of an embedded store; `EmbeddedStore` makes the parts. Large because `FleetStore` is."""

    _clock: Callable[[], float]
    _table: TaskTable
    _journal: Journal
    _attempts: AttemptMoves
    _agents: AgentTable
    _contracts: ContractTable
    _barrier: RecoveryBarrier

    # -- sessions -------------------------------------------------------------------------------------------------

    async def register(self, agent_id: str, instance_id: str, description: bytes, lease_s: float) -> int:
        now = self._clock()
        if self._table.leases.in_use(agent_id, instance_id, now):
            raise refusals.agent_id_in_use(agent_id)
        owner = self._agents.register(agent_id, instance_id, description)
        self._table.leases.open(owner, instance_id, now + lease_s)
        await self._journal.settled()
        return owner.epoch

    async def renew(self, owners: Sequence[Owner], lease_s: float) -> Sequence[bool]:
        ends_at = self._clock() + lease_s
        leases = [self._table.leases.get(owner) for owner in owners]
        for lease in leases:
            if lease is not None:
                self._table.leases.end(lease, ends_at)
        return [lease is not None for lease in leases]

    async def detach(self, owner: Owner, lease_s: float) -> None:
        lease = self._table.leases.get(owner)
        if lease is not None:
            lease.attached = False
            self._table.leases.end(lease, self._clock() + lease_s)

    async def retire(self, owner: Owner) -> None:
        lease = self._table.leases.get(owner)
        if lease is not None:
            self._table.leases.drop(lease, as_crashes=True)
            self._attempts.reclaim(self._clock(), RECLAIM_ATTEMPTS)
        self._agents.ended(owner, left=True)
        self._barrier.returned(owner.agent_id)
        self._barrier.release(self._clock())
        await self._journal.settled()

    @property
    def answered_at_s(self) -> float:
        return time.monotonic()

    # To read them costs nothing.
    fleet_moved = True

    async def agents(self) -> Mapping[str, AgentRecord]:
        return self._agents.records

    async def agent_news(self, also: Collection[str] = ()) -> Mapping[str, AgentRecord | None]:
        return self._agents.take_news(also)

    async def post(self, message: bytes) -> None:
        """Does nothing: there are no other coordinators."""

    async def share(self, views: Mapping[str, tuple[int, bytes]], loads: Mapping[str, bytes]) -> None:
        """Does nothing: there are no other coordinators."""

    async def loads(self, agent_ids: Sequence[str]) -> Mapping[str, bytes]:  # noqa: ARG002  # all agents are here
        return {}

    async def set_desired(self, agent_id: str, desired_state: int) -> bool:
        known = self._agents.set_desired(agent_id, desired_state)
        await self._journal.settled()
        return known

    async def forget_agent(self, agent_id: str) -> None:
        self._agents.forget(agent_id)
        await self._journal.settled()

    # -- contracts and queues ---------------------------------------------------------------------------------------

    async def put_contract(self, digest: str, file_descriptor_set: bytes, methods: Sequence[str]) -> None:
        self._contracts.put(digest, file_descriptor_set, methods)
        await self._journal.settled()

    async def contracts(self, known: Collection[str] = ()) -> Mapping[str, tuple[bytes, Sequence[str]]]:
        return self._contracts.all(known)

    async def forget_contracts(
        self, hosted: Collection[str], methods: Collection[str], grace_s: float
    ) -> Sequence[str]:
        needed = frozenset(methods).union(key.method for key in self._table.backlog.active)
        forgotten = self._contracts.forget(hosted, needed, self._clock(), grace_s)
        await self._journal.settled()
        return forgotten

    async def depths(self) -> Mapping[QueueKey, QueueDepth]:
        active, claimable = self._table.backlog.active, self._table.claimable
        return by_base((key, self._depth(queue, claimable)) for key, queue in active.items())

    def _depth(self, queue: ReadyQueue, claimable: Claimable) -> QueueDepth:
        oldest = (self._table.tasks[number].ready_at for number in queue.oldest(claimable))
        return QueueDepth(
            queue.ready + queue.parked + queue.held_back,
            queue.scheduled,
            queue.running,
            min(oldest, default=None),
            queue.parked,
        )

    async def set_paused(self, method: str, *, paused: bool) -> None:
        if paused:
            self._table.backlog.paused.add(method)
            self._journal.add_statement("INSERT OR IGNORE INTO paused (method) VALUES (?)", method)
        else:
            self._table.backlog.paused.discard(method)
            self._journal.add_statement("DELETE FROM paused WHERE method = ?", method)
            self._table.listener.ready()
        await self._journal.settled()

    async def paused(self) -> Sequence[str]:
        return sorted(self._table.backlog.paused)

    # -- run limits and locks -------------------------------------------------------------------------------------

    async def set_run_limits(self, method: str, rules: RunLimitRules) -> None:
        self._table.gates.set_rules(method, rules, self._table.leases.running(), self._clock())
        run_limit_table.replace(self._journal, method, rules)
        await self._journal.settled()

    async def run_limits(self) -> Mapping[str, RunLimitRules]:
        return {method: dict(rules) for method, rules in self._table.gates.rules.items()}

    async def locks(self, name: str = "") -> Sequence[LockRecord]:
        return self._table.gates.locks(name)
