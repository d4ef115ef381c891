"""Random histories with run limits, locks, fairness keys and resources: nothing is over-committed, and no wake-up is lost.

Which of several tasks starts first depends on where tasks were parked. So this machine checks what must hold for any order; the
plain one compares orders exactly.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from itertools import combinations
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis.stateful import initialize, invariant, precondition, rule

from tests.store.factories import FACTORIES
from tests.store.gate_model import GateModel
from tests.store.model import ModelTask
from tests.store.store_machine import AGENTS, CODES, MANY, POLICY, StoreMachine, run_histories
from tests.store.support import METHOD
from weft.coordinator.store.records import (
    AtLimit,
    AttemptReport,
    Claimed,
    ClaimRequest,
    Enqueued,
    Owner,
    Submission,
)
from weft.coordinator.store.rules import Requirements, State
from weft.coordinator.store.run_limits import LimitAction, LockClaim, RunLimitRule
from weft.coordinator.store.state_store import StateWrite, kept_by

STATE = "m"
LOCKS = st.lists(
    # Whoever has the first one alone has its state.
    st.builds(LockClaim, st.sampled_from(["m", "n"]), st.booleans()).map(
        lambda lock: lock._replace(state=lock.name == STATE and not lock.shared)
    ),
    max_size=2,
    unique_by=lambda each: each.name,
)
RUNNING = st.builds(RunLimitRule, max_running=st.integers(1, 3))
COUNTING = st.builds(
    RunLimitRule, max_running=st.integers(1, 2), at_limit=st.sampled_from(LimitAction), grace_s=st.just(2.0)
)
RULES = st.fixed_dictionaries({}, optional={"": RUNNING, "fairness_key": RUNNING, "tenant": COUNTING})


class GatedStoreMachine(StoreMachine):
    """The plain machine's rules, with submissions that demand something and claims that are checked by what must hold."""

    def __init__(self) -> None:
        super().__init__()
        self.gates = GateModel(self.model)
        # Tasks that were released, or parked at some time: they are ahead of their turn.
        self.ahead: set[str] = set()
        # The state of its lock, and the version that each attempt has begun with.
        self.state: bytes | None = None
        self.begun: dict[tuple[str, int], int] = {}
        self.writes = 0

    @initialize(rules=RULES)
    def begin(self, rules: dict[str, RunLimitRule]) -> None:
        """Two agents and some limits: histories without these tell nothing about gates."""
        for agent_id in ("a", "b"):
            self.owners[agent_id] = owner = self.do(self.h.agent(agent_id, 50.0, "one"))
            self.model.register(owner, "one", self.now + 50.0)
        self.set_limits(rules)

    # -- tasks ----------------------------------------------------------------------------------------------------

    # These say nothing about gates; each that is left is drawn more often.
    enqueue = enqueue_named = enqueue_cached = enqueue_falling = leave_queue = None  # type: ignore[assignment]
    renew = detach = pass_time_unswept = None  # type: ignore[assignment]

    @rule(
        count=st.integers(1, 4),
        priority=st.integers(4, 6),
        delay_s=st.sampled_from([0.0, 0.0, 3.0]),
        key=st.sampled_from(["", "a", "b", "c"]),
        tenant=st.sampled_from([None, "s", "t"]),
        locks=LOCKS,
        gpu=st.sampled_from([0.0, 0.0, 1.0, 3.0]),
        claims=st.integers(0, 2),
    )
    def enqueue_demanding(
        self,
        count: int,
        priority: int,
        delay_s: float,
        key: str,
        tenant: str | None,
        locks: list[LockClaim],
        gpu: float,
        claims: int,
    ) -> None:
        submission = Submission(
            METHOD,
            b"p",
            priority=priority,
            delay_s=delay_s,
            retry=POLICY,
            requirements=Requirements.of({}, {}, {"gpu": gpu} if gpu else {}),
            fairness_key=key,
            limit_keys=() if tenant is None else (("tenant", tenant),),
            locks=tuple(locks),
        )
        for result in self.do(self.h.store.enqueue([submission] * count)):
            full = self.gates.full(submission)
            if full is not None and full[1].at_limit is LimitAction.REFUSE:
                assert result == AtLimit(full[0], full[1].max_running)
                continue
            assert isinstance(result, Enqueued)
            self._stored(result.task_id, submission)
            self.gates.stored(self.model.tasks[result.task_id], submission, self.now)
        # At once: histories in which nothing runs tell nothing about gates.
        for owner in list(self.owners.values())[:claims]:
            self._claim_some(owner, 2, 100.0)

    @rule(rules=RULES)
    def set_limits(self, rules: dict[str, RunLimitRule]) -> None:
        self.do(self.h.store.set_run_limits(METHOD, rules))
        self.gates.set_rules(rules)
        assert self.do(self.h.store.run_limits()) == ({METHOD: rules} if rules else {})

    @rule(seconds=st.sampled_from([0.0, 0.5, 2.0, 4.0]))
    def pass_time(self, seconds: float) -> None:
        super().pass_time(seconds)

    @precondition(lambda self: self.owners)
    @rule(data=st.data(), limit=st.integers(1, 8), left=st.sampled_from([0.0, 2.0, 100.0]))
    def claim(self, data: st.DataObject, limit: int, left: float) -> None:
        owner = self.owners[data.draw(st.sampled_from(sorted(self.owners)))]
        self._claim_some(owner, limit, left)

    def _claim_some(self, owner: Owner, limit: int, left: float) -> None:
        waiting = self.model.claimable()
        claims = self._claim(owner, limit, left)
        assert len(claims) <= limit
        self._check_turns(claims, waiting)
        if len(claims) < limit and owner in self.model.leases:
            self._check_nothing_is_left(owner, left)

    def _claim(self, owner: Owner, limit: int, left: float) -> list[Claimed]:
        keys = dict.fromkeys(self.h.store.ready_depths(), 1)
        request = ClaimRequest(owner, keys, limit, limit, {"gpu": left})
        claims = list(self.do(self.h.store.claim([request]))[0])
        self._sync_expired()
        for claimed in claims:
            task = self.model.tasks[claimed.task_id]
            assert owner in self.model.leases
            assert task.state is State.QUEUED
            assert not task.held_back
            assert not self.gates.blocked(task), "over-committed"
            left -= dict(self.gates.demand(task).requirements.consumes).get("gpu", 0.0)
            assert left >= 0.0, "more resources than are left"
            task.state, task.owner, task.answer = State.RUNNING, owner, None
            task.attempt += 1
            assert task.attempt == claimed.attempt
            self.attempts.append((claimed.task_id, claimed.attempt, owner))
            assert (claimed.state is not None) == bool(kept_by(self.gates.demand(task).locks))
            if claimed.state is not None:
                found = claimed.state.value if claimed.state.version else None
                assert found == self.state, "an attempt begins with another state"
                self.begun[claimed.task_id, claimed.attempt] = claimed.state.version
        return claims

    def _report_of(
        self, owner: Owner, task_id: str, attempt: int, code: int, *, crashed: bool
    ) -> AttemptReport:
        """With another state, also of a failure, and also if it is late."""
        report = super()._report_of(owner, task_id, attempt, code, crashed=crashed)
        if (base := self.begun.get((task_id, attempt))) is not None:
            self.writes += 1
            value = None if self.writes % 5 == 0 else b"%d" % self.writes
            report.state = StateWrite(base, value)
        return report

    def _report(self, reported: tuple[str, int, Owner], code: int, *, crashed: bool) -> None:
        task = self.model.tasks[reported[0]]
        before = task.state
        super()._report(reported, code, crashed=crashed)
        if before is State.RUNNING and task.state is State.SUCCEEDED and reported[:2] in self.begun:
            self.state = None if self.writes % 5 == 0 else b"%d" % self.writes

    def _sync_expired(self) -> None:
        """Which expired tasks a claim came across depends on where they were."""
        for task in self.model.tasks.values():
            late = task.state is State.QUEUED and task.close_at is not None and task.close_at <= self.now
            if late and self.do(self._settled_state(task.task_id)) is State.FAILED:
                task.end(State.FAILED)

    async def _settled_state(self, task_id: str) -> Any:
        (record,) = await self._settled_records([task_id])
        return record.state

    def _check_nothing_is_left(self, owner: Owner, left: float) -> None:
        """Claims until nothing more is given out: then nothing that may start waits."""
        for _ in range(100):
            told = self.h.listener.ready_calls
            if not self._claim(owner, 50, left) and self.h.listener.ready_calls == told:
                break
        else:
            raise AssertionError("claims do not end")
        for task in self.model.claimable():
            expired = task.close_at is not None and task.close_at <= self.now
            uses = bool(self.gates.demand(task).requirements.consumes) and left < 100.0
            if not expired and not uses:
                assert self.gates.blocked(task) or self.gates.may_wait(task), "a wake-up was lost"

    def _check_turns(self, claims: list[Claimed], waiting: list[ModelTask]) -> None:
        """Keys with tasks ready all the time are served in turns. Gates delay keys: then the order says nothing."""
        by_id = {task.task_id: task for task in waiting}
        if any(self.gates.has_gates(task) for task in waiting):
            self.ahead |= set(by_id)
            return
        places: defaultdict[tuple[str, Requirements, int], list[ModelTask]] = defaultdict(list)
        for task in waiting:
            places[task.avoid, self.gates.demand(task).requirements, task.priority].append(task)
        taken = {claimed.task_id for claimed in claims}
        for tasks in places.values():
            left_over = {self.gates.demand(task).fairness_key for task in tasks if task.task_id not in taken}
            served = Counter(
                self.gates.demand(task).fairness_key
                for task in tasks
                if task.task_id in taken and task.task_id not in self.ahead
            )
            ahead = any(task.task_id in self.ahead for task in tasks)
            for one, other in combinations(left_over, 2):
                assert ahead or abs(served[one] - served[other]) <= 2, "a key was served out of turn"

    @precondition(lambda self: any(self.gates.running()))
    @rule(data=st.data(), code=CODES, crashed=st.sampled_from([False, False, True]))
    def finish(self, data: st.DataObject, code: int, crashed: bool) -> None:
        """As `complete`, of an attempt that runs for certain."""
        task = data.draw(st.sampled_from(list(self.gates.running())))
        assert task.owner is not None
        self.attempts.append((task.task_id, task.attempt, task.owner))
        self._report(self.attempts[-1], code, crashed=crashed)

    # -- rules of the plain machine that gates follow -----------------------------------------------------------------

    @precondition(lambda self: self.attempts)
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        super().release(data)
        self.ahead |= {task.task_id for task in self.model.tasks.values() if task.attempt}

    @precondition(lambda self: self.model.tasks)
    @rule(data=st.data())
    def retry(self, data: st.DataObject) -> None:
        task_id = data.draw(st.sampled_from(list(self.model.tasks)))
        if self._retry(task_id):
            self.gates.count(self.model.tasks[task_id])

    @rule(agent_id=AGENTS, often=st.integers(0, 3))
    def retire(self, agent_id: str, often: int) -> None:
        if not often:
            super().retire(agent_id)

    @rule(crash=st.booleans(), often=st.integers(0, 3))
    def reopen(self, crash: bool, often: int) -> None:
        if often:
            return
        super().reopen(crash)
        if self.factory.forgets_claims:
            self.gates.restart()
        assert self.do(self.h.store.run_limits()) == ({METHOD: self.gates.rules} if self.gates.rules else {})

    # -- what must hold -----------------------------------------------------------------------------------------------

    @invariant()
    def everything_agrees(self) -> None:
        super().everything_agrees()
        self.locks_agree()
        state = self.do(self.h.store.get_state(STATE))
        assert (None if state is None else state.value) == self.state

    def counts_agree(self) -> None:
        tasks = self.model.tasks.values()
        assert self.h.store.unfinished() == sum(not task.state.terminal for task in tasks)
        depths = self.do(self.h.store.depths()).values()
        limited = sum(depth.limited for depth in depths)
        assert sum(self.h.store.ready_depths().values()) + limited == len(self.model.claimable())
        for state, counted in (
            (State.QUEUED, sum(depth.queued for depth in depths)),
            (State.SCHEDULED, sum(depth.scheduled for depth in depths)),
            (State.RUNNING, sum(depth.running for depth in depths)),
        ):
            assert counted == sum(task.state is state for task in tasks)

    def locks_agree(self) -> None:
        expected = {
            name: sorted(
                task.task_id
                for task in self.gates.running()
                for each, *_ in self.gates.demand(task).locks
                if each == name
            )
            for name in ("m", "n")
        }
        found = {
            each.name: sorted(holder.task_id for holder in each.holders)
            for each in self.do(self.h.store.locks())
        }
        assert all(found.get(name, []) == holders for name, holders in expected.items())


@pytest.mark.parametrize("kind", sorted(FACTORIES))
def test_gates_hold_in_random_histories(kind: str) -> None:
    run_histories(GatedStoreMachine, kind, examples=40 if kind == "embedded" else 20, steps=40)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("kind", sorted(FACTORIES))
def test_gates_hold_in_many_long_histories(kind: str) -> None:
    run_histories(GatedStoreMachine, kind, examples=MANY[kind], steps=80)
