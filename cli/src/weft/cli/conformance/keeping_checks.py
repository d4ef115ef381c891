"""Checks of results and attempts that an agent keeps across sessions, and of streams: R22 to R29."""

from __future__ import annotations

from weft.cli.conformance.agent_under_test import COUNT, ECHO, WAIT, AgentUnderTest, wait_request
from weft.cli.conformance.protocol_rules import RuleBroken
from weft.cli.conformance.scripted_coordinator import Request, ScriptedSession, assignment
from weft.conformance.v1 import conformance_pb2

_LONG_S = 30.0
# More unacknowledged responses of one stream than an agent should hold.
_MANY = 5000


async def r22(agent: AgentUnderTest) -> None:
    session = await agent.session()
    task_id = agent.task()
    session.assign(task_id, ECHO, conformance_pb2.EchoRequest(payload=b"kept"))
    first = await session.result(task_id)
    session = await agent.next_session(adopt=[task_id])
    try:
        again = await session.result(task_id)
    except RuleBroken:
        raise RuleBroken("an unacknowledged result was not sent again in the next session") from None
    session.ack([again])
    if again != first:
        raise RuleBroken("the result was different the second time")


async def r23(agent: AgentUnderTest) -> None:
    session = await agent.session()
    tasks = {refused: agent.task() for refused in (False, True)}
    for refused, task_id in tasks.items():
        session.assign(task_id, ECHO, conformance_pb2.EchoRequest())
        session.ack([await session.result(task_id)], refused=refused)
    await session.heartbeats()
    session = await agent.next_session()
    await session.heartbeats()
    held = {each.task_id for each in session.hello.held}
    for refused, task_id in tasks.items():
        how = "refused" if refused else "acknowledged"
        if task_id in held:
            raise RuleBroken(f"Hello names an attempt whose result was {how}")
        if session.results(task_id):
            raise RuleBroken(f"a result was sent again after it was {how}")


async def r24(agent: AgentUnderTest) -> None:
    session = await agent.session()
    agent.needs(WAIT)
    finished, *others = (agent.task() for _ in range(1 + agent.credits(session)))
    session.assign(finished, ECHO, conformance_pb2.EchoRequest())
    await session.result(finished)
    session.send(assignments=[assignment(task, WAIT, wait_request(_LONG_S)) for task in others])
    slots, epoch = session.hello.slots, session.epoch
    await session.report(lambda report: report.used_slots == slots, f"with {slots} used slots")
    _check_held(await agent.dialled(), finished, others, epoch)
    session = await agent.welcome(adopt=[finished, *others])
    epoch = session.epoch
    await session.result(finished)
    # Now no attempt is adopted.
    _check_held(await agent.dialled(), finished, others, epoch)
    await agent.welcome()


def _check_held(session: ScriptedSession, finished: str, others: list[str], epoch: int) -> None:
    held = {each.task_id: each for each in session.hello.held}
    missing = {finished, *others} - held.keys()
    if missing:
        what = "finished" if finished in missing else "running or waiting"
        raise RuleBroken(f"Hello does not name {len(missing)} held attempts, some of them {what}")
    if any(each.attempt != 1 for each in held.values()):
        raise RuleBroken("Hello names a wrong attempt number")
    if not held[finished].finished or any(held[task].finished for task in others):
        raise RuleBroken("`finished` must be true for ended attempts, and only for them")
    epochs = {each.epoch for each in held.values()}
    if epochs != {epoch}:
        raise RuleBroken(f"held attempts have epochs {sorted(epochs)}; their last session had epoch {epoch}")


async def r25(agent: AgentUnderTest) -> None:
    session = await agent.session()
    agent.needs(WAIT)
    before = await agent.waits(session)
    task_id = await agent.start_wait(session, 2.0)
    session = await agent.next_session(adopt=[task_id])
    try:
        result = await session.result(task_id)
    except RuleBroken:
        raise RuleBroken("an adopted attempt was not reported in the new session") from None
    session.ack([result])
    if result.outcome.status.code:
        raise RuleBroken(f"the adopted attempt failed: {result.outcome.status.message!r}")
    started = (await agent.waits(session)).started - before.started
    if started != 1:
        raise RuleBroken(f"the adopted attempt was started {started} times")


async def r26(agent: AgentUnderTest) -> None:
    session = await agent.session()
    agent.needs(WAIT)
    before = await agent.waits(session)
    task_id = await agent.start_wait(session, _LONG_S)
    session = await agent.next_session(adopt=[])
    await agent.saw_cancellation(session, before)
    await forgotten(agent, session, task_id)


async def forgotten(agent: AgentUnderTest, session: ScriptedSession, task_id: str) -> None:
    """Check that the agent does not hold a lost attempt any more. Its results are refused, as a coordinator does."""
    session.ack(session.results(task_id), refused=True)
    await session.heartbeats()
    if any(each.task_id == task_id for each in (await agent.next_session()).hello.held):
        raise RuleBroken("Hello still names a lost attempt")


async def r27(agent: AgentUnderTest) -> None:
    session = await agent.session()
    agent.needs(COUNT)
    task_id = await _count(agent, session, 5)
    result = await session.result(task_id)
    session.ack_progress(task_id, 5)
    session.ack([result])
    _check_numbers(session, task_id, first=1, last=5)
    if result.progress_count != 5 or result.outcome.response or result.outcome.status.code:
        raise RuleBroken("the result of the stream must have progress_count 5, no response and status OK")


async def r28(agent: AgentUnderTest) -> None:
    session = await agent.session()
    agent.needs(COUNT)
    task_id = await _count(agent, session, 10)
    await session.result(task_id)
    session.ack_progress(task_id, 3)
    await session.heartbeats(1)
    session = await agent.next_session(adopt=[task_id])
    result = await session.result(task_id)
    indexes = [each.index for each in session.progress(task_id)]
    session.ack_progress(task_id, 10)
    session.ack([result])
    if not indexes or indexes[0] > 4:
        raise RuleBroken(
            f"10 responses, 3 acknowledged: the next session must get 4 to 10 again, but got {indexes or 'none'}"
        )
    _check_numbers(session, task_id, first=indexes[0], last=10)


async def r29(agent: AgentUnderTest) -> None:
    session = await agent.session()
    agent.needs(COUNT)
    task_id = await _count(agent, session, _MANY)
    await session.wait(lambda: session.progress(task_id) or None, "response")
    await session.heartbeats(3)
    sent = len(session.progress(task_id))
    session.cancel(task_id, grace_s=0.5, lost=True)
    if sent >= _MANY:
        raise RuleBroken(f"{_MANY} responses were sent without an acknowledgement: their memory has no bound")


async def _count(agent: AgentUnderTest, session: ScriptedSession, count: int) -> str:
    task_id = agent.task()
    session.assign(task_id, COUNT, conformance_pb2.CountRequest(count=count))
    return task_id


def _check_numbers(session: ScriptedSession, task_id: str, *, first: int, last: int) -> None:
    """Check that the indexes have no gaps, the payloads fit, and no response comes after the result."""
    progress = session.progress(task_id)
    wanted = list(range(first, last + 1))
    indexes = [each.index for each in progress]
    if indexes != wanted:
        raise RuleBroken(f"responses are numbered {indexes}, not {wanted}")
    if [conformance_pb2.CountResponse.FromString(each.payload).number for each in progress] != wanted:
        raise RuleBroken("the payloads are not the handler's responses in their order")

    def last_with(part: str) -> int:
        places = [at for at, message in enumerate(session.received) if _mentions(message, part, task_id)]
        return places[-1] if places else -1

    if last_with("progress") > last_with("results"):
        raise RuleBroken("a response came after the attempt's result")


def _mentions(message: Request, part: str, task_id: str) -> bool:
    return any(each.task_id == task_id for each in getattr(message, part))


CHECKS = {"R22": r22, "R23": r23, "R24": r24, "R25": r25, "R26": r26, "R27": r27, "R28": r28, "R29": r29}
