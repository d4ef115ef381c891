"""Reports of a task by who must not make them: replayed, of another agent, with forged attempts and epochs. None changes the task.

Agents with tokens of their own, at one coordinator. What breaks the session's rules is in `test_bad_input_sessions`.
"""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import grpc
import pytest

from tests.support.lightweight import CALL, LightAgent, hello, never, refusal, result_of
from tests.support.processes import until
from tests.support.token_door import Door, shown, token_door
from weft.rpc.errors import WeftError, from_call
from weft.rpc.identity.caller import AGENT
from weft.rpc.network.channel import Route, client_options, dial
from weft.rpc.security.token_source import token_source
from weft.v1 import coordinator_pb2 as api
from weft.v1 import coordinator_pb2_grpc, security_pb2, session_pb2, task_pb2
from weft.v1.session_pb2 import AttemptResult, ConnectRequest

LARGEST = 2**64 - 1
FORGED = task_pb2.Outcome(response=b"forged")
# What an agent can say of an attempt.
REPORTS: dict[str, Callable[[str, int], ConnectRequest]] = {
    "result": lambda task, attempt: ConnectRequest(
        results=[AttemptResult(task_id=task, attempt=attempt, outcome=FORGED)]
    ),
    "failure": lambda task, attempt: ConnectRequest(
        results=[AttemptResult(task_id=task, attempt=attempt, outcome=task_pb2.Outcome(status={"code": 13}))]
    ),
    "progress": lambda task, attempt: ConnectRequest(
        progress=[session_pb2.Progress(task_id=task, attempt=attempt, index=1, payload=b"forged")]
    ),
    "release": lambda task, attempt: ConnectRequest(
        released=[session_pb2.Released(task_id=task, attempt=attempt)]
    ),
}


class Site:
    """A coordinator that asks for tokens, and agents with one of their own each."""

    def __init__(self, door: Door, stack: contextlib.AsyncExitStack) -> None:
        self._door = door
        self._stack = stack
        self.stub = coordinator_pb2_grpc.CoordinatorServiceStub(door.channel)

    async def channel(self, agent_id: str) -> grpc.aio.Channel:
        scope = security_pb2.TokenScope(agent_ids=[agent_id])
        text = (await self._door.create(AGENT, scope=scope)).text
        route = Route(token=token_source(text))
        made = dial(self._door.coordinator.address, client_options(own_connection=True), route)
        self._stack.push_async_callback(made.close)
        return made

    async def agent(self, agent_id: str, channel: grpc.aio.Channel | None = None, **how: Any) -> LightAgent:
        """One that keeps what it is assigned."""
        channel = channel or await self.channel(agent_id)
        agent = LightAgent(channel, agent_id, methods=(CALL,), answer=never, **how)
        await agent.open()
        self._stack.push_async_callback(agent.close, goodbye=False)
        return agent

    async def submit(self, agent: LightAgent) -> str:
        """A task that an agent runs."""
        request = api.SubmitTaskRequest(method=CALL)
        request.options.agent_id = agent.agent_id
        request.options.retry.max_attempts = 2
        request.options.retry.initial_backoff.nanos = 1_000_000
        task_id = ""
        async with asyncio.timeout(20):
            while not task_id:
                # The contract of the first agent comes into force after its welcome.
                with contextlib.suppress(grpc.aio.AioRpcError):
                    answer = await self.stub.SubmitTask(request, metadata=shown(self._door.operator))
                    task_id = answer.task.id
                await asyncio.sleep(0)
        await agent.holds(task_id)
        return task_id

    async def task(self, task_id: str) -> task_pb2.Task:
        request = api.GetTaskRequest(task_id=task_id)
        return (await self.stub.GetTask(request, metadata=shown(self._door.operator))).task

    async def is_as_before(self, task_id: str, agent: LightAgent) -> None:
        task = await self.task(task_id)
        assert (task.state, task.agent_id, task.attempt, task.progress_count) == (
            task_pb2.TASK_STATE_RUNNING,
            agent.agent_id,
            1,
            0,
        )


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    async with token_door(tmp_path) as door, contextlib.AsyncExitStack() as stack:
        yield Site(door, stack)


async def test_reports_of_others_attempts_change_nothing(site: Site) -> None:
    """In a thief's own stream, out-of-band in the holder's name, and in a Hello; with any epoch."""
    holder, thief = await site.agent("holder"), await site.agent("thief")
    task_id = await site.submit(holder)
    epochs = {0, 1, holder.welcome.epoch - 1, holder.welcome.epoch + 1, thief.welcome.epoch, 2**63, LARGEST}
    thiefs = coordinator_pb2_grpc.CoordinatorServiceStub(await site.channel("thief"))
    holders = coordinator_pb2_grpc.CoordinatorServiceStub(await site.channel("holder"))
    for make in REPORTS.values():
        for attempt in (0, 1, 2, 2**32 - 1):
            await thief.send(make(task_id, attempt))
        message = make(task_id, 1)
        # A token of another agent, with what the holder itself would say; and the holder's token, with forged epochs.
        for stub, each in (
            *((thiefs, epoch) for epoch in (holder.welcome.epoch, thief.welcome.epoch)),
            *((holders, epoch) for epoch in epochs),
        ):
            request = api.ReportRequest(
                agent_id="holder", epoch=each, message=message, report_key=holder.welcome.report_key
            )
            refused = await _refused(stub.Report(request, timeout=10))
            assert refused.reason_name == "SESSION_PROTOCOL", each
        # All of it is right, but for the session's key: as by another agent that has the same token.
        for key in (b"", thief.welcome.report_key, bytes(16), holder.welcome.report_key + b"x"):
            request = api.ReportRequest(
                agent_id="holder", epoch=holder.welcome.epoch, message=message, report_key=key
            )
            refused = await _refused(holders.Report(request, timeout=10))
            assert refused.reason_name == "SESSION_PROTOCOL", key
    acks = await _handled(thief)
    assert len(acks) == 8
    assert all(ack.refused for ack in acks)
    await site.is_as_before(task_id, holder)
    # Who joins with an attempt of another agent is told that it is lost.
    held = [
        session_pb2.HeldAttempt(task_id=task_id, attempt=1, epoch=epoch)
        for epoch in {*epochs, holder.welcome.epoch}
    ]
    heir = await site.agent("heir", held=held)
    assert {ref.task_id for ref in heir.welcome.lost} == {task_id}
    assert not heir.welcome.adopted
    # Nor does a token of another agent bring back the holder's session.
    stolen = hello("holder", methods=(CALL,), held=held)
    error = await refusal(await site.channel("thief"), ConnectRequest(hello=stolen))
    assert error.reason_name == "OUT_OF_SCOPE"
    await site.is_as_before(task_id, holder)


async def _handled(agent: LightAgent) -> list[session_pb2.ResultAck]:
    """Wait until the coordinator has handled all that an agent has sent; returns its answers so far."""
    last = uuid.uuid4().hex[:16]
    await agent.send(REPORTS["result"](last, 1))

    def answered() -> bool:
        return any(ack.task_id == last for message in agent.received for ack in message.result_acks)

    await until(answered, "the last result is answered")
    return [ack for message in agent.received for ack in message.result_acks if ack.task_id != last]


async def _refused(call: Any) -> WeftError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return from_call(caught.value)


async def test_a_result_is_taken_once(site: Site) -> None:
    """A repeat is acknowledged, and a different one too: the agent is to forget it. The first one holds."""
    holder = await site.agent("holder")
    task_id = await site.submit(holder)
    (assignment,) = holder.assigned
    for response in (b"first", b"first", b"second"):
        await holder.send(ConnectRequest(results=[result_of(assignment, response=response)]))
    assert len(await _handled(holder)) == 3
    for make in REPORTS.values():
        await holder.send(make(task_id, 1))
    await _handled(holder)
    task = await site.task(task_id)
    assert (task.state, task.attempt, task.outcome.response) == (task_pb2.TASK_STATE_SUCCEEDED, 1, b"first")


async def test_an_older_session_of_the_agent_has_no_say(site: Site) -> None:
    """Its attempts have gone over to the newer one: by name, and to nobody else."""
    channel, instance = await site.channel("holder"), "an-instance"
    older = await site.agent("holder", channel, instance_id=instance)
    task_id = await site.submit(older)
    held = [session_pb2.HeldAttempt(task_id=task_id, attempt=1, epoch=older.welcome.epoch)]
    newer = await site.agent("holder", channel, instance_id=instance, held=held)
    assert [ref.task_id for ref in newer.welcome.adopted] == [task_id]
    stub = coordinator_pb2_grpc.CoordinatorServiceStub(channel)
    for make in REPORTS.values():
        request = api.ReportRequest(
            agent_id="holder",
            epoch=older.welcome.epoch,
            message=make(task_id, 1),
            report_key=older.welcome.report_key,
        )
        assert (await _refused(stub.Report(request, timeout=10))).reason_name == "SESSION_PROTOCOL"
    await site.is_as_before(task_id, newer)


async def test_an_attempt_that_is_over_has_no_say(site: Site) -> None:
    """It has failed, and a later attempt runs: at the same agent, which may mix them up."""
    holder = await site.agent("holder")
    task_id = await site.submit(holder)
    passing = AttemptResult(task_id=task_id, attempt=1, outcome=task_pb2.Outcome(status={"code": 14}))
    await holder.send(ConnectRequest(results=[passing]))
    await until(lambda: len(holder.assigned) == 2, "it is assigned again")
    for make in REPORTS.values():
        await holder.send(make(task_id, 1))
    first, *replayed = await _handled(holder)
    assert not first.refused
    assert [ack.refused for ack in replayed] == [True, True]
    task = await site.task(task_id)
    assert (task.state, task.attempt, task.progress_count) == (task_pb2.TASK_STATE_RUNNING, 2, 0)
