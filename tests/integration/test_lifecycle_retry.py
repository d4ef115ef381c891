"""After a failed attempt: which failures are retried, when and how often, and the limit of crashes."""

from __future__ import annotations

import asyncio
import time
from itertools import pairwise

import grpc
import grpc.aio
import pytest

from probe.v1.probe_pb2 import ProbeRequest
from tests.support import tasks
from tests.support.ledger import Ledger
from tests.support.mesh import MeshHarness
from weft.rpc.errors import from_call
from weft.rpc.times import duration
from weft.v1 import coordinator_pb2, options_pb2, task_pb2

UNKNOWN, INVALID_ARGUMENT, FAILED_PRECONDITION, UNIMPLEMENTED, INTERNAL, UNAVAILABLE = 2, 3, 9, 12, 13, 14


@pytest.fixture
def ledger(shared_mesh: MeshHarness, request: pytest.FixtureRequest) -> Ledger:
    return shared_mesh.ledger(request.node.name)


def policy(**fields: object) -> task_pb2.TaskOptions:
    """A retry policy with short waits."""
    fields = {"initial_backoff": duration(0.02)} | fields
    return task_pb2.TaskOptions(retry=options_pb2.RetryPolicy(**fields))  # type: ignore[arg-type]


async def run(
    mesh: MeshHarness,
    ledger: Ledger,
    text: str,
    options: task_pb2.TaskOptions,
    name: str = "Call",
    **request: object,
) -> task_pb2.Task:
    message = ProbeRequest(text=text, ledger=ledger.path, **request)  # type: ignore[arg-type]
    return await tasks.end(mesh, await tasks.submit(mesh, message, name, options))


def attempts(ledger: Ledger, text: str) -> list[int]:
    return [fact.attempt for fact in ledger.facts("start", text)]


async def test_which_failures_are_retried(shared_mesh: MeshHarness, ledger: Ledger) -> None:
    mesh = shared_mesh

    task = await run(mesh, ledger, "unavailable", policy(), fail_code=UNAVAILABLE, fail_attempts=2)
    assert tasks.reply(task).attempt == 3
    assert attempts(ledger, "unavailable") == [1, 2, 3]

    for code in (UNKNOWN, FAILED_PRECONDITION, INTERNAL):
        task = await run(mesh, ledger, f"code-{code}", policy(), fail_code=code, fail_message="no")
        assert task.state == task_pb2.TASK_STATE_FAILED
        assert (task.outcome.status.code, task.outcome.status.message) == (code, "no")
        assert attempts(ledger, f"code-{code}") == [1]

    task = await run(mesh, ledger, "raises", policy(), raise_text="secret")
    assert (tasks.code(task), tasks.reason(task)) == ("UNKNOWN", "HANDLER_FAILED")
    assert "secret" not in task.outcome.status.message
    assert attempts(ledger, "raises") == [1]


async def test_a_policy_names_its_codes(shared_mesh: MeshHarness, ledger: Ledger) -> None:
    mesh = shared_mesh
    options = policy(retryable_codes=[INTERNAL, INVALID_ARGUMENT, UNIMPLEMENTED])

    task = await run(mesh, ledger, "internal", options, fail_code=INTERNAL, fail_attempts=1)
    assert tasks.reply(task).attempt == 2
    # Not named, so not retried.
    task = await run(mesh, ledger, "unavailable", options, fail_code=UNAVAILABLE)
    assert (task.state, task.attempt) == (task_pb2.TASK_STATE_FAILED, 1)
    # Never retried, whatever a policy says.
    for code in (INVALID_ARGUMENT, UNIMPLEMENTED):
        task = await run(mesh, ledger, f"code-{code}", options, fail_code=code)
        assert (task.state, task.attempt) == (task_pb2.TASK_STATE_FAILED, 1), tasks.describe(task)


async def test_attempts_end_with_the_last_failure(shared_mesh: MeshHarness, ledger: Ledger) -> None:
    mesh = shared_mesh
    task = await run(
        mesh,
        ledger,
        "t",
        policy(max_attempts=3),
        fail_code=UNAVAILABLE,
        fail_message="not today",
        fail_reason="CLOSED",
    )
    assert task.state == task_pb2.TASK_STATE_FAILED
    assert (tasks.code(task), task.outcome.status.message) == ("UNAVAILABLE", "not today")
    assert tasks.reason(task) == "CLOSED"
    assert attempts(ledger, "t") == [1, 2, 3]


async def test_waits_between_attempts(shared_mesh: MeshHarness, ledger: Ledger) -> None:
    mesh = shared_mesh
    # RetryInfo is the least wait, though the policy's longest is far below it.
    options = policy(max_backoff=duration(0.02))
    await run(mesh, ledger, "asked", options, fail_code=UNAVAILABLE, fail_attempts=2, retry_after_s=0.5)
    starts = [fact.time_s for fact in ledger.facts("start", "asked")]
    for earlier, later in pairwise(starts):
        assert 0.5 <= later - earlier < 1.5

    # Full jitter: each wait is drawn from zero to the bound, which the growth never passes.
    options = policy(initial_backoff=duration(0.1), max_backoff=duration(0.2), max_attempts=6)
    await run(mesh, ledger, "jitter", options, fail_code=UNAVAILABLE)
    starts = [fact.time_s for fact in ledger.facts("start", "jitter")]
    assert len(starts) == 6
    assert all(later - earlier < 0.2 + 0.5 for earlier, later in pairwise(starts))


async def test_a_task_that_waits_for_its_retry_says_why(shared_mesh: MeshHarness, ledger: Ledger) -> None:
    mesh = shared_mesh
    request = ProbeRequest(text="t", fail_code=UNAVAILABLE, fail_message="later", retry_after_s=60)
    task_id = await tasks.submit(mesh, request)

    async def waits() -> bool:
        return (await tasks.look(mesh, task_id)).state == task_pb2.TASK_STATE_SCHEDULED

    await mesh.eventually(waits, "the task waits for its retry")
    task = await tasks.look(mesh, task_id)
    assert (tasks.code(task), task.outcome.status.message) == ("UNAVAILABLE", "later")
    assert task.ready_time.ToSeconds() > time.time() + 50
    assert ledger.facts() == []


async def test_a_failed_task_is_queued_again_on_request(shared_mesh: MeshHarness, ledger: Ledger) -> None:
    mesh = shared_mesh
    task = await run(mesh, ledger, "t", policy(max_attempts=2), fail_code=UNAVAILABLE, fail_attempts=3)
    assert (task.state, task.attempt) == (task_pb2.TASK_STATE_FAILED, 2)

    await mesh.api().RetryTask(coordinator_pb2.RetryTaskRequest(task_id=task.id), timeout=10)
    task = await tasks.end(mesh, task.id)
    # Fresh budgets: the third attempt fails, the fourth does not. Numbers go on.
    assert tasks.reply(task).attempt == 4
    assert attempts(ledger, "t") == [1, 2, 3, 4]

    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await mesh.api().RetryTask(coordinator_pb2.RetryTaskRequest(task_id=task.id), timeout=10)
    assert refused.value.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert from_call(refused.value).reason_name == "TASK_STATE"


async def test_an_oversize_result_is_final(shared_mesh: MeshHarness, ledger: Ledger) -> None:
    mesh = shared_mesh
    options = policy(retryable_codes=[8])
    for name in ("Call", "CallSync", "CallIsolated"):
        task = await run(mesh, ledger, name, options, name, reply_size_bytes=5 * 1024 * 1024)
        assert task.state == task_pb2.TASK_STATE_FAILED
        assert (tasks.code(task), tasks.reason(task)) == ("RESOURCE_EXHAUSTED", "RESULT_TOO_LARGE")
        assert attempts(ledger, name) == [1]
    answer = await mesh.probe().Call(ProbeRequest(text="fits", reply_size_bytes=3 * 1024 * 1024), timeout=10)
    assert len(answer.blob) == 3 * 1024 * 1024


@pytest.mark.slow
async def test_a_task_that_kills_its_isolated_process_ends_as_a_crash_loop(
    shared_mesh: MeshHarness, ledger: Ledger
) -> None:
    mesh = shared_mesh
    before = await tasks.agent(mesh, "a1")

    task = await run(mesh, ledger, "poison", policy(), "CallIsolated", crash_attempts=99)

    assert task.state == task_pb2.TASK_STATE_FAILED
    assert (tasks.code(task), tasks.reason(task)) == ("ABORTED", "CRASH_LOOP"), tasks.describe(task)
    # Three losses are forgiven, the fourth is not.
    assert task.crashes == 4
    assert attempts(ledger, "poison") == [1, 2, 3, 4]
    after = await tasks.agent(mesh, "a1")
    assert after.epoch == before.epoch
    # Crashes are not failures: they leave the budget of attempts alone.
    task = await run(mesh, ledger, "twice", policy(max_attempts=1), "CallIsolated", crash_attempts=2)
    assert (tasks.reply(task).attempt, task.crashes) == (3, 2)


async def test_a_task_that_kills_its_agents_ends_as_a_crash_loop_and_the_fleet_survives(
    mesh: MeshHarness,
) -> None:
    await mesh.coordinator(reconnect_grace_s=0.2)
    await asyncio.gather(*(mesh.agent(f"a{number}", slots=2, program=tasks.PLAIN) for number in range(3)))
    ledger = mesh.ledger()
    options = policy(max_crashes=1)

    task = await run(mesh, ledger, "poison", options, crash_attempts=99)

    assert (tasks.code(task), tasks.reason(task)) == ("ABORTED", "CRASH_LOOP"), tasks.describe(task)
    assert task.crashes == 2
    victims = [fact.agent_id for fact in ledger.facts("start", "poison")]
    assert len(set(victims)) == 2
    (survivor,) = set(mesh.agents) - set(victims)
    assert (await mesh.probe().Call(ProbeRequest(text="next"), timeout=10)).agent_id == survivor
