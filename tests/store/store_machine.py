"""The state machine of random histories: a store and a simple model must agree on everything after every step."""

from __future__ import annotations

import asyncio
import tempfile
from collections import Counter
from collections.abc import Coroutine, Sequence
from pathlib import Path
from typing import Any, TypeVar

import hypothesis.strategies as st
from google.rpc import code_pb2
from hypothesis import HealthCheck, settings
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from tests.store.factories import FACTORIES
from tests.store.model import MAX_ATTEMPTS, MAX_CRASHES, Model, ModelTask, Told
from tests.store.support import METHOD, OTHER_METHOD, Harness
from tests.support.soak import SOAKS
from weft.coordinator.store.alternatives import Alternative
from weft.coordinator.store.falling_back import alternative_of
from weft.coordinator.store.group_store import GroupClosed, GroupRecord
from weft.coordinator.store.history import attempts
from weft.coordinator.store.paging import ListFilter
from weft.coordinator.store.records import (
    AttemptRecord,
    AttemptRef,
    AttemptReport,
    Enqueued,
    Owner,
    RequestIdReused,
    Submission,
    TooManyTasks,
    Verdict,
)
from weft.coordinator.store.rules import QueueKey, State, TaskRetryPolicy
from weft.rpc.errors import AlreadyExists, FailedPrecondition

T = TypeVar("T")

POLICY = TaskRetryPolicy(MAX_ATTEMPTS, 4.0, 4.0, 1.0, frozenset({code_pb2.UNAVAILABLE}), MAX_CRASHES)
GROUPS = ("g", "h")
# Of the one submitter that has a limit.
MOST_UNFINISHED = 5
AGENTS = st.sampled_from(["a", "b", "c"])
CODES = st.sampled_from([code_pb2.OK, code_pb2.UNAVAILABLE, code_pb2.INTERNAL, code_pb2.CANCELLED])


class OpenStoreMachine(RuleBasedStateMachine):
    """A machine with a store of its own."""

    # Of the store, by its name in `FACTORIES`.
    kind = ""

    def __init__(self) -> None:
        super().__init__()
        # Hundreds of stores are opened: in memory where there is such a place.
        memory = Path("/dev/shm")
        self.directory = tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None)
        self.runner = asyncio.Runner()
        self.factory = FACTORIES[self.kind](Path(self.directory.name))
        self.h: Harness = self.do(self.factory.open())

    def do(self, step: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(step)

    def teardown(self) -> None:
        self.do(self.factory.close())
        self.runner.close()
        self.directory.cleanup()


class StoreMachine(OpenStoreMachine):
    """Rules draw any attempt that was ever made, so that stale words are as common as true ones."""

    def __init__(self) -> None:
        super().__init__()
        self.model = Model()
        # Every attempt ever claimed or adopted: task, attempt, owner.
        self.attempts: list[tuple[str, int, Owner]] = []
        self.owners: dict[str, Owner] = {}
        self.requests: dict[str, tuple[str, bytes]] = {}

    @property
    def now(self) -> float:
        return self.factory.clock()

    # -- tasks --------------------------------------------------------------------------------------------------

    @rule(
        count=st.integers(1, 6),
        priority=st.integers(3, 7),
        delay_s=st.sampled_from([0.0, 0.0, 0.0, 3.0]),
        close_s=st.sampled_from([None, None, 9.0]),
        group=st.sampled_from(["", "", *GROUPS]),
        submitter=st.sampled_from(["", "", "s"]),
        acknowledged=st.booleans(),
    )
    def enqueue(
        self,
        count: int,
        priority: int,
        delay_s: float,
        close_s: float | None,
        group: str,
        submitter: str,
        *,
        acknowledged: bool,
    ) -> None:
        submission = Submission(
            METHOD,
            b"p",
            priority=priority,
            delay_s=delay_s,
            schedule_to_close_s=close_s,
            retry=POLICY,
            group=group,
            submitter=submitter,
            most_unfinished=MOST_UNFINISHED if submitter else 0,
        )
        closed = group in self.model.closed_groups
        # The embedded store counts one that nobody was told of until it is written; only who waits hears of a closed group.
        acknowledged |= self.factory.forgets_claims or closed
        for result in self.do(self.h.store.enqueue([submission] * count, acknowledged=acknowledged)):
            if closed:
                assert result == GroupClosed(group)
                continue
            if submitter and self.model.unfinished_of(submitter) >= MOST_UNFINISHED:
                assert result == TooManyTasks(submitter, MOST_UNFINISHED)
                continue
            assert isinstance(result, Enqueued)
            self._stored(result.task_id, submission)

    @rule(group=st.sampled_from(GROUPS))
    def close_group(self, group: str) -> None:
        record = self.do(self._closed_group(group))
        assert (record is not None) == any(self.model.counts(group))
        if record is not None:
            self.model.closed_groups.add(group)

    async def _closed_group(self, group: str) -> GroupRecord | None:
        # Tasks that nobody was told of come first.
        await self._settled_records([])
        return await self.h.store.close_group(group)

    def _stored(self, task_id: str, submission: Submission) -> None:
        close_s = submission.schedule_to_close_s
        task = ModelTask(
            task_id,
            submission.priority,
            self.now + submission.delay_s,
            None if close_s is None else self.now + close_s,
            close_s,
            submission.group,
            submission.submitter,
            tuple(each.method for each in submission.alternatives) or (METHOD,),
        )
        if submission.delay_s > 0:
            task.state = State.SCHEDULED
        self.model.tasks[task_id] = task

    @rule(request_id=st.sampled_from("xyz"), payload=st.sampled_from([b"1", b"2"]))
    def enqueue_named(self, request_id: str, payload: bytes) -> None:
        submission = Submission(METHOD, payload, request_id=request_id, retry=POLICY)
        (result,) = self.do(self.h.store.enqueue([submission]))
        if request_id not in self.requests:
            assert isinstance(result, Enqueued)
            assert not result.existed
            self.requests[request_id] = (result.task_id, payload)
            self._stored(result.task_id, submission)
            return
        task_id, first = self.requests[request_id]
        same = Enqueued(task_id, existed=True) if payload == first else RequestIdReused(task_id)
        assert result == same

    @rule(request_id=st.sampled_from(["cache:p", "cache:q"]), ttl_s=st.sampled_from([1.0, 8.0]))
    def enqueue_cached(self, request_id: str, ttl_s: float) -> None:
        submission = Submission(METHOD, b"1", request_id=request_id, cache_ttl_s=ttl_s, retry=POLICY)
        (result,) = self.do(self.h.store.enqueue([submission]))
        assert isinstance(result, Enqueued)
        if request_id in self.requests:
            task_id, _ = self.requests[request_id]
            record = self.do(self.h.record(task_id))
            if not record.state.terminal:
                assert result == Enqueued(task_id, existed=True)
                return
            assert record.finished_at is not None
            if record.state is State.SUCCEEDED and self.now < record.finished_at + ttl_s:
                assert result == Enqueued(task_id, existed=True, cached=True)
                return
        assert result == Enqueued(result.task_id)
        self.requests[request_id] = (result.task_id, b"1")
        self._stored(result.task_id, submission)

    @rule(count=st.integers(1, 3), priority=st.integers(4, 6))
    def enqueue_falling(self, count: int, priority: int) -> None:
        given = Submission(METHOD, b"p", priority=priority, retry=POLICY)
        given.alternatives = (alternative_of(given), Alternative(OTHER_METHOD, retry=POLICY))
        for result in self.do(self.h.store.enqueue([given] * count)):
            assert isinstance(result, Enqueued)
            self._stored(result.task_id, given)

    @rule(avoid=st.one_of(st.just(""), AGENTS), portion=st.integers(1, 3))
    def leave_queue(self, avoid: str, portion: int) -> None:
        """Nobody serves a queue: those with a fallback go on there."""
        moved = self.do(self.h.leave(QueueKey(METHOD, avoid=avoid), portion))
        waiting = [task for task in self.model.claimable() if (task.method, task.avoid) == (METHOD, avoid)]
        assert moved == sum(task.leaves(self.now) for task in waiting)

    @rule(agent_id=AGENTS, limit=st.integers(1, 4))
    def claim(self, agent_id: str, limit: int) -> None:
        owner = self.owners.get(agent_id)
        if owner is None:
            return
        claims = self.do(self.h.claim(owner, limit, methods=(METHOD, OTHER_METHOD)))
        expected = self.model.claim(owner, limit, self.now)
        assert [(c.task_id, c.attempt, c.method) for c in claims] == [
            (t.task_id, t.attempt, t.method) for t in expected
        ]
        assert all(claimed.payload in {b"p", b"1", b"2"} for claimed in claims)
        reruns = [
            None if claimed.rerun is None else (claimed.rerun.agent_id, claimed.rerun.cause)
            for claimed in claims
        ]
        assert reruns == [task.rerun() for task in expected]
        assert all(claimed.ready_at <= self.now for claimed in claims)
        self.attempts += [(claimed.task_id, claimed.attempt, owner) for claimed in claims]

    @precondition(lambda self: self.attempts)
    @rule(data=st.data(), code=CODES, crashed=st.sampled_from([False, False, False, True]))
    def complete(self, data: st.DataObject, code: int, crashed: bool) -> None:
        self._report(data.draw(st.sampled_from(self.attempts[-12:])), code, crashed=crashed)

    def _report(self, reported: tuple[str, int, Owner], code: int, *, crashed: bool) -> None:
        task_id, attempt, owner = reported
        report = self._report_of(owner, task_id, attempt, code, crashed=crashed)
        (verdict,) = self.do(self.h.store.complete([report]))
        before, past = self.model.tasks[task_id].state, list(self.model.tasks[task_id].past)
        expected = self.model.report(owner, task_id, attempt, code, self.now, crashed=crashed)
        task = self.model.tasks[task_id]
        if task.state is State.SCHEDULED and before is State.RUNNING:
            self._fill_in_backoff(task)
            if task.state is State.FAILED:
                expected = Verdict.STORED
                task.past = past
                task.answer = task.kept_answer = (owner, attempt, expected)
        assert verdict is expected

    def _report_of(
        self, owner: Owner, task_id: str, attempt: int, code: int, *, crashed: bool
    ) -> AttemptReport:
        return AttemptReport(owner, task_id, attempt, code, b"o", crashed=crashed)

    def _fill_in_backoff(self, task: ModelTask) -> None:
        """The jitter is the store's to draw: take its word, within bounds."""
        record = self.do(self.h.record(task.task_id))
        if record.state is State.FAILED:
            # The backoff would have ended after the task's time.
            assert task.close_at is not None
            assert task.close_at - self.now < 4.0
            task.end(State.FAILED)
            return
        assert self.now <= record.ready_at <= self.now + 4.0
        task.ready_at = record.ready_at
        if task.ready_at <= self.now:
            task.state = State.QUEUED

    @precondition(lambda self: self.attempts)
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        task_id, attempt, owner = data.draw(st.sampled_from(self.attempts[-12:]))
        (released,) = self.do(self.h.store.release(owner, [AttemptRef(task_id, attempt)]))
        assert released == self.model.release(owner, task_id, attempt)

    @precondition(lambda self: self.model.tasks)
    @rule(data=st.data(), grace_s=st.sampled_from([0.0, 2.0, 8.0]))
    def cancel(self, data: st.DataObject, grace_s: float) -> None:
        task_id = data.draw(st.sampled_from(list(self.model.tasks)))
        self.do(self.h.cancel(task_id, grace_s))
        self.model.cancel(task_id, grace_s, self.now)

    @precondition(lambda self: self.model.tasks)
    @rule(data=st.data())
    def retry(self, data: st.DataObject) -> None:
        self._retry(data.draw(st.sampled_from(list(self.model.tasks))))

    def _retry(self, task_id: str) -> bool:
        try:
            self.do(self.h.store.retry(task_id))
            retried = True
        except FailedPrecondition:
            retried = False
        assert retried == self.model.retry(task_id, self.now)
        return retried

    # -- agents and time ----------------------------------------------------------------------------------------

    @rule(
        agent_id=AGENTS,
        data=st.data(),
        lease_s=st.sampled_from([5.0, 50.0]),
        instance_id=st.sampled_from(["one", "two"]),
    )
    def connect(self, agent_id: str, data: st.DataObject, lease_s: float, instance_id: str) -> None:
        """A new session, which names some of what the agent ever held, true or not."""
        refused = self.model.in_use(agent_id, instance_id, self.now)
        try:
            owner = self.do(self.h.agent(agent_id, lease_s, instance_id))
        except AlreadyExists:
            assert refused
            return
        assert not refused
        self.model.register(owner, instance_id, self.now + lease_s)
        mine = sorted({a for a in self.attempts if a[2].agent_id == agent_id})
        named = data.draw(st.lists(st.sampled_from(mine), unique=True)) if mine else []
        held = [(AttemptRef(task_id, attempt), old.epoch) for task_id, attempt, old in named]
        verdicts = self.do(self.h.adopt(owner, held))
        expected = self.model.adopt(owner, [(r.task_id, r.attempt, epoch) for r, epoch in held], self.now)
        assert list(verdicts) == expected
        self.attempts += [
            (ref.task_id, ref.attempt, owner) for (ref, _), kept in zip(held, verdicts, strict=True) if kept
        ]
        self.owners[agent_id] = owner

    @rule(agent_id=AGENTS)
    def renew(self, agent_id: str) -> None:
        owner = self.owners.get(agent_id)
        if owner is None:
            return
        (renewed,) = self.do(self.h.store.renew([owner], 5.0))
        assert renewed == (owner in self.model.leases)
        if renewed:
            self.model.leases[owner] = self.now + 5.0

    @rule(agent_id=AGENTS)
    def detach(self, agent_id: str) -> None:
        owner = self.owners.get(agent_id)
        if owner is not None:
            self.do(self.h.store.detach(owner, 2.0))
            self.model.detach(owner, self.now + 2.0)

    @rule(agent_id=AGENTS)
    def retire(self, agent_id: str) -> None:
        owner = self.owners.pop(agent_id, None)
        if owner is not None:
            self.do(self.h.store.retire(owner))
            self.model.retire(owner, self.now)

    @rule(seconds=st.sampled_from([0.0, 0.5, 1.0, 2.0, 4.0, 10.0]))
    def pass_time(self, seconds: float) -> None:
        self.do(self.h.pass_time(seconds))
        self.model.sweep(self.now)

    @rule(seconds=st.sampled_from([0.5, 3.0]))
    def pass_time_unswept(self, seconds: float) -> None:
        self.factory.clock.advance(seconds)

    @rule(crash=st.booleans())
    def reopen(self, crash: bool) -> None:
        # Changes that nobody was told of may be lost: these are written first.
        self.do(self._settled_records([]))
        self.h = self.do(self.factory.reopen(self.h, crash=crash))
        if self.factory.forgets_claims:
            self.model.restart(self.now)
            self.owners.clear()

    # -- what must hold -----------------------------------------------------------------------------------------

    @invariant()
    def everything_agrees(self) -> None:
        """Writes are settled once a step: what only looks changes nothing."""
        self.tasks_agree(self.do(self._settled_records(list(self.model.tasks))))
        self.counts_agree()
        self.groups_agree()
        if len(self.model.tasks) % 3 == 0:
            self.listings_agree()

    def tasks_agree(self, records: Sequence[Any]) -> None:
        for task, record in zip(self.model.tasks.values(), records, strict=True):
            assert record is not None
            seen = (record.state, record.attempt, record.crashes, record.cancel_requested)
            cancel = task.cancel_end_at is not None and task.state is State.RUNNING
            assert seen == (task.state, task.attempt, task.crashes, cancel)
            if task.state is State.RUNNING:
                assert task.owner is not None
                assert record.agent_id == task.owner.agent_id
            assert [_told(attempt) for attempt in attempts(record)] == task.told()

    async def _settled_records(self, ids: list[str]) -> list[Any]:
        # The store writes expired tasks of a claim, and tasks that nobody was told of, without a waiting caller. These calls wait.
        await self.h.store.complete([])
        await self.h.store.list_tasks(ListFilter(), limit=1)
        return list(await self.h.store.get(ids, history=True))

    def counts_agree(self) -> None:
        tasks = self.model.tasks.values()
        unfinished = [task for task in tasks if not task.state.terminal]
        assert self.h.store.unfinished() == len(unfinished)
        ready = Counter(QueueKey(task.method, avoid=task.avoid) for task in self.model.claimable())
        assert self.h.store.ready_depths() == ready
        for key, count in ready.items():
            assert self.h.store.ready_ahead(key, 0) == count
        depths = self.do(self.h.store.depths())
        assert bool(depths) == bool(unfinished)
        for key, depth in depths.items():
            for state, count in (
                (State.QUEUED, depth.queued),
                (State.SCHEDULED, depth.scheduled),
                (State.RUNNING, depth.running),
            ):
                assert count == sum(task.state is state and task.method == key.method for task in tasks)

    def groups_agree(self) -> None:
        for group, record in zip(GROUPS, self.do(self._settled_groups()), strict=True):
            counts = self.model.counts(group)
            assert (record is None) == (not counts)
            if record is not None:
                assert Counter(record.counts) == counts
                closed = group in self.model.closed_groups
                assert (record.closed_at is not None) == closed
                assert (record.ended_at is not None) == (closed and not record.unfinished)

    async def _settled_groups(self) -> Sequence[GroupRecord | None]:
        # The end of a group follows that of its last task.
        await self.h.store.complete([])
        return await self.h.store.get_groups(GROUPS)

    def listings_agree(self) -> None:
        for state in (State.QUEUED, State.RUNNING, State.FAILED):
            expected = sorted(
                (t.task_id for t in self.model.tasks.values() if t.state is state), reverse=True
            )
            assert self.do(self.h.find(ListFilter(frozenset({state})), limit=5)) == expected
            mine = [task_id for task_id in expected if self.model.tasks[task_id].group == GROUPS[0]]
            where = ListFilter(frozenset({state}), group=GROUPS[0])
            assert self.do(self.h.find(where, limit=5)) == mine


def _told(attempt: AttemptRecord) -> Told:
    how = "ended" if attempt.ended_at is not None else "running"
    if attempt.crashed or attempt.released:
        how = "crashed" if attempt.crashed else "released"
    return attempt.number, attempt.agent_id, how


# Examples of the long tests, by store: a step costs a Redis store a round trip or several.
MANY = {"embedded": 500, "redis": 150} if SOAKS else {"embedded": 60, "redis": 20}


def run_histories(machine: type[OpenStoreMachine], kind: str, *, examples: int, steps: int) -> None:
    """Run a machine's histories against this kind of store."""
    run_state_machine_as_test(
        type(f"{machine.__name__}_{kind}", (machine,), {"kind": kind}),
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
            print_blob=True,
        ),
    )
