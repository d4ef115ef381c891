"""Checks of the end of attempts and of the agent: R30 to R36."""

from __future__ import annotations

import time

from google.rpc import code_pb2

from weft.cli.conformance.agent_under_test import WAIT, AgentUnderTest, wait_request
from weft.cli.conformance.keeping_checks import forgotten
from weft.cli.conformance.protocol_rules import NotChecked, RuleBroken
from weft.cli.conformance.scripted_coordinator import ScriptedSession, assignment
from weft.v1 import fleet_pb2

_LONG_S = 30.0


async def r30(agent: AgentUnderTest) -> None:
    session = await agent.session()
    agent.needs(WAIT)
    before = await agent.waits(session)
    task_id = await agent.start_wait(session, _LONG_S)
    session.cancel(task_id)
    result = await session.result(task_id)
    session.ack([result])
    if result.outcome.status.code != code_pb2.CANCELLED:
        raise RuleBroken(
            f"the handler was cancelled; its attempt was reported with code {result.outcome.status.code}"
        )
    await agent.saw_cancellation(session, before)


async def r31(agent: AgentUnderTest) -> None:
    session = await agent.session()
    agent.needs(WAIT)
    task_id = agent.task()
    session.assign(task_id, WAIT, wait_request(3.0, stubborn=True))
    await session.report(lambda report: report.used_slots > 0, "with a used slot: a handler runs")
    told_at = time.monotonic()
    session.cancel(task_id, grace_s=0.3)
    result = await session.result(task_id)
    took_s = time.monotonic() - told_at
    session.ack([result])
    if took_s > 2.0 or result.outcome.status.code != code_pb2.CANCELLED:
        raise RuleBroken(
            f"a handler that ignores its cancellation, with a grace of 0.3 s, was reported after {took_s:.1f} s"
            f" with code {result.outcome.status.code}"
        )
    report = await session.report(lambda _: True, "after the report")
    if report.used_slots and not report.stuck_slots:
        raise RuleBroken("its slot is still used, but not counted in `stuck_slots`")
    await session.report(lambda report: not report.used_slots, "without used slots: the handler has ended")


async def r32(agent: AgentUnderTest) -> None:
    session = await agent.session()
    agent.needs(WAIT)
    before = await agent.waits(session)
    waiting = await _fill(agent, session, _LONG_S)
    session.cancel(waiting[-1])
    result = await session.result(waiting[-1])
    session.ack([result])
    if result.outcome.status.code != code_pb2.CANCELLED:
        raise RuleBroken(f"it was reported with code {result.outcome.status.code}, not CANCELLED")
    session = await agent.next_session(adopt=[])
    await session.report(lambda report: not report.used_slots, "without used slots")
    started = (await agent.waits(session)).started - before.started
    if started > session.hello.slots:
        raise RuleBroken("the cancelled attempt was started")


async def r33(agent: AgentUnderTest) -> None:
    session = await agent.session()
    agent.needs(WAIT)
    task_id = await agent.start_wait(session, 1.5, attempt=2)
    session.cancel(task_id, attempt=1)
    session.cancel("no-such-task")
    result = await session.result(task_id)
    session.ack([result])
    if result.attempt != 2:
        raise RuleBroken(f"attempt 2 was reported as attempt {result.attempt}")
    if result.outcome.status.code:
        raise RuleBroken("attempt 2 of a task was cancelled by a cancellation of attempt 1")


async def r34(agent: AgentUnderTest) -> None:
    session = await agent.session()
    agent.needs(WAIT)
    before = await agent.waits(session)
    task_id = await agent.start_wait(session, _LONG_S)
    session.cancel(task_id, lost=True)
    await agent.saw_cancellation(session, before)
    await forgotten(agent, session, task_id)


async def r35(agent: AgentUnderTest) -> None:
    session = await agent.session()
    agent.needs(WAIT)
    running = await agent.start_wait(session, 1.5)
    waiting = await _fill(agent, session, 1.5) if session.hello.prefetch else []
    session.send(desired_state=fleet_pb2.DESIRED_STATE_DRAINING)
    late = agent.task()
    session.assign(late, WAIT, wait_request(_LONG_S))
    for task_id in [*waiting, late]:
        await session.release(task_id)
    if (await session.result(running)).outcome.status.code:
        raise RuleBroken("an attempt that ran when the agent was drained was not finished")
    session.send(desired_state=fleet_pb2.DESIRED_STATE_ACTIVE)
    await agent.waits(session)
    await session.report(lambda report: not report.used_slots, "without used slots")
    session = await agent.next_session()


async def r36(agent: AgentUnderTest) -> None:
    if not agent.command:
        raise NotChecked("the agent was started by hand")
    session = await agent.session()
    agent.needs(WAIT)
    running = await agent.start_wait(session, 1.5)
    told = len(session.reports)
    agent.terminate()
    await session.wait(
        lambda: any(report.draining for report in session.reports[told:]) or None,
        "state that says `draining`",
    )
    late = agent.task()
    session.assign(late, WAIT, wait_request(_LONG_S))
    await session.release(late)
    result = await session.result(running)
    if result.outcome.status.code:
        raise RuleBroken(f"the running attempt was not finished: code {result.outcome.status.code}")
    await session.heartbeats(1)
    if any(message.goodbye for message in session.received):
        raise RuleBroken("the agent said goodbye before its result was acknowledged")
    session.ack([result])
    await session.wait(lambda: any(message.goodbye for message in session.received) or None, "goodbye")
    await session.closed("the stream is over after goodbye")
    if not session.received[-1].goodbye:
        raise RuleBroken("a message came after goodbye")
    status = await agent.exited()
    if status:
        raise RuleBroken(f"the process exited with status {status}, not 0")


async def _fill(agent: AgentUnderTest, session: ScriptedSession, time_s: float) -> list[str]:
    """Fill all slots, and wait until further attempts wait for a slot. Returns the ids of the waiting tasks.

    Raises:
        NotChecked: the agent has no prefetch.
    """
    if not session.hello.prefetch:
        raise NotChecked("the agent has no prefetch, so no attempt waits at it for a slot")
    slots = session.hello.slots
    used = session.reports[-1].used_slots
    tasks = [agent.task() for _ in range(agent.credits(session) - used)]
    session.send(assignments=[assignment(task, WAIT, wait_request(time_s)) for task in tasks])
    await session.report(
        lambda report: report.used_slots == slots and report.waiting > 0,
        "in which an attempt waits for a slot",
    )
    return tasks[slots - used :]


CHECKS = {"R30": r30, "R31": r31, "R32": r32, "R33": r33, "R34": r34, "R35": r35}
# Ends the agent.
LAST = {"R36": r36}
