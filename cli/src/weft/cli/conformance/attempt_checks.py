"""Checks of attempts: how they run and are reported, R11 to R21."""

from __future__ import annotations

import time
from typing import Any

from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from google.rpc import code_pb2, error_details_pb2, status_pb2

from weft.cli.conformance.agent_under_test import ECHO, FAIL, SERVICE, WAIT, AgentUnderTest, wait_request
from weft.cli.conformance.example_agent import METADATA_KEY
from weft.cli.conformance.protocol_rules import RuleBroken
from weft.cli.conformance.scripted_coordinator import Response, Result, ScriptedSession, assignment, cancel
from weft.conformance.v1 import conformance_pb2
from weft.rpc.enum_names import enum_name
from weft.v1 import session_pb2, task_pb2

# A field that no message of the protocol has; a later version might.
_UNKNOWN_FIELD = b"\xa2\x9c\x01\x03new"
_ALL_BYTES = bytes(range(256))
_LONG_S = 30.0


async def r11(agent: AgentUnderTest) -> None:
    session = await agent.session()
    before = await agent.waits(session)
    task_id = agent.task()
    item = assignment(task_id, WAIT, wait_request(0.3))
    session.send(assignments=[item, item])
    session.send(assignments=[item])
    result = await session.result(task_id)
    # The attempt is still held: its result is not acknowledged yet.
    session.send(assignments=[item])
    await session.heartbeats()
    started = (await agent.waits(session)).started - before.started
    session.ack([result])
    if started != 1:
        raise RuleBroken(f"an attempt that was assigned four times was started {started} times")
    if len(session.results(task_id)) != 1:
        raise RuleBroken(f"it was reported {len(session.results(task_id))} times")


async def r12(agent: AgentUnderTest) -> None:
    session = await agent.session()
    tasks = [agent.task() for _ in range(agent.credits(session))]
    session.send(assignments=[assignment(task, ECHO, conformance_pb2.EchoRequest()) for task in tasks])
    for task in tasks:
        session.ack([await session.result(task)])
    await session.heartbeats()
    for task in tasks:
        count = len(session.results(task)) + session.released(task)
        if count != 1:
            raise RuleBroken(f"an attempt was reported {count} times in one session")


async def r13(agent: AgentUnderTest) -> None:
    session = await agent.session()
    answered = await _call(agent, session, ECHO, conformance_pb2.EchoRequest(payload=_ALL_BYTES))
    echo = conformance_pb2.EchoResponse.FromString(answered.outcome.response)
    if answered.outcome.status.code or echo.payload != _ALL_BYTES:
        raise RuleBroken("Echo's response came back changed")
    agent.needs(FAIL)
    wanted = status_pb2.Status(code=code_pb2.FAILED_PRECONDITION, message="ein Fehler, ±1")
    wanted.details.add().Pack(error_details_pb2.ErrorInfo(reason="TEST", domain="conformance"))
    failed = await _call(agent, session, FAIL, conformance_pb2.FailRequest(status=wanted))
    found = failed.outcome.status
    if (found.code, found.message) != (wanted.code, wanted.message):
        raise RuleBroken(
            f"a handler failed with {wanted.code} {wanted.message!r}; reported: {found.code} {found.message!r}"
        )
    if list(found.details) != list(wanted.details):
        raise RuleBroken("the handler's status details were not reported")
    if failed.crashed:
        raise RuleBroken("a handler's failure was reported as `crashed`")


async def r14(agent: AgentUnderTest) -> None:
    session = await agent.session()
    result = await _call(agent, session, f"{SERVICE}/Absent", conformance_pb2.EchoRequest())
    if result.outcome.status.code != code_pb2.UNIMPLEMENTED:
        raise RuleBroken(f"its status is {_name(result)}, not UNIMPLEMENTED")


async def r15(agent: AgentUnderTest) -> None:
    session = await agent.session()
    agent.needs(WAIT)
    slots, time_s = session.hello.slots, 0.6
    tasks = [agent.task() for _ in range(agent.credits(session))]
    began_at = time.monotonic()
    session.send(assignments=[assignment(task, WAIT, wait_request(time_s)) for task in tasks])
    await session.report(lambda report: report.used_slots == slots, f"with {slots} used slots")
    released = 0
    for task in tasks:
        await session.wait(
            lambda task=task: session.released(task) or session.results(task) or None,  # type: ignore[misc]
            f"report of attempt {task}/1",
        )
        released += session.released(task)
        session.ack(session.results(task))
    most = max(report.used_slots for report in session.reports)
    if most > slots:
        raise RuleBroken(f"{most} slots were in use; the agent has {slots}")
    rounds = -(-(len(tasks) - released) // slots)
    if time.monotonic() - began_at < 0.9 * rounds * time_s:
        raise RuleBroken(
            f"{len(tasks)} calls of {time_s} s in {slots} slots took less than {rounds} times that"
        )


async def r16(agent: AgentUnderTest) -> None:
    session = await agent.session()
    agent.needs(WAIT)
    before = await agent.waits(session)
    began_at = time.monotonic()
    result = await _call(agent, session, WAIT, wait_request(_LONG_S), time_left_s=0.5)
    took_s = time.monotonic() - began_at
    if result.outcome.status.code != code_pb2.DEADLINE_EXCEEDED:
        raise RuleBroken(f"its status is {_name(result)}, not DEADLINE_EXCEEDED")
    if not 0.4 < took_s < 2.5:
        raise RuleBroken(f"an attempt with 0.5 s left was reported after {took_s:.1f} s")
    await agent.saw_cancellation(session, before)


async def r17(agent: AgentUnderTest) -> None:
    session = await agent.session()
    long_ago = Timestamp(seconds=int(time.time()) - 3600)
    result = await _call(
        agent, session, ECHO, conformance_pb2.EchoRequest(), time_left_s=10.0, deadline=long_ago
    )
    if result.outcome.status.code:
        raise RuleBroken(
            f"an attempt with 10 s left ended with {_name(result)}: its `deadline` is in the past of the agent's clock"
        )


async def r18(agent: AgentUnderTest) -> None:
    session = await agent.session()
    agent.needs(WAIT)
    task_id = agent.task()
    session.send(assignments=[assignment(task_id, WAIT, wait_request(_LONG_S))], cancels=[cancel(task_id)])
    try:
        result = await session.result(task_id)
    except RuleBroken:
        raise RuleBroken("a cancellation in the same message as its assignment had no effect") from None
    session.ack([result])
    if result.outcome.status.code != code_pb2.CANCELLED:
        raise RuleBroken(f"its status is {_name(result)}, not CANCELLED")


async def r19(agent: AgentUnderTest) -> None:
    session = await agent.session()
    context = task_pb2.CallContext(metadata=[task_pb2.Metadatum(key=METADATA_KEY, value=b"seen")])
    result = await _call(agent, session, ECHO, conformance_pb2.EchoRequest(), context=context)
    if conformance_pb2.EchoResponse.FromString(result.outcome.response).metadata != "seen":
        raise RuleBroken("the handler did not get the call's metadata")


async def r20(agent: AgentUnderTest) -> None:
    session = await agent.next_session(max_response_bytes=1024)
    result = await _call(agent, session, ECHO, conformance_pb2.EchoRequest(payload=bytes(4096)))
    if result.outcome.status.code != code_pb2.RESOURCE_EXHAUSTED:
        raise RuleBroken(f"a response over Welcome's max_response_bytes was reported with {_name(result)}")


async def r21(agent: AgentUnderTest) -> None:
    session = await agent.session()
    task_id = agent.task()
    known = Response(assignments=[assignment(task_id, ECHO, conformance_pb2.EchoRequest())])
    session.send(Response.FromString(_UNKNOWN_FIELD))
    session.send(Response.FromString(known.SerializeToString() + _UNKNOWN_FIELD))
    session.send(
        cancels=[cancel("no-such-task")], result_acks=[session_pb2.ResultAck(task_id="no-such-task")]
    )
    session.ack([await session.result(task_id)])
    await session.heartbeats()


async def _call(
    agent: AgentUnderTest, session: ScriptedSession, method: str, request: Message, **fields: Any
) -> Result:
    """One attempt, from its assignment to its acknowledgement."""
    task_id = agent.task()
    session.assign(task_id, method, request, **fields)
    result = await session.result(task_id)
    session.ack([result])
    return result


def _name(result: Result) -> str:
    return enum_name(code_pb2.Code, result.outcome.status.code)


CHECKS = {
    "R11": r11,
    "R12": r12,
    "R13": r13,
    "R14": r14,
    "R15": r15,
    "R16": r16,
    "R17": r17,
    "R18": r18,
    "R19": r19,
    "R20": r20,
    "R21": r21,
}
