"""When a task runs: priority, age, delay, and the three limits on its time."""

from __future__ import annotations

import asyncio
import random
import time

import pytest

from probe.v1.probe_pb2 import ProbeRequest
from tests.support import tasks
from tests.support.ledger import Ledger
from tests.support.mesh import MeshHarness
from weft.rpc.errors import error_info
from weft.rpc.times import duration
from weft.v1 import coordinator_pb2, options_pb2, task_pb2

NARROW_CALL = ("weft-require", "role=narrow")


@pytest.fixture
def ledger(shared_mesh: MeshHarness, request: pytest.FixtureRequest) -> Ledger:
    return shared_mesh.ledger(request.node.name)


async def submit(
    mesh: MeshHarness, request: ProbeRequest, options: task_pb2.TaskOptions | None = None
) -> str:
    """Submit a task for the agent with one slot."""
    wanted = task_pb2.TaskOptions()
    wanted.MergeFrom(tasks.NARROW)
    if options is not None:
        wanted.MergeFrom(options)
    return await tasks.submit(mesh, request, "Call", wanted)


async def block(mesh: MeshHarness, ledger: Ledger) -> str:
    """Take the only slot until `unblock`."""
    task_id = await submit(mesh, ProbeRequest(text="blocker", sleep_s=60, ledger=ledger.path))
    await ledger.until("start", "blocker")
    return task_id


async def unblock(mesh: MeshHarness, task_id: str) -> None:
    await mesh.api().CancelTask(coordinator_pb2.CancelTaskRequest(task_id=task_id), timeout=10)


def time_limit_of(task: task_pb2.Task) -> str:
    """Which limit ended a task."""
    assert task.state == task_pb2.TASK_STATE_FAILED, tasks.describe(task)
    assert (tasks.code(task), tasks.reason(task)) == ("DEADLINE_EXCEEDED", "TIME_LIMIT")
    info = error_info(task.outcome.status)
    assert info is not None
    return info.metadata["limit"]


async def test_higher_priorities_run_first_and_equal_ones_by_age(
    shared_mesh: MeshHarness, ledger: Ledger
) -> None:
    mesh = await tasks.narrow(shared_mesh)
    blocker = await block(mesh, ledger)
    shuffled = [(priority, copy) for priority in range(10) for copy in range(2)]
    random.Random(5).shuffle(shuffled)
    order: dict[int, list[str]] = {}
    ids = []
    for priority, copy in shuffled:
        text = f"p{priority}-{copy}"
        order.setdefault(priority, []).append(text)
        ids.append(
            await submit(
                mesh,
                ProbeRequest(text=text, ledger=ledger.path),
                options=task_pb2.TaskOptions(priority=priority),
            )
        )
    await unblock(mesh, blocker)
    await tasks.ended(mesh, ids)
    ran = [fact.text for fact in ledger.facts("start")[1:]]
    assert ran == [text for priority in sorted(order, reverse=True) for text in order[priority]]


async def test_transparent_calls_have_priorities_too(shared_mesh: MeshHarness, ledger: Ledger) -> None:
    mesh = await tasks.narrow(shared_mesh)
    blocker = await block(mesh, ledger)
    calls = []
    for priority in ("1", "9", "5"):
        request = ProbeRequest(text=priority, ledger=ledger.path)
        calls.append(
            mesh.probe().Call(request, metadata=(("weft-priority", priority), NARROW_CALL), timeout=20)
        )

    async def queued() -> bool:
        answer = await mesh.api().ListQueues(coordinator_pb2.ListQueuesRequest(), timeout=5)
        return sum(queue.queued for queue in answer.queues) == 3

    await mesh.eventually(queued, "three calls are queued")
    await unblock(mesh, blocker)
    await asyncio.gather(*calls)
    assert [fact.text for fact in ledger.facts("start")[1:]] == ["9", "5", "1"]


async def test_a_delayed_task_runs_not_before_its_time_and_soon_after(
    shared_mesh: MeshHarness, ledger: Ledger
) -> None:
    mesh = await tasks.narrow(shared_mesh)
    submitted_at = time.time()
    delays_s = [0.8, 0.2, 0.5]
    ids = [
        await submit(
            mesh,
            ProbeRequest(text=f"{delay_s}", ledger=ledger.path),
            options=task_pb2.TaskOptions(delay=duration(delay_s)),
        )
        for delay_s in delays_s
    ]
    assert (await tasks.look(mesh, ids[0])).state == task_pb2.TASK_STATE_SCHEDULED
    all_submitted_at = time.time()
    await tasks.ended(mesh, ids)
    started = {fact.text: fact.time_s for fact in ledger.facts("start")}
    for delay_s in delays_s:
        assert started[f"{delay_s}"] >= submitted_at + delay_s
        # Half a second is for a busy machine; the sweeper looks twenty times a second.
        assert started[f"{delay_s}"] < all_submitted_at + delay_s + 0.5


async def test_schedule_to_start_fails_what_has_not_begun_and_it_is_never_dispatched(
    shared_mesh: MeshHarness, ledger: Ledger
) -> None:
    mesh = await tasks.narrow(shared_mesh)
    blocker = await block(mesh, ledger)
    request = ProbeRequest(text="late", ledger=ledger.path)
    asked_at = time.monotonic()
    late = await submit(mesh, request, options=tasks.limits(schedule_to_start_s=0.4))
    close = await submit(mesh, request, options=tasks.limits(schedule_to_close_s=0.4))
    found = await tasks.ended(mesh, [late, close])
    assert 0.4 <= time.monotonic() - asked_at < 2.0
    assert time_limit_of(found[late]) == "schedule_to_start"
    assert time_limit_of(found[close]) == "schedule_to_close"

    await unblock(mesh, blocker)
    await tasks.end(mesh, await submit(mesh, ProbeRequest(text="last"), options=low_priority()))
    assert not ledger.facts("start", "late")


def low_priority() -> task_pb2.TaskOptions:
    return task_pb2.TaskOptions(priority=0)


async def test_schedule_to_start_says_nothing_once_it_has_begun(
    shared_mesh: MeshHarness, ledger: Ledger
) -> None:
    mesh = await tasks.narrow(shared_mesh)
    request = ProbeRequest(text="t", sleep_s=0.8, ledger=ledger.path)
    task_id = await submit(mesh, request, options=tasks.limits(schedule_to_start_s=0.5))
    assert tasks.reply(await tasks.end(mesh, task_id)).text == "t"


async def test_start_to_close_ends_one_attempt_and_its_handler(
    shared_mesh: MeshHarness, ledger: Ledger
) -> None:
    mesh = await tasks.narrow(shared_mesh)
    request = ProbeRequest(text="slow", sleep_s=60, ledger=ledger.path)
    options = tasks.limits(start_to_close_s=0.4)
    task = await tasks.end(mesh, await submit(mesh, request, options=options))
    assert time_limit_of(task) == "start_to_close"
    assert task.attempt == 1
    await ledger.until("cancelled", "slow")
    # Its slot is free again.
    assert (
        await mesh.probe().Call(ProbeRequest(text="next"), metadata=(NARROW_CALL,), timeout=10)
    ).text == "next"


async def test_start_to_close_counts_each_attempt_anew_when_it_is_retried(
    shared_mesh: MeshHarness, ledger: Ledger
) -> None:
    mesh = await tasks.narrow(shared_mesh)
    options = tasks.limits(start_to_close_s=0.3)
    options.retry.CopyFrom(
        options_pb2.RetryPolicy(max_attempts=3, retryable_codes=[4], initial_backoff=duration(0.05))
    )
    request = ProbeRequest(text="slow", sleep_s=60, ledger=ledger.path)
    task = await tasks.end(mesh, await submit(mesh, request, options=options))
    assert time_limit_of(task) == "start_to_close"
    assert [fact.attempt for fact in ledger.facts("start", "slow")] == [1, 2, 3]


async def test_schedule_to_close_holds_over_all_attempts(shared_mesh: MeshHarness, ledger: Ledger) -> None:
    """When another attempt could only come too late there is none, and the last one's failure is the outcome."""
    mesh = await tasks.narrow(shared_mesh)
    options = tasks.limits(schedule_to_close_s=1.0)
    options.retry.max_attempts = 1000
    request = ProbeRequest(
        text="t", fail_code=14, fail_message="not yet", retry_after_s=0.35, ledger=ledger.path
    )
    asked_at = time.time()
    task = await tasks.end(mesh, await submit(mesh, request, options))
    assert task.state == task_pb2.TASK_STATE_FAILED
    assert (tasks.code(task), task.outcome.status.message) == ("UNAVAILABLE", "not yet")
    starts = [fact.time_s for fact in ledger.facts("start", "t")]
    assert 1 <= len(starts) <= 3
    assert starts[-1] < asked_at + 1.5


async def test_the_nearer_limit_counts(shared_mesh: MeshHarness, ledger: Ledger) -> None:
    mesh = await tasks.narrow(shared_mesh)
    options = tasks.limits(start_to_close_s=60, schedule_to_close_s=0.4)
    request = ProbeRequest(text="slow", sleep_s=30, ledger=ledger.path)
    task = await tasks.end(mesh, await submit(mesh, request, options=options))
    assert time_limit_of(task) == "schedule_to_close"
    await ledger.until("cancelled", "slow")
