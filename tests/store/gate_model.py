"""Gates as simple as can be: counted anew from the running tasks each time. What the state machine compares real stores with."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from tests.store.model import Model, ModelTask
from tests.store.support import METHOD
from weft.coordinator.store.records import Submission
from weft.coordinator.store.rules import State
from weft.coordinator.store.run_limits import GateKey, LimitAction, RunLimitRule, limit_gates


@dataclass
class GateModel:
    """The run limits of one method, and what tasks demand."""

    model: Model
    rules: dict[str, RunLimitRule] = field(default_factory=dict)
    # Submissions by task id; tasks without a demand are not here.
    demands: dict[str, Submission] = field(default_factory=dict)
    # Tasks that a limit has counted since it was set, oldest first.
    counted: dict[GateKey, dict[str, None]] = field(default_factory=dict)

    def demand(self, task: ModelTask) -> Submission:
        return self.demands.get(task.task_id) or Submission(METHOD)

    def limits(self, demand: Submission) -> list[tuple[GateKey, RunLimitRule]]:
        return list(limit_gates(self.rules, METHOD, demand.fairness_key, demand.limit_keys))

    def has_gates(self, task: ModelTask) -> bool:
        demand = self.demand(task)
        return bool(demand.locks or self.limits(demand))

    def running(self) -> Iterator[ModelTask]:
        return (task for task in self.model.tasks.values() if task.state is State.RUNNING)

    def holders(self, lock: str) -> list[bool]:
        """Whether each holder of a lock shares it."""
        return [
            shared for task in self.running() for name, shared, _ in self.demand(task).locks if name == lock
        ]

    def waits_exclusively(self, lock: str) -> bool:
        return any(
            name == lock and not shared
            for task in self.model.claimable()
            for name, shared, _ in self.demand(task).locks
        )

    def used(self, gate: GateKey) -> int:
        return sum(gate in dict(self.limits(self.demand(task))) for task in self.running())

    def blocked(self, task: ModelTask) -> bool:
        """Whether a task must not start now, for certain."""
        demand = self.demand(task)
        if self.model.hold_for and self.has_gates(task):
            return True
        if any(self.used(gate) >= rule.max_running for gate, rule in self.limits(demand)):
            return True
        return any(
            (held := self.holders(name)) and not (shared and all(held)) for name, shared, _ in demand.locks
        )

    def may_wait(self, task: ModelTask) -> bool:
        """Whether a task may wait although it is not blocked: it lets an exclusive claim go first."""
        return any(
            shared and self.holders(name) and self.waits_exclusively(name)
            for name, shared, _ in self.demand(task).locks
        )

    # -- unfinished tasks -------------------------------------------------------------------------------------------

    def set_rules(self, rules: dict[str, RunLimitRule]) -> None:
        self.rules = rules
        for gate in list(self.counted):
            rule = rules.get(gate.expression)
            if rule is None or not rule.counts_unfinished:
                del self.counted[gate]

    def members(self, gate: GateKey) -> list[ModelTask]:
        tasks = (self.model.tasks[task_id] for task_id in self.counted.get(gate, ()))
        return [task for task in tasks if not task.state.terminal and task.cancel_end_at is None]

    def full(self, demand: Submission) -> tuple[GateKey, RunLimitRule] | None:
        """The limit of unfinished tasks that has no room for another; the machine sets one at most."""
        for gate, rule in self.limits(demand):
            if rule.counts_unfinished and len(self.members(gate)) >= rule.max_running:
                return gate, rule
        return None

    def stored(self, task: ModelTask, demand: Submission, now: float) -> None:
        """A task was stored, although a limit may be full."""
        full = self.full(demand)
        self.demands[task.task_id] = demand
        self.count(task)
        if full is None:
            return
        gate, rule = full
        if rule.at_limit is LimitAction.CANCEL_NEWEST:
            task.end(State.CANCELLED)
            return
        for old in self.members(gate)[: -rule.max_running]:
            self.model.cancel(old.task_id, rule.grace_s, now)

    def count(self, task: ModelTask) -> None:
        for gate, rule in self.limits(self.demand(task)):
            if rule.counts_unfinished:
                members = self.counted.setdefault(gate, {})
                members.pop(task.task_id, None)
                members[task.task_id] = None

    def restart(self) -> None:
        """A store that forgets claims counts anew: all unfinished tasks, oldest first."""
        self.counted.clear()
        for task in sorted(self.model.tasks.values(), key=lambda task: task.task_id):
            if not task.state.terminal:
                self.count(task)
