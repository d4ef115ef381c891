"""Steps: what handlers record, signals, attempts that only wait, and remembered child tasks."""

from __future__ import annotations

from collections.abc import Sequence

from google.rpc import code_pb2, status_pb2

from tests.store.support import METHOD, OTHER_METHOD, Harness, StoreFactory
from weft.coordinator.store import history
from weft.coordinator.store.embedded.embedded_steps import EmbeddedSteps
from weft.coordinator.store.records import AttemptReport, Claimed, Enqueued, Submission, Verdict
from weft.coordinator.store.redis.redis_steps import RedisSteps
from weft.coordinator.store.remembered import request_id_of
from weft.coordinator.store.rules import State, TaskRetryPolicy
from weft.coordinator.store.step_store import (
    CHILD_KEPT_S,
    LONGEST_WAIT_S,
    AttemptFence,
    NewSignal,
    NewStep,
    RecordKind,
    StepAnswer,
    StepRecord,
    StepRefusal,
    StepSuspension,
)
from weft.rpc.times import timestamp
from weft.v1 import session_pb2, task_pb2

AT_ONCE = TaskRetryPolicy(initial_backoff_s=0.0)


def fence(claimed: Claimed) -> AttemptFence:
    return AttemptFence(claimed.task_id, claimed.attempt, claimed.owner.agent_id)


async def record(h: Harness, claimed: Claimed, step: NewStep) -> StepRecord:
    found = await h.store.record_step(fence(claimed), step)
    assert isinstance(found, StepAnswer)
    return found.step


async def signal(h: Harness, task_id: str, name: str, value: bytes = b"", signal_id: str = "") -> StepRecord:
    found = await h.store.send_signal(task_id, NewSignal(name, value, signal_id))
    assert isinstance(found, StepAnswer)
    return found.step


async def suspend(
    h: Harness,
    claimed: Claimed,
    wake_at: float | None = None,
    signals: int | None = None,
    calls: Sequence[str] = (),
) -> Verdict:
    until = task_pb2.Suspension(signals=signals, calls=calls)
    if wake_at is not None:
        until.wake_time.CopyFrom(timestamp(wake_at))
    outcome = task_pb2.Outcome(
        status=status_pb2.Status(code=code_pb2.ABORTED, message="waits"), suspension=until
    )
    report = AttemptReport(
        claimed.owner,
        claimed.task_id,
        claimed.attempt,
        code_pb2.ABORTED,
        outcome.SerializeToString(),
        suspension=StepSuspension(
            wake_at, signals, tuple(request_id_of(claimed.task_id, name) for name in calls)
        ),
    )
    return (await h.store.complete([report]))[0]


# -- records ----------------------------------------------------------------------------------------------------------


async def test_records_are_kept_in_order_and_the_first_of_a_name_stays(h: Harness) -> None:
    task_id = await h.submit()
    claimed = await h.claim_one(await h.agent())
    now = h.store.now()
    one = await record(h, claimed, NewStep("charge", RecordKind.VALUE, b"1"))
    assert one == StepRecord(1, "charge", RecordKind.VALUE, b"1", 1, now)
    two = await record(h, claimed, NewStep("pause", RecordKind.SLEEP, delay_s=60.0))
    assert two == StepRecord(2, "pause", RecordKind.SLEEP, b"", 1, now, now + 60.0)
    h.clock.advance(1)
    again = await h.store.record_step(fence(claimed), NewStep("charge", RecordKind.VALUE, b"2"))
    assert again == StepAnswer(one, existed=True)
    assert list(await h.store.list_steps(task_id, 0, 10)) == [one, two]
    assert list(await h.store.list_steps(task_id, 1, 10)) == [two]
    assert list(await h.store.list_steps(task_id, 0, 1)) == [one]
    await h.end(claimed)
    assert list(await h.store.list_steps(task_id, 0, 10)) == [one, two]


async def test_only_the_running_attempt_records(h: Harness) -> None:
    task_id = await h.submit(Submission(METHOD, retry=AT_ONCE))
    step = NewStep("charge", RecordKind.VALUE, b"1")
    assert await h.store.record_step(AttemptFence(task_id, 1), step) is StepRefusal.OVER
    owner = await h.agent()
    first = await h.claim_one(owner)
    other = await h.store.record_step(AttemptFence(task_id, 1, "another"), step)
    assert other is StepRefusal.OVER
    await h.end(first, code_pb2.UNAVAILABLE)
    assert await h.store.record_step(fence(first), step) is StepRefusal.OVER
    second = await h.claim_one(owner)
    assert await h.store.record_step(fence(first), step) is StepRefusal.OVER
    assert (await record(h, second, step)).attempt == 2
    # Without an agent, the attempt alone counts.
    assert isinstance(await h.store.record_step(AttemptFence(task_id, 2), step), StepAnswer)
    await h.end(second)
    assert await h.store.record_step(fence(second), step) is StepRefusal.OVER
    for unknown in ("", "unknown", "f" * 16, "f" * 20):
        assert await h.store.record_step(AttemptFence(unknown, 1), step) is StepRefusal.OVER
        assert await h.store.send_signal(unknown, NewSignal("go")) is StepRefusal.OVER
        assert not await h.store.list_steps(unknown, 0, 10)


async def test_large_records_come_in_pages(h: Harness) -> None:
    task_id = await h.submit()
    claimed = await h.claim_one(await h.agent())
    for index in range(9):
        await record(h, claimed, NewStep(f"n{index}", RecordKind.VALUE, b"x" * 200_000))
    found: list[StepRecord] = []
    pages = 0
    while page := await h.store.list_steps(task_id, len(found), 1000):
        found += page
        pages += 1
    assert [each.name for each in found] == [f"n{index}" for index in range(9)]
    assert pages > 1


async def test_records_are_bounded(h: Harness) -> None:
    task_id = await h.submit()
    claimed = await h.claim_one(await h.agent())
    store = h.store
    assert isinstance(store, EmbeddedSteps | RedisSteps)
    store.max_steps, store.max_steps_bytes = 3, 100
    await record(h, claimed, NewStep("a", RecordKind.VALUE, b"x" * 60))
    too_large = NewStep("b", RecordKind.VALUE, b"x" * 60)
    assert await h.store.record_step(fence(claimed), too_large) is StepRefusal.LIMIT
    await record(h, claimed, NewStep("b", RecordKind.VALUE))
    await signal(h, task_id, "go", b"", "1")
    assert await h.store.send_signal(task_id, NewSignal("go")) is StepRefusal.LIMIT
    assert await h.store.record_step(fence(claimed), NewStep("c", RecordKind.VALUE)) is StepRefusal.LIMIT
    # What is there can be had.
    assert (await record(h, claimed, too_large)).value == b""
    assert (await signal(h, task_id, "go", b"", "1")).name == "signal/go#1"


async def test_records_outlive_a_restart_and_end_with_their_task(store_factory: StoreFactory) -> None:
    h = await store_factory.open()
    task_id = await h.submit(Submission(METHOD, result_ttl_s=10.0))
    claimed = await h.claim_one(await h.agent())
    one = await record(h, claimed, NewStep("charge", RecordKind.VALUE, b"1"))
    two = await signal(h, task_id, "go", b"2")
    h = await store_factory.reopen(h, crash=True)
    assert list(await h.store.list_steps(task_id, 0, 10)) == [one, two]
    h.clock.advance(20)
    await h.store.sweep(100)
    owner = await h.agent(instance_id="another")
    await h.adopt(owner, [])
    await h.store.sweep(100)
    (again,) = await h.claim_all(owner)
    assert (await record(h, again, NewStep("next", RecordKind.VALUE))).sequence == 3
    await h.end(again)
    h.clock.advance(11)
    await h.store.sweep(100)
    assert not await h.store.list_steps(task_id, 0, 10)


# -- signals ----------------------------------------------------------------------------------------------------------


async def test_signals_are_numbered_by_name_and_stored_once_by_id(h: Harness) -> None:
    task_id = await h.submit()
    names = [
        (await signal(h, task_id, "go", b"a", "1")).name,
        (await signal(h, task_id, "go", b"b")).name,
        (await signal(h, task_id, "go.on", b"c", "1")).name,
        (await signal(h, task_id, "go", b"d", "2")).name,
    ]
    assert names == ["signal/go#1", "signal/go#2", "signal/go.on#1", "signal/go#3"]
    again = await h.store.send_signal(task_id, NewSignal("go", b"other", "1"))
    assert isinstance(again, StepAnswer)
    assert again.existed
    assert again.step.value == b"a"
    claimed = await h.claim_one(await h.agent())
    await h.end(claimed)
    assert await h.store.send_signal(task_id, NewSignal("go")) is StepRefusal.OVER


# -- attempts that only wait ------------------------------------------------------------------------------------------


async def test_an_attempt_that_sleeps_gives_its_task_back_until_it_wakes(h: Harness) -> None:
    task_id = await h.submit()
    owner = await h.agent(lease_s=1e5)
    first = await h.claim_one(owner)
    wake_at = h.store.now() + 60.0
    assert await suspend(h, first, wake_at) is Verdict.RETRYING
    # A repeat of the report.
    assert await suspend(h, first, wake_at) is Verdict.RETRYING
    waits = await h.record(task_id)
    assert (waits.state, waits.failures, waits.crashes, waits.attempt) == (State.SCHEDULED, 0, 0, 1)
    assert abs(waits.ready_at - wake_at) < 0.001
    assert not await h.claim(owner)
    await signal(h, task_id, "go")
    assert (await h.record(task_id)).state is State.SCHEDULED
    h.clock.advance(61)
    await h.store.sweep(100)
    second = await h.claim_one(owner)
    assert second.attempt == 2
    assert second.rerun is not None
    assert second.rerun.cause == session_pb2.RERUN_CAUSE_SUSPENDED
    await h.end(second)
    (past, last) = history.attempts((await h.store.get([task_id], history=True))[0] or waits)
    assert history.suspension(past) is not None
    assert (past.number, last.number) == (1, 2)


async def test_its_agent_may_have_the_next_attempt(h: Harness) -> None:
    await h.submit()
    first = await h.claim_one(await h.agent())
    await suspend(h, first, h.store.now())
    assert [key.avoid for key in h.store.ready_depths()] == [""]


async def test_a_signal_wakes_a_task_that_waits(h: Harness) -> None:
    task_id = await h.submit()
    owner = await h.agent()
    first = await h.claim_one(owner)
    await suspend(h, first, signals=0)
    waits = await h.record(task_id)
    assert waits.state is State.SCHEDULED
    assert abs(waits.ready_at - h.store.now() - LONGEST_WAIT_S) < 1.0
    ready = h.listener.ready_calls
    await signal(h, task_id, "go")
    assert (await h.record(task_id)).state is State.QUEUED
    assert h.listener.ready_calls > ready
    second = await h.claim_one(owner)
    # A signal for the running attempt, which then waits for another one.
    await signal(h, task_id, "go")
    await suspend(h, second, signals=2)
    assert (await h.record(task_id)).state is State.SCHEDULED
    await signal(h, task_id, "go")
    third = await h.claim_one(owner)
    assert third.attempt == 3
    # An attempt that has failed waits for no signal.
    await h.end(third, code_pb2.UNAVAILABLE, retry_after_s=30.0)
    await signal(h, task_id, "go")
    assert (await h.record(task_id)).state is State.SCHEDULED


async def test_a_signal_before_the_end_of_the_attempt_is_not_lost(h: Harness) -> None:
    await h.submit()
    owner = await h.agent()
    first = await h.claim_one(owner)
    await signal(h, first.task_id, "go")
    await suspend(h, first, signals=0)
    assert (await h.claim_one(owner)).attempt == 2


async def test_a_retried_task_still_has_its_signals_and_its_bound(h: Harness) -> None:
    assert isinstance(h.store, EmbeddedSteps | RedisSteps)
    h.store.max_steps = 4
    task_id = await h.submit()
    owner = await h.agent()
    first = await h.claim_one(owner)
    await record(h, first, NewStep("one", RecordKind.VALUE, b"1"))
    for _ in range(2):
        await signal(h, task_id, "go")
    await h.end(first, code_pb2.INTERNAL)
    assert await h.state(task_id) is State.FAILED
    await h.store.retry(task_id)
    await suspend(h, await h.claim_one(owner), signals=2)
    await signal(h, task_id, "go")
    third = await h.claim_one(owner)
    assert third.attempt == 3
    step = NewStep("two", RecordKind.VALUE, b"2")
    assert await h.store.record_step(fence(third), step) is StepRefusal.LIMIT


async def test_a_waiting_task_outlives_a_restart(store_factory: StoreFactory) -> None:
    h = await store_factory.open()
    task_id = await h.submit()
    first = await h.claim_one(await h.agent())
    await suspend(h, first, signals=0)
    h = await store_factory.reopen(h, crash=True)
    assert (await h.record(task_id)).state is State.SCHEDULED
    await signal(h, task_id, "go")
    h = await store_factory.reopen(h, crash=True)
    h.clock.advance(20)
    await h.store.sweep(100)
    owner = await h.agent(instance_id="another")
    await h.adopt(owner, [])
    await h.store.sweep(100)
    (second,) = await h.claim_all(owner)
    assert second.attempt == 2
    assert [key.avoid for key in h.store.ready_depths() if key.avoid] == []


async def test_a_cancelled_attempt_does_not_wait(h: Harness) -> None:
    task_id = await h.submit()
    first = await h.claim_one(await h.agent())
    await h.cancel(task_id)
    assert await suspend(h, first, signals=0) is Verdict.STORED
    assert (await h.record(task_id)).state is State.CANCELLED


async def test_a_waiting_task_is_cancelled_and_timed_out(h: Harness) -> None:
    owner = await h.agent(lease_s=1e5)
    one = await h.submit()
    await suspend(h, await h.claim_one(owner), signals=0)
    await h.cancel(one)
    assert (await h.record(one)).state is State.CANCELLED
    two = await h.submit(Submission(METHOD, schedule_to_start_s=5.0, schedule_to_close_s=30.0))
    await suspend(h, await h.claim_one(owner), signals=0)
    h.clock.advance(10)
    await h.store.sweep(100)
    assert (await h.record(two)).state is State.SCHEDULED
    h.clock.advance(21)
    await h.store.sweep(100)
    assert (await h.record(two)).state is State.FAILED


async def call_of(h: Harness, parent_id: str, name: str) -> str:
    return await h.submit(Submission(OTHER_METHOD, request_id=request_id_of(parent_id, name)))


async def test_the_end_of_a_call_wakes_its_parent(h: Harness) -> None:
    owner = await h.agent()
    parent = await h.submit()
    running = await h.claim_one(owner)
    await call_of(h, parent, "one")
    await call_of(h, parent, "two")
    await suspend(h, running, calls=["one", "two"])
    assert (await h.record(parent)).state is State.SCHEDULED
    one, two = await h.claim(owner, 2, methods=[OTHER_METHOD])
    await h.end(one, code_pb2.INTERNAL)
    assert (await h.record(parent)).state is State.QUEUED
    again = await h.claim_one(owner)
    # One of them has ended already.
    await suspend(h, again, calls=["one", "two"])
    third = await h.claim_one(owner)
    # The end of a call is nothing to a task that sleeps.
    await suspend(h, third, h.store.now() + 60)
    await h.end(two)
    assert (await h.record(parent)).state is State.SCHEDULED


async def test_the_end_of_another_call_wakes_nobody(h: Harness) -> None:
    """A handler may have others under way: each attempt that it makes for nothing replays all that was before."""
    owner = await h.agent()
    parent = await h.submit()
    running = await h.claim_one(owner)
    await call_of(h, parent, "waited")
    await call_of(h, parent, "other")
    await suspend(h, running, calls=["waited"])
    waited, other = await h.claim(owner, 2, methods=[OTHER_METHOD])
    await h.end(other)
    assert (await h.record(parent)).state is State.SCHEDULED
    await h.end(waited)
    assert (await h.record(parent)).state is State.QUEUED


async def test_a_call_that_is_not_known_has_ended(h: Harness) -> None:
    owner = await h.agent()
    await h.submit()
    await suspend(h, await h.claim_one(owner), calls=["lost"])
    assert (await h.claim_one(owner)).attempt == 2


async def test_a_parent_that_waits_for_a_call_outlives_a_restart(store_factory: StoreFactory) -> None:
    h = await store_factory.open()
    owner = await h.agent()
    parent = await h.submit()
    running = await h.claim_one(owner)
    child = await call_of(h, parent, "one")
    await suspend(h, running, calls=["one"])
    h = await store_factory.reopen(h, crash=True)
    assert (await h.record(parent)).state is State.SCHEDULED
    await h.cancel(child)
    await h.record(child)
    h = await store_factory.reopen(h, crash=True)
    h.clock.advance(20)
    await h.store.sweep(100)
    assert (await h.record(parent)).state is State.QUEUED


# -- of another mesh --------------------------------------------------------------------------------------------------

KEPT = (
    StepRecord(1, "a", RecordKind.VALUE, b"1", 1, 1000.5),
    StepRecord(2, "signal/go#1", RecordKind.SIGNAL, b"first", 0, 1001.0),
    StepRecord(3, "nap", RecordKind.SLEEP, b"", 1, 1002.0, 1060.0),
    StepRecord(4, "signal/go#2", RecordKind.SIGNAL, b"second", 0, 1003.0),
)


async def test_a_task_comes_with_what_its_handler_has_recorded_elsewhere(store_factory: StoreFactory) -> None:
    h = await store_factory.open()
    task_id = await h.submit(Submission(METHOD, request_id="moved", steps=KEPT))
    assert await h.store.list_steps(task_id, 0, 10) == list(KEPT)
    # A repeat changes nothing.
    repeated = await h.store.enqueue([Submission(METHOD, request_id="moved", steps=KEPT[:1])])
    assert repeated == [Enqueued(task_id, existed=True)]
    h = await store_factory.reopen(h, crash=True)
    assert await h.store.list_steps(task_id, 0, 10) == list(KEPT)
    owner = await h.agent()
    claimed = await h.claim_one(owner)
    answer = await h.store.record_step(fence(claimed), NewStep("a", RecordKind.VALUE, b"2"))
    assert isinstance(answer, StepAnswer)
    assert (answer.existed, answer.step.value) == (True, b"1")
    assert (await record(h, claimed, NewStep("b", RecordKind.VALUE, b"3"))).sequence == 5
    assert (await signal(h, task_id, "go", b"third")).name == "signal/go#3"
    # It has three signals.
    await suspend(h, claimed, signals=3)
    assert (await h.record(task_id)).state is State.SCHEDULED
    await signal(h, task_id, "go", b"fourth")
    assert (await h.record(task_id)).state is State.QUEUED


async def test_many_records_come_along(h: Harness) -> None:
    kept = tuple(
        StepRecord(number, f"s{number}", RecordKind.VALUE, b"x" * number, 1, 5.0) for number in range(1, 131)
    )
    task_id = await h.submit(Submission(METHOD, steps=kept))
    assert await h.store.list_steps(task_id, 0, 1000) == list(kept)


async def test_a_call_that_succeeded_elsewhere_answers(h: Harness) -> None:
    owner = await h.agent()
    parent = await h.submit()
    name = request_id_of(parent, "charge")
    done = Submission(OTHER_METHOD, b"x", request_id=name, ended=(State.SUCCEEDED, b"paid"), result_ttl_s=5.0)
    child = await h.submit(done)
    found = await h.record(child)
    assert (found.state, found.outcome, found.attempt) == (State.SUCCEEDED, b"paid", 0)
    assert h.store.unfinished() == 1
    again = await h.store.enqueue([Submission(OTHER_METHOD, b"x", request_id=name)])
    assert again == [Enqueued(child, existed=True)]
    assert await h.claim(owner, methods=[OTHER_METHOD]) == []


# -- remembered children ----------------------------------------------------------------------------------------------


async def test_a_remembered_child_is_kept_while_its_parent_is_unfinished(h: Harness) -> None:
    owner = await h.agent(lease_s=1e5)
    parent = await h.submit()
    running = await h.claim_one(owner)
    child = Submission(
        OTHER_METHOD, b"x", request_id=request_id_of(parent, "charge"), result_ttl_s=5.0, request_id_ttl_s=1.0
    )
    child_id = await h.submit(child)
    (claimed,) = await h.claim(owner, methods=[OTHER_METHOD])
    await h.end(claimed, outcome=b"answer")
    for _ in range(3):
        h.clock.advance(CHILD_KEPT_S + 1)
        await h.store.sweep(100)
    assert (await h.record(child_id)).outcome == b"answer"
    (again,) = await h.store.enqueue([child])
    assert again == Enqueued(child_id, existed=True)
    await h.end(running)
    h.clock.advance(CHILD_KEPT_S + 1)
    await h.store.sweep(100)
    assert (await h.store.get([child_id]))[0] is None
