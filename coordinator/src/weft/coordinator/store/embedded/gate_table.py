"""All gates: who passes, who is parked, and who returns. In memory, rebuilt after a restart.

    ready queue ── claim ──► all gates have room ──► RUNNING, gates taken ── the attempt ends ──► gates left ──┐
         ▲                └► one has none ──► parked at it                                                     │
         └────────────────────────── best first, as many as there is room for, at least one ◄──────────────────┘

No wake-up is lost: whenever a gate may have gained room, or one of the tasks that returned from it leaves its queue, `_settle`
lets tasks return until each queue with tasks parked there has as many back as there is room for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from heapq import heapify, heappop, heappush

from weft.coordinator.store.embedded.gate import (
    NEVER,
    Gate,
    LimitGate,
    LockGate,
    Lot,
    RecoveryGate,
    TaskGates,
)
from weft.coordinator.store.embedded.unfinished_task import UnfinishedTask, keeps_gates
from weft.coordinator.store.records import MAX_HOLDERS, LockHolder, LockRecord
from weft.coordinator.store.rules import HIGHEST_PRIORITY, State
from weft.coordinator.store.run_limits import GateKey, RunLimitRule, RunLimitRules, limit_gates
from weft.coordinator.store.task_ids import format_id

Found = list[tuple[Gate, bool]]
# Idle gates of rates that are remembered before the first look at which of them can be forgotten.
_IDLE = 1024


class GateTable:
    """Gates by key. Large because it has a method for each event of a task that concerns gates.

    Args:
        tasks: all unfinished tasks by number.
        ready: told when tasks return.
        due: told the time of the next token that a parked task waits for.
    """

    def __init__(
        self,
        tasks: Mapping[int, UnfinishedTask],
        ready: Callable[[], None],
        due: Callable[[float], None],
    ) -> None:
        self._tasks = tasks
        self._ready = ready
        self._due = due
        self.rules: dict[str, dict[str, RunLimitRule]] = {}
        # Whether a task may have gates, or a place in a fair order; whether a rule counts unfinished tasks.
        self.in_use = False
        self.counting = False
        self._limits: dict[GateKey, LimitGate] = {}
        self._locks: dict[str, LockGate] = {}
        self._recovery: RecoveryGate | None = None
        # Since when the buckets of recovered rules fill: what was started before is not known.
        self._opened_at = 0.0
        self._recovered: set[tuple[str, str]] = set()
        self._times: list[tuple[float, GateKey]] = []
        self._tidy_at = _IDLE
        # Gates to settle when the claim is over: queues must not change under it.
        self._deferred: dict[Gate, None] | None = None

    # -- rules ----------------------------------------------------------------------------------------------------

    def recover(self, rules: Mapping[str, RunLimitRules], now: float, *, attempts_may_run: bool) -> None:
        """After a restart, before tasks are placed: the stored rules."""
        self.rules = {method: dict(each) for method, each in rules.items()}
        self.in_use = bool(self.rules)
        self._counts()
        self._opened_at = now
        self._recovered = {(method, expression) for method, each in rules.items() for expression in each}
        if attempts_may_run:
            self._recovery = RecoveryGate()

    def recovery_over(self) -> None:
        """Every agent has named its attempts, or its time for that has passed."""
        gate = self._recovery
        if gate is not None:
            gate.over = True
            self._recovery = None
            self._settle(gate)

    def set_rules(
        self, method: str, rules: RunLimitRules, running: Iterable[UnfinishedTask], now: float
    ) -> None:
        """Replace a method's rules. `running`: all running tasks, which are counted from now on."""
        before = self.rules.pop(method, {})
        if rules:
            self.rules[method] = dict(rules)
            self.in_use = True
        self._counts()
        self._recovered -= {
            (method, expression) for expression, rule in before.items() if rules.get(expression) != rule
        }
        gates = [gate for gate in self._limits.values() if gate.key.method == method]
        for gate in gates:
            rule = rules.get(gate.key.expression)
            if rule != gate.rule:
                gate.change(rule, now)
        for task in running:
            if task.spec.method == method:
                self._recount(task, now)
        for gate in gates:
            self._settle(gate)
        if self._recovery is not None:
            # Tasks may have no gate any more: those that wait for the recovery are looked at again.
            waits, self._recovery = self._recovery, RecoveryGate()
            waits.over = True
            self._settle(waits)

    def _recount(self, task: UnfinishedTask, now: float) -> None:
        """Make a running task count at the gates of the rules of now."""
        wanted = self._gates_of(task, now)
        taken = () if task.gates is None else task.gates.taken
        keep = {gate for gate, _ in wanted}
        for gate in taken:
            if gate not in keep:
                gate.leave(task.number)
        new = [(gate, shared) for gate, shared in wanted if gate not in taken]
        for gate, shared in new:
            gate.take(task.number, shared=shared, starts=False)
        if taken or new:
            gates_of(task).taken = tuple(gate for gate, _ in wanted)

    def _counts(self) -> None:
        self.counting = any(rule.counts_unfinished for each in self.rules.values() for rule in each.values())

    # -- gates of a task --------------------------------------------------------------------------------------------

    def _gates_of(self, task: UnfinishedTask, now: float) -> Found:
        """The gates that a task passes now, each with whether it shares it."""
        demand, found = task.demand, Found()
        if rules := self.rules.get(task.spec.method):
            found += ((gate, False) for gate in self._limits_of(task, rules, now))
        if demand is not None:
            found += [(self._lock(name), shared) for name, shared, _ in demand.locks]
        if found and self._recovery is not None:
            found.insert(0, (self._recovery, False))
        return found

    def _limits_of(self, task: UnfinishedTask, rules: RunLimitRules, now: float) -> Iterator[LimitGate]:
        demand = task.demand
        fairness_key, keys = ("", ()) if demand is None else (demand.fairness_key, demand.limit_keys)
        for key, rule in limit_gates(rules, task.spec.method, fairness_key, keys):
            yield self.limit(key, rule, now)

    def limit(self, key: GateKey, rule: RunLimitRule, now: float) -> LimitGate:
        """The gate of a rule."""
        gate = self._limits.get(key)
        if gate is None:
            tokens = rule.bucket_size
            if (key.method, key.expression) in self._recovered:
                tokens = min(tokens, max(0.0, now - self._opened_at) * rule.rate_per_s)
            gate = self._limits[key] = LimitGate(key, rule, tokens, now)
        return gate

    def _lock(self, name: str) -> LockGate:
        gate = self._locks.get(name)
        if gate is None:
            gate = self._locks[name] = LockGate(GateKey.of_lock(name))
        return gate

    def _forget_idle(self, now: float) -> None:
        """Forget gates that were looked at only, and those whose buckets have filled up meanwhile."""
        for gate in list(self._limits.values()):
            gate.refresh(now)
            self._forget(gate)
        for lock in list(self._locks.values()):
            self._forget(lock)
        self._tidy_at = 2 * (len(self._limits) + len(self._locks)) + _IDLE

    def _forget(self, gate: Gate) -> None:
        """Forget a gate that is idle. Its key may be another one's by now: tasks keep the gates that have counted them."""
        if not gate.idle:
            return
        if isinstance(gate, LockGate):
            if self._locks.get(gate.key.value) is gate:
                del self._locks[gate.key.value]
        elif self._limits.get(gate.key) is gate:
            del self._limits[gate.key]

    # -- a claim ----------------------------------------------------------------------------------------------------

    def begin(self, now: float) -> None:
        """A claim begins: tasks whose tokens have come return; from now on no task does."""
        self.tick(now)
        if len(self._limits) + len(self._locks) >= self._tidy_at:
            self._forget_idle(now)
        self._deferred = {}

    def finish(self) -> None:
        """The claim is over."""
        deferred, self._deferred = self._deferred, None
        for gate in deferred or ():
            self._settle(gate)

    def check(self, task: UnfinishedTask, now: float) -> Found | None:
        """The gates of a ready task, the first in its queue, if all have room. None: one has none, and the task is parked there."""
        found = self._gates_of(task, now)
        for gate, shared in found:
            if not gate.has_room(task.number, now, shared=shared):
                self._park(task, gate, shared=shared)
                return None
        return found

    def take(self, task: UnfinishedTask, found: Found, *, starts: bool = True) -> None:
        """Let a task pass. `starts`: its attempt starts now, and was not adopted."""
        gates = gates_of(task)
        gates.taken = tuple(gate for gate, _ in found)
        for gate, shared in found:
            gate.take(task.number, shared=shared, starts=starts)

    def adopted(self, task: UnfinishedTask, now: float) -> None:
        """An attempt of before the restart runs: it counts, whether or not there is room."""
        if found := self._gates_of(task, now):
            self.take(task, found, starts=False)

    def _park(self, task: UnfinishedTask, gate: Gate, *, shared: bool) -> None:
        queue, gates = task.spec.queue, gates_of(task)
        if gates.lot is not None:
            gates.lot.returned -= 1
            self._touch(gates.lot.gate)
        lot = gates.lot = gate.lot(queue, shared=shared)
        gates.parked = True
        rank = HIGHEST_PRIORITY - task.spec.priority
        lot.push(rank, queue.take(rank))
        queue.ready -= 1
        queue.parked += 1
        gate.parks(task.number, shared=shared)
        self._index(gate)

    # -- moves of tasks ---------------------------------------------------------------------------------------------

    def leaves(self, task: UnfinishedTask, state: State) -> bool:
        """A task with `TaskGates` changes its state. Returns whether it was parked."""
        gates = gates_of(task)
        lot, parked = gates.lot, gates.parked
        if lot is not None:
            gates.lot, gates.parked = None, False
            if parked:
                self._unpark(lot, task.number)
            else:
                lot.returned -= 1
            self._touch(lot.gate)
        if gates.taken and state is not State.RUNNING and not (state is State.QUEUED and keeps_gates(task)):
            self.leave(task)
        if state.terminal:
            self.uncount(task)
            task.gates = None
        return parked

    def leave(self, task: UnfinishedTask) -> None:
        """What a task has taken is free."""
        taken, gates_of(task).taken = gates_of(task).taken, ()
        for gate in taken:
            gate.leave(task.number)
            self._touch(gate)

    def refund(self, task: UnfinishedTask) -> None:
        """A running attempt is undone, as if it had never been: a rate does not count it."""
        for gate in gates_of(task).taken:
            if isinstance(gate, LimitGate):
                gate.refund()

    def _unpark(self, lot: Lot, number: int) -> None:
        lot.parked -= 1
        lot.queue.parked -= 1
        lot.gate.unparks(number, shared=lot.shared)
        if len(lot.heap) > 2 * lot.parked + 1024:
            lot.heap = [entry for entry in lot.heap if self._is_in(lot, lot.number(entry))]
            heapify(lot.heap)

    # -- unfinished tasks of a limit --------------------------------------------------------------------------------

    def count(self, task: UnfinishedTask, now: float) -> None:
        """Count a new unfinished task at the limits that count these."""
        rules = self.rules.get(task.spec.method)
        if not rules or task.cancel is not None:
            return
        counted = tuple(
            gate
            for gate in self._limits_of(task, rules, now)
            if gate.rule is not None and gate.rule.counts_unfinished
        )
        for gate in counted:
            gate.members[task.number] = None
        if counted:
            gates_of(task).counted = counted

    def uncount(self, task: UnfinishedTask) -> None:
        """A task ended, or its cancellation was requested."""
        gates = gates_of(task)
        counted, gates.counted = gates.counted, ()
        for gate in counted:
            gate.members.pop(task.number, None)
            self._forget(gate)

    # -- returning ----------------------------------------------------------------------------------------------------

    def tick(self, now: float) -> int:
        """Let tasks return whose tokens have come; returns how many gates were looked at."""
        due: list[LimitGate] = []
        while self._times and self._times[0][0] <= now:
            gate = self._valid(*heappop(self._times))
            if gate is not None:
                gate.indexed_at = NEVER
                due.append(gate)
        for gate in due:
            gate.refresh(now)
            self._settle(gate)
        return len(due)

    @property
    def next_at(self) -> float:
        """When tokens come next that parked tasks wait for."""
        while self._times and self._valid(*self._times[0]) is None:
            heappop(self._times)
        return self._times[0][0] if self._times else NEVER

    def _valid(self, at: float, key: GateKey) -> LimitGate | None:
        gate = self._limits.get(key)
        return gate if gate is not None and gate.indexed_at == at else None

    def _index(self, gate: Gate) -> None:
        if not isinstance(gate, LimitGate) or (at := gate.next_at) >= gate.indexed_at:
            return
        gate.indexed_at = at
        heappush(self._times, (at, gate.key))
        if self._times[0][0] == at:
            self._due(at)

    def _touch(self, gate: Gate) -> None:
        """A gate may have gained room, or a task that returned from it has left its queue."""
        if self._deferred is None:
            self._settle(gate)
        else:
            self._deferred[gate] = None

    def _settle(self, gate: Gate) -> None:
        """Let tasks return while there is room for them. Each queue has its own: its agents may be the only ones that are free."""
        back = 0
        for name, lot in list(gate.lots.items()):
            while self._has_best(lot) and lot.returned < gate.room_for(lot):
                self._return_best(lot)
                back += 1
            if lot.parked and not lot.returned:
                self._index(gate)
            elif not lot.parked and not lot.returned:
                del gate.lots[name]
        if back:
            self._ready()
        self._forget(gate)

    def _has_best(self, lot: Lot) -> bool:
        """Drop stale items; whether a task is parked in the lot."""
        while lot.heap and not self._is_in(lot, lot.first):
            lot.pop()
        return bool(lot.heap)

    def _is_in(self, lot: Lot, number: int) -> bool:
        task = self._tasks.get(number)
        return task is not None and task.gates is not None and task.gates.lot is lot and task.gates.parked

    def _return_best(self, lot: Lot) -> None:
        number = lot.first
        rank, item = lot.pop()
        self._unpark(lot, number)
        lot.returned += 1
        gates_of(self._tasks[number]).parked = False
        lot.queue.put_back(rank, item)

    def locks(self, name: str) -> list[LockRecord]:
        """Locks that are held or waited for; with a name, that one."""
        gates = [self._locks[name]] if name in self._locks else [] if name else self._locks.values()
        records = [self._lock_record(gate) for gate in gates if not gate.idle]
        return sorted(records, key=lambda record: record.name)

    def _lock_record(self, gate: LockGate) -> LockRecord:
        holders = [self._holder(number, shared) for number, shared in gate.holders.items()]
        holders.sort(key=lambda holder: (holder.since, holder.task_id))
        return LockRecord(gate.key.value, holders[:MAX_HOLDERS], gate.waiting)

    def _holder(self, number: int, shared: bool) -> LockHolder:  # of the dict's items
        task = self._tasks[number]
        agent_id = "" if task.owner is None else task.owner.agent_id
        return LockHolder(format_id(number), agent_id, task.started_at or 0.0, shared)


def gates_of(task: UnfinishedTask) -> TaskGates:
    """A task's gates, made when it meets the first one."""
    if task.gates is None:
        task.gates = TaskGates()
    return task.gates
