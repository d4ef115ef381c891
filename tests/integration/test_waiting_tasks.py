"""A waiting task has a reason: in GetTask, in the list of queues, and in the error of a call whose deadline passed."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import pytest
import pytest_asyncio
from google.rpc import code_pb2

from probe.v1.probe_pb2 import ProbeRequest
from tests.support import tasks
from tests.support.command import weft
from tests.support.lightweight import ECHO, LightAgent, never
from tests.support.mesh import MeshHarness
from tests.support.processes import environment
from tests.support.redis_server import RedisServer
from weft.coordinator.server import Coordinator
from weft.coordinator.settings import CoordinatorSettings
from weft.coordinator.store.embedded.embedded_store import EmbeddedStore
from weft.coordinator.store.records import TaskRecord
from weft.rpc.errors import status_of_call
from weft.rpc.times import duration
from weft.v1 import coordinator_pb2, fleet_pb2, options_pb2, task_pb2

CALL = tasks.method("Call")
# Which end's timer is first is chance on a busy machine: one of so many calls has the coordinator's answer.
TRIES = 30


@pytest_asyncio.fixture(params=["embedded", "redis"])
async def mesh(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[MeshHarness]:
    async with _redis(tmp_path, request.param) as url, MeshHarness(tmp_path) as made:
        if url:
            made.store = url
        await made.coordinator()
        await made.agent("one", slots=1, labels={"zone": "us"}, program=tasks.PLAIN)
        yield made


@asynccontextmanager
async def _redis(folder: Path, kind: str) -> AsyncIterator[str]:
    if kind == "embedded":
        yield ""
        return
    async with RedisServer(folder / "redis") as server:
        yield server.url


async def _late(mesh: MeshHarness, words: str, *, name: str = "Call", **metadata: str) -> None:
    """A call that its deadline ends says these words, unless its own timer was first."""
    pairs = tuple((f"weft-{key}", value) for key, value in metadata.items())
    request = ProbeRequest(text="late", sleep_s=30)
    seen = []
    for _ in range(TRIES):
        call = getattr(mesh.probe(), name)(request, timeout=0.5, metadata=pairs)
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await (call.read() if name == "Stream" else call)
        assert error.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        seen.append(error.value.details() or "")
        if seen[-1].startswith("the call's deadline passed: ") and words in seen[-1]:
            trailers = dict(error.value.trailing_metadata() or ())
            assert trailers["weft-task-id"]
            assert status_of_call(error.value).details
            return
    raise AssertionError(f"never {words!r}: {seen}")


async def _waits(
    mesh: MeshHarness, reason: str, words: str, options: task_pb2.TaskOptions | None = None
) -> None:
    """A task with these options waits so, and its queue says the same."""
    task_id = await tasks.submit(mesh, ProbeRequest(text="waits"), options=options)

    async def told() -> bool:
        waiting = (await tasks.look(mesh, task_id)).waiting
        return fleet_pb2.WaitReason.Name(waiting.reason) == f"WAIT_REASON_{reason}" and words in waiting.text

    await mesh.eventually(told, f"it waits: {words}")
    if reason not in {"START_TIME", "RETRY"}:
        answer = await mesh.api().ListQueues(coordinator_pb2.ListQueuesRequest(method=CALL), timeout=5)
        assert any(words in queue.waiting.text for queue in answer.queues)
    await mesh.api().CancelTask(coordinator_pb2.CancelTaskRequest(task_id=task_id), timeout=5)


async def test_what_waits_says_what_for(mesh: MeshHarness) -> None:
    eu = task_pb2.TaskOptions(requirements=options_pb2.Requirements(labels={"zone": "eu"}))
    await _waits(
        mesh, "NO_AGENT", f"an agent with zone=eu; 1 agent hosts {CALL}, none has it (zone is us)", eu
    )
    await _late(mesh, " s for an agent with zone=eu; 1 agent hosts", require="zone=eu")
    await _late(mesh, "for an agent with zone=eu", name="Stream", require="zone=eu")
    await _waits(mesh, "START_TIME", "its start time, in ", task_pb2.TaskOptions(delay=duration(60)))
    await _late(mesh, "waited for its start time, in ", delay="60")
    await _late(mesh, "attempt 1 of 5 was running at agent one for 0.")

    busy = mesh.probe().Call(ProbeRequest(text="busy", sleep_s=60), timeout=60)
    await _waits(mesh, "AGENTS_BUSY", f"a free slot; the only agent for {CALL} is busy")
    await _late(mesh, f"for a free slot; the only agent for {CALL} is busy")
    await mesh.api().UpdateQueue(coordinator_pb2.UpdateQueueRequest(method=CALL, paused=True), timeout=5)
    await _waits(mesh, "PAUSED", f"{CALL} to be resumed: it is paused, and `weft queues resume {CALL}`")
    await _late(mesh, f"for {CALL} to be resumed")
    await mesh.api().UpdateQueue(coordinator_pb2.UpdateQueueRequest(method=CALL, paused=False), timeout=5)
    wish = coordinator_pb2.UpdateAgentRequest(agent_id="one", desired_state=fleet_pb2.DESIRED_STATE_PAUSED)
    await mesh.api().UpdateAgent(wish, timeout=5)
    await _waits(mesh, "NO_AGENT", f"an agent that takes work; of 1 agent for {CALL}: 1 paused")
    busy.cancel()
    await mesh.agents["one"].kill()
    await mesh.wait_agent("one", fleet_pb2.AGENT_STATE_LOST)
    await _waits(mesh, "NO_AGENT", f"an agent that hosts {CALL}; none is connected")


async def test_stored_tasks_say_it_too(mesh: MeshHarness) -> None:
    """Of a detached call that its deadline ends, and of a task with a limit of its own."""
    metadata = (("weft-require", "gpu>=1"), ("weft-detach", "true"))
    call = mesh.probe().Call(ProbeRequest(text="x"), timeout=0.5, metadata=metadata)
    await call
    detached = dict(await call.trailing_metadata())["weft-task-id"]
    options = task_pb2.TaskOptions(
        requirements=options_pb2.Requirements(labels={"zone": "eu"}),
        limits=options_pb2.TimeLimits(schedule_to_start=duration(0.5)),
    )
    limited = await tasks.submit(mesh, ProbeRequest(text="x"), options=options)
    for task_id, limit, words in (
        (detached, "schedule_to_close", "an agent with gpu>=1; 1 agent hosts"),
        (limited, "schedule_to_start", "an agent with zone=eu; 1 agent hosts"),
    ):
        status = (await tasks.end(mesh, task_id)).outcome.status
        assert status.code == code_pb2.DEADLINE_EXCEEDED
        assert status.message.startswith(f"the time limit {limit} passed: queued 0.")
        assert f" s for {words} {CALL}, none has it" in status.message


async def test_attempts_are_told_with_the_next_try(mesh: MeshHarness) -> None:
    retry = options_pb2.RetryPolicy(initial_backoff=duration(60), max_backoff=duration(60), max_attempts=4)
    request = ProbeRequest(
        text="fails", fail_code=code_pb2.UNAVAILABLE, fail_message="no luck", retry_after_s=30
    )
    options = task_pb2.TaskOptions(
        retry=retry, limits=options_pb2.TimeLimits(schedule_to_close=duration(600))
    )
    task_id = await tasks.submit(mesh, request, options=options)

    async def failed() -> bool:
        return (await tasks.look(mesh, task_id)).failures == 1

    await mesh.eventually(failed, "it failed once")
    task = await tasks.look(mesh, task_id)
    assert task.waiting.reason == fleet_pb2.WAIT_REASON_RETRY
    assert "its next try, 2 of 4, in " in task.waiting.text
    assert abs(task.deadline.seconds - task.create_time.seconds - 600) <= 1
    (attempt,) = task.attempts
    assert (attempt.number, attempt.agent_id, attempt.status.message) == (1, "one", "no luck")
    assert attempt.end_time.ToNanoseconds() >= attempt.start_time.ToNanoseconds()
    listed = await mesh.api().ListTasks(coordinator_pb2.ListTasksRequest(), timeout=5)
    assert not any(task.attempts for task in listed.tasks)

    lost_id = await tasks.submit(mesh, ProbeRequest(text="lost", sleep_s=60))
    for number in (1, 2):
        await _running(mesh, lost_id, number)
        await mesh.agents["one"].kill()
        await mesh.agent("one", slots=1, program=tasks.PLAIN)
    await _running(mesh, lost_id, 3)
    done = await weft("tasks", "get", lost_id, target=mesh.target)
    told = [
        line.split() for line in done.out.splitlines() if "the agent was lost" in line or "running" in line
    ]
    assert [(words[-5:] if "lost" in words else words[-1:]) for words in told] == [
        ["UNAVAILABLE:", "the", "agent", "was", "lost"]
    ] * 2 + [["running"]]
    assert "at most 5 attempts, retried on UNAVAILABLE; at most 3 crashes" in done.out
    documents = (await weft("tasks", "get", lost_id, "--json", target=mesh.target)).document["attempts"]
    assert [(each["number"], each["crashed"]) for each in documents] == [(1, True), (2, True), (3, False)]
    shown = (await weft("tasks", "get", task_id, target=mesh.target)).out
    assert "its next try, 2 of 4, in " in shown
    assert "ends within 10 m, " in shown


async def _running(mesh: MeshHarness, task_id: str, attempt: int) -> None:
    async def seen() -> bool:
        task = await tasks.look(mesh, task_id)
        return (task.state, task.attempt) == (task_pb2.TASK_STATE_RUNNING, attempt)

    await mesh.eventually(seen, f"attempt {attempt} runs")


@pytest.mark.slow
async def test_a_terminal_is_told_what_a_call_waits_for(mesh: MeshHarness) -> None:
    async def said(*command: str) -> None:
        ours, theirs = os.openpty()
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "weft.cli.main",
            *command,
            CALL,
            "{}",
            "--require",
            "zone=eu",
            env=environment({"WEFT_TARGET": mesh.target}),
            stdout=asyncio.subprocess.DEVNULL,
            stderr=theirs,
        )
        os.close(theirs)
        try:
            async with asyncio.timeout(30):
                seen = b""
                while b"still waiting for an agent with zone=eu" not in seen:
                    seen += await asyncio.to_thread(os.read, ours, 4096)
        finally:
            process.kill()
            await process.wait()
            os.close(ours)

    await asyncio.gather(said("call"), said("submit", "--wait"))


@pytest.mark.slow
async def test_thousands_of_calls_that_end_together_are_answered(mesh: MeshHarness) -> None:
    async def call() -> grpc.StatusCode:
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await mesh.probe().Call(
                ProbeRequest(text="x"), timeout=1.5, metadata=(("weft-require", "zone=eu"),)
            )
        return error.value.code()

    assert set(await asyncio.gather(*(call() for _ in range(500)))) == {grpc.StatusCode.DEADLINE_EXCEEDED}
    assert (await mesh.probe().Call(ProbeRequest(text="next"), timeout=10)).text == "next"


class _SlowStore(EmbeddedStore):
    """A store that has no task durable yet."""

    async def get(
        self, task_ids: Sequence[str], *, payloads: bool = True, history: bool = False
    ) -> Sequence[TaskRecord | None]:
        return [None] * len(task_ids)


async def test_a_deadline_that_passes_before_the_task_is_stored(tmp_path: Path) -> None:
    """That is a deadline like any other, not a task that is not there."""
    settings = CoordinatorSettings(listen="127.0.0.1:0", store=str(tmp_path / "weft.db"))
    coordinator = Coordinator(settings, _SlowStore(tmp_path / "weft.db"))
    await coordinator.start()
    try:
        async with (
            grpc.aio.insecure_channel(coordinator.address) as channel,
            LightAgent(channel, "one", answer=never),
        ):
            said = set()
            for _ in range(TRIES):
                with pytest.raises(grpc.aio.AioRpcError) as error:
                    await channel.unary_unary(f"/{ECHO}")(b"", timeout=0.5, wait_for_ready=True)
                if error.value.code() is grpc.StatusCode.UNIMPLEMENTED:
                    # Its contract is not accepted yet.
                    continue
                assert error.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
                said.add(error.value.details())
                if "the call's deadline passed: its task is being stored" in said:
                    return
            raise AssertionError(said)
    finally:
        await coordinator.stop(0.1)
