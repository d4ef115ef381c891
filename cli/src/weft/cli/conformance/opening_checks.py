"""Checks of the start of a session, and of heartbeats: R1 to R10."""

from __future__ import annotations

import itertools

from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.protobuf.message import DecodeError

from weft.cli.conformance.agent_under_test import ECHO, SERVICE, AgentUnderTest
from weft.cli.conformance.protocol_rules import RuleBroken
from weft.cli.conformance.scripted_coordinator import REDIAL_S, ScriptedSession
from weft.coordinator.contracts.contract_catalogue import Contract
from weft.coordinator.sessions.hello import check_hello
from weft.rpc import refusals
from weft.rpc.contracts.descriptors import digest
from weft.rpc.errors import (
    InvalidArgument,
)

# Between two states: the interval, and some time for a busy machine.
_FAST_S = 0.2
_SLACK_S = 0.8
# How long a finally refused agent must stay silent.
_GIVEN_UP_S = 4.0


async def r1(agent: AgentUnderTest) -> None:
    session = await agent.next_session()
    names = [field.name for field, _ in session.received[0].ListFields()]
    if names != ["hello"]:
        raise RuleBroken(f"the first message holds {', '.join(names) or 'nothing'}, not `hello` alone")
    await session.heartbeats()
    if any(message.HasField("hello") for message in session.received[1:]):
        raise RuleBroken("a later message holds `hello` again")


async def r2(agent: AgentUnderTest) -> None:
    hello = (await agent.session()).hello
    try:
        check_hello(hello)
    except InvalidArgument as error:
        raise RuleBroken(error.message) from None
    for method in hello.methods:
        if method.name.startswith("/") or method.name.count("/") != 1:
            raise RuleBroken(
                f'a method name has the form "package.Service/Method"; this one is {method.name!r}'
            )
    if all(method.name != ECHO for method in hello.methods):
        raise RuleBroken(f"the agent does not host {SERVICE}, which this driver calls")


async def r3(agent: AgentUnderTest) -> None:
    session = await agent.dialled()
    try:
        await session.wait(lambda: session.received[1:] or None, "second message", timeout_s=1.0)
    except RuleBroken:
        if session.over:
            raise RuleBroken(
                "the agent closed the stream within a second, instead of waiting for Welcome"
            ) from None
        await agent.welcome()
        return
    raise RuleBroken("a second message came before Welcome was sent")


async def r4(agent: AgentUnderTest) -> None:
    first = (await agent.session()).hello.instance_id
    session = await agent.next_session()
    if session.hello.instance_id != first:
        raise RuleBroken("the same process sent another instance_id when it dialled again")
    if not agent.command:
        return
    await agent.kill()
    await session.closed("the stream of a killed process is over")
    if (await agent.session()).hello.instance_id == first:
        raise RuleBroken("a new process has the instance_id of the previous process: generate it at random")


async def r5(agent: AgentUnderTest) -> None:
    session = await agent.next_session(contract_needed=False)
    await session.heartbeats()
    if any(message.HasField("contract") for message in session.received):
        raise RuleBroken("the contract was sent although Welcome did not ask for it")
    session = await agent.next_session(contract_needed=True)
    await _contract(session)
    await session.heartbeats()
    if sum(message.HasField("contract") for message in session.received) > 1:
        raise RuleBroken("the contract was sent more than once")


async def r6(agent: AgentUnderTest) -> None:
    session = await agent.next_session(contract_needed=True)
    contract = await _contract(session)
    if digest(contract) != session.hello.contract_hash:
        raise RuleBroken(
            f"contract_hash is {session.hello.contract_hash}, but the SHA-256 of the contract is {digest(contract)}"
        )
    try:
        Contract.load(contract, [method.name for method in session.hello.methods])
        files = FileDescriptorSet.FromString(contract).file
    except (InvalidArgument, DecodeError) as error:
        raise RuleBroken(str(error)) from None
    known: set[str] = set()
    for file in files:
        for imported in file.dependency:
            if imported not in known:
                raise RuleBroken(f"{file.name} comes before {imported}, which it imports")
        known.add(file.name)


async def _contract(session: ScriptedSession) -> bytes:
    return await session.wait(
        lambda: next(
            (each.contract.file_descriptor_set for each in session.received if each.HasField("contract")),
            None,
        ),
        "contract",
    )


async def r7(agent: AgentUnderTest) -> None:
    session = await agent.next_session(heartbeat_s=_FAST_S)
    await session.wait(lambda: len(session.reports) >= 8 or None, "eighth state", 8 * (_FAST_S + _SLACK_S))
    numbers = [report.sequence for report in session.reports]
    if numbers != list(range(1, len(numbers) + 1)):
        raise RuleBroken(f"states are numbered {numbers}, not 1, 2, 3, ... in each session")
    pairs = zip(session.received, session.at_s, strict=True)
    at_s = [when for message, when in pairs if message.HasField("state")]
    gap_s = max(later - earlier for earlier, later in itertools.pairwise(at_s))
    if gap_s > _FAST_S + _SLACK_S:
        raise RuleBroken(f"{gap_s:.1f} s passed between two states; the interval is {_FAST_S} s")


async def r8(agent: AgentUnderTest) -> None:
    session = await agent.next_session(heartbeat_s=_FAST_S)
    session.echoing = False
    told = len(session.reports)
    await session.closed("the agent closes a stream without echoes", 3 * _FAST_S + 4.0)
    if len(session.reports) - told < 2:
        raise RuleBroken(
            "the agent closed the stream before it had missed two echoes: a coordinator may be busy for a moment"
        )
    await agent.session()


async def r9(agent: AgentUnderTest) -> None:
    for error in (
        refusals.stopping("stopping"),
        refusals.agent_id_in_use("checked"),
        refusals.overloaded("not read"),
        refusals.session_superseded(),
    ):
        session = await agent.dialled()
        session.end(error)
        await session.closed("the stream that was refused is over")
        try:
            await agent.session()
        except RuleBroken:
            raise RuleBroken(
                f"after {error.code.name} the agent did not dial again within {REDIAL_S:g} s"
            ) from None


async def r10(agent: AgentUnderTest) -> None:
    session = await agent.dialled()
    session.end(refusals.contract_incompatible("incompatible", "checked.v1.Service/Call", "field"))
    await session.closed("the stream that was refused is over")
    if agent.command:
        if await agent.exited() == 0:
            raise RuleBroken("the process exited with status 0, although it was refused")
        return
    try:
        await agent.coordinator.accept(_GIVEN_UP_S)
    except RuleBroken:
        return
    raise RuleBroken(
        "the agent dialled again, although it can never work: it must end, so that people notice"
    )


CHECKS = {"R1": r1, "R2": r2, "R3": r3, "R4": r4, "R5": r5, "R6": r6, "R7": r7, "R8": r8, "R9": r9}
# Ends the agent.
LAST = {"R10": r10}
