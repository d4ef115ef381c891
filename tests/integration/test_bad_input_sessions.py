"""Agents that break the rules of a session: each gets an error that names the rule, and others are not disturbed."""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections.abc import AsyncIterator
from typing import Any

import grpc
import grpc.aio
import pytest
import pytest_asyncio
from google.protobuf.duration_pb2 import Duration

from probe.v1.probe_pb2 import Payload
from tests.support import schema
from tests.support.hostile_contracts import HOSTILE
from tests.support.lightweight import (
    CALL,
    CONTRACT,
    ECHO,
    STREAM,
    LightAgent,
    agents_apart,
    hello,
    never,
    refusal,
    result_of,
)
from tests.support.mesh import MeshHarness
from tests.support.refusals import check, refused
from weft.rpc.errors import WeftError, from_call, status_of_call
from weft.rpc.network.channel import MAX_METADATA_BYTES
from weft.rpc.times import seconds
from weft.v1 import coordinator_pb2 as api
from weft.v1 import fleet_pb2, session_pb2, task_pb2
from weft.v1.session_pb2 import AttemptResult, ConnectRequest

pytestmark = pytest.mark.asyncio(loop_scope="module")

INVALID = grpc.StatusCode.INVALID_ARGUMENT
PRECONDITION = grpc.StatusCode.FAILED_PRECONDITION
EXHAUSTED = grpc.StatusCode.RESOURCE_EXHAUSTED
EXISTS = grpc.StatusCode.ALREADY_EXISTS
MIB = 1024 * 1024
# An agent that does nothing wrong, in a process of its own.
GOOD = "good-00000"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def mesh(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[MeshHarness]:
    async with MeshHarness(tmp_path_factory.mktemp("mesh")) as harness:
        await harness.coordinator(stalled_stream_s=2)
        async with agents_apart(harness.target, "good-", 1, log=harness.folder / "good.log"):
            await harness.wait_serving()
            yield harness


@pytest_asyncio.fixture(autouse=True, loop_scope="module")
async def serves_on(mesh: MeshHarness) -> AsyncIterator[None]:
    """After each test the good agent is still connected and the coordinator has logged no fault of its own."""
    process = mesh.coordinator_process
    assert process is not None
    logged = len(process.output())
    yield
    assert await mesh.probe().Echo(Payload(data=b"next"), timeout=5) == Payload(data=b"next")
    assert (await mesh.agent_states())[GOOD] == fleet_pb2.AGENT_STATE_ACTIVE
    assert "Traceback" not in process.output()[logged:]


def _checked(error: WeftError | None, code: grpc.StatusCode, reason: str, field: str | None = None) -> None:
    assert error is not None
    check(error.status(), code, reason, field)


async def _submit(mesh: MeshHarness, method: str, **rest: Any) -> str:
    request = api.SubmitTaskRequest(method=method, **rest)
    return (await mesh.api().SubmitTask(request, timeout=5)).task.id


async def _task(mesh: MeshHarness, task_id: str) -> task_pb2.Task:
    return (await mesh.api().GetTask(api.GetTaskRequest(task_id=task_id), timeout=5)).task


async def _cancel(mesh: MeshHarness, *task_ids: str) -> None:
    """End what a test leaves behind: the next one's agents would be given it."""
    for task_id in task_ids:
        await mesh.api().CancelTask(
            api.CancelTaskRequest(task_id=task_id, grace=Duration(seconds=0)), timeout=5
        )


async def _assigned(agent: LightAgent, count: int = 1) -> list[session_pb2.Assignment]:
    await agent.assigned_to(count)
    return agent.assigned


# -- hello ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"agent_id": ""}, "hello.agent_id"),
        ({"agent_id": "x" * 129}, "hello.agent_id"),
        ({"agent_id": "two words"}, "hello.agent_id"),
        ({"agent_id": "a\n"}, "hello.agent_id"),
        ({"agent_id": "caf\u00e9"}, "hello.agent_id"),
        ({"instance_id": "i" * 129}, "hello.instance_id"),
        ({"slots": 0}, "hello.slots"),
        ({"slots": 100_001}, "hello.slots"),
        ({"slots": 2**32 - 1}, "hello.slots"),
        ({"prefetch": 100_001}, "hello.prefetch"),
        ({"methods": []}, "hello.methods"),
        ({"methods": [f"a.S/M{n}" for n in range(4097)]}, "hello.methods"),
        ({"methods": ["a.S/" + "m" * 1000]}, "hello.methods.name"),
        ({"labels": {f"k{n}": "v" for n in range(65)}}, "hello.labels"),
        ({"labels": {"": "v"}}, "hello.labels"),
        ({"labels": {"k": "v" * 257}}, "hello.labels"),
        ({"resources": {f"k{n}": 1.0 for n in range(65)}}, "hello.resources"),
        ({"resources": {"gpu": float("nan")}}, "hello.resources"),
        ({"resources": {"gpu": float("inf")}}, "hello.resources"),
        ({"resources": {"gpu": -1.0}}, "hello.resources"),
        ({"version": "v" * 300}, "hello.version"),
        ({"advertised_address": "h" * 300}, "hello.advertised_address"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_a_hello_out_of_range(mesh: MeshHarness, change: dict[str, Any], field: str) -> None:
    error = await refusal(mesh.channel(), ConnectRequest(hello=hello(**{"agent_id": "bad", **change})))
    _checked(error, INVALID, "INVALID_FIELD", field)


async def test_a_hello_without_an_instance_or_a_hash(mesh: MeshHarness) -> None:
    for field in ("instance_id", "contract_hash"):
        bad = hello("bad")
        bad.ClearField(field)
        error = await refusal(mesh.channel(), ConnectRequest(hello=bad))
        _checked(error, INVALID, "INVALID_FIELD", f"hello.{field}")


async def test_a_method_that_costs_more_than_the_agent_has(mesh: MeshHarness) -> None:
    dear = hello("bad", slots=4)
    dear.methods[0].slot_cost = 5
    error = await refusal(mesh.channel(), ConnectRequest(hello=dear))
    _checked(error, INVALID, "INVALID_FIELD", "hello.methods.slot_cost")


async def test_more_held_attempts_than_may_be(mesh: MeshHarness) -> None:
    held = [session_pb2.HeldAttempt(task_id="x", attempt=1)] * 200_001
    error = await refusal(mesh.channel(), ConnectRequest(hello=hello("bad", held=held)))
    _checked(error, INVALID, "INVALID_FIELD", "hello.held")


async def test_held_attempts_that_nobody_gave_out_are_lost(mesh: MeshHarness) -> None:
    strange = ["", "x", "0" * 16, "f" * 16, "\u00e9", "9" * 1000]
    held = [
        session_pb2.HeldAttempt(task_id=task_id, attempt=2**32 - 1, epoch=2**64 - 1) for task_id in strange
    ]
    async with LightAgent(mesh.channel(), "boaster", held=held) as agent:
        assert [ref.task_id for ref in agent.welcome.lost] == strange
        assert not agent.welcome.adopted


async def test_a_stream_that_does_not_begin_with_hello(mesh: MeshHarness) -> None:
    for first in (
        ConnectRequest(),
        ConnectRequest(state=session_pb2.AgentReport(sequence=1)),
        ConnectRequest(goodbye=True),
        ConnectRequest(results=[AttemptResult(task_id="x", attempt=1)]),
    ):
        error = await refusal(mesh.channel(), first)
        _checked(error, PRECONDITION, "SESSION_PROTOCOL")


async def test_a_stream_that_ends_before_hello(mesh: MeshHarness) -> None:
    call = mesh.api().Connect(timeout=10)
    await call.done_writing()
    check(await refused(call), PRECONDITION, "SESSION_PROTOCOL")


async def test_hello_twice(mesh: MeshHarness) -> None:
    again = hello("twice")
    # A heartbeat that is written while the stream ends would hide why it did (grpc#36066).
    agent = LightAgent(mesh.channel(), "twice", heartbeats=False)
    await agent.open()
    await agent.send(ConnectRequest(hello=again))
    _checked(await agent.ended(), PRECONDITION, "SESSION_PROTOCOL")
    await agent.close()


async def test_a_message_that_is_none(mesh: MeshHarness) -> None:
    call = mesh.channel().stream_stream("/weft.v1.CoordinatorService/Connect")(timeout=10)
    await call.write(b"\xff\xff\xff")
    check(await refused(call), INVALID, "PAYLOAD_MALFORMED")
    # The same after a good beginning.
    call = mesh.channel().stream_stream("/weft.v1.CoordinatorService/Connect")(timeout=10)
    await call.write(ConnectRequest(hello=hello("garbler")).SerializeToString())
    await call.read()
    await call.write(b"\xff\xff\xff")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call.read()
    check(status_of_call(caught.value), INVALID, "PAYLOAD_MALFORMED")


# -- two agents with one id -----------------------------------------------------------------------------------------


async def test_a_second_live_agent_with_the_same_id_is_refused(mesh: MeshHarness) -> None:
    for _ in range(3):
        error = await refusal(mesh.own_channel(), ConnectRequest(hello=hello(GOOD)))
        _checked(error, EXISTS, "AGENT_ID_IN_USE")
        assert GOOD in error.message


async def test_of_many_at_once_with_one_id_one_gets_in(mesh: MeshHarness) -> None:
    agents = [LightAgent(mesh.channel(), "contested") for _ in range(20)]
    results = await asyncio.gather(*(agent.open() for agent in agents), return_exceptions=True)
    refused_ones = [result for result in results if isinstance(result, WeftError)]
    assert len(refused_ones) == 19
    for error in refused_ones:
        _checked(error, EXISTS, "AGENT_ID_IN_USE")
    assert (await mesh.agent_states())["contested"] == fleet_pb2.AGENT_STATE_ACTIVE
    for agent in agents:
        await agent.close()


async def test_a_newer_session_of_the_same_process_takes_over(mesh: MeshHarness) -> None:
    instance = uuid.uuid4().hex
    old = LightAgent(mesh.channel(), "twin", instance_id=instance, heartbeats=False)
    await old.open()
    async with LightAgent(mesh.channel(), "twin", instance_id=instance) as new:
        assert new.welcome.epoch > old.welcome.epoch
        _checked(await asyncio.wait_for(old.ended(), 5), grpc.StatusCode.ABORTED, "SESSION_SUPERSEDED")
        assert (await mesh.agent_states())["twin"] == fleet_pb2.AGENT_STATE_ACTIVE
    await old.close(goodbye=False)


# -- contracts ------------------------------------------------------------------------------------------------------


async def _with_contract(
    mesh: MeshHarness, contract: bytes, *methods: str, announced: str | None = None
) -> WeftError:
    """What becomes of an agent that hosts these methods and sends this contract."""
    first = hello(f"c-{uuid.uuid4().hex[:8]}", methods=methods, contract=contract)
    if announced is not None:
        first.contract_hash = announced
    sent = ConnectRequest(contract=session_pb2.Contract(file_descriptor_set=contract))
    return await refusal(mesh.channel(), ConnectRequest(hello=first), sent)


@pytest.mark.parametrize("contract", [b"\xff\xff\xff", b"garbage", CONTRACT[:-7], CONTRACT[7:]])
async def test_a_contract_that_is_garbage(mesh: MeshHarness, contract: bytes) -> None:
    _checked(await _with_contract(mesh, contract, ECHO), INVALID, "CONTRACT_INVALID")


@pytest.mark.parametrize("name", ["weak_field", "maps_by_hand", "deep_expression"])
async def test_a_contract_that_harms_who_loads_it(mesh: MeshHarness, name: str) -> None:
    """The others are in `test_attacks`."""
    _checked(await _with_contract(mesh, HOSTILE[name](), schema.METHOD), INVALID, "CONTRACT_INVALID")


async def test_a_contract_that_is_empty_or_huge(mesh: MeshHarness) -> None:
    _checked(await _with_contract(mesh, b"", ECHO), INVALID, "CONTRACT_INVALID")
    huge = CONTRACT + b"\xfa\x01" + b"\x80\x80\x80\x05" + bytes(10 * MIB)  # an unknown field
    _checked(await _with_contract(mesh, huge, ECHO), INVALID, "CONTRACT_INVALID")


async def test_a_contract_without_the_method(mesh: MeshHarness) -> None:
    for method in ("probe.v1.ProbeService/Missing", "no.Such/Method", "", "/", "probe.v1.ProbeService"):
        contract = schema.file_set(schema.file("other.proto", package=f"m{uuid.uuid4().hex[:8]}.v1"))
        _checked(await _with_contract(mesh, contract, method), INVALID, "CONTRACT_INVALID")


async def test_a_method_missing_from_a_known_contract(mesh: MeshHarness) -> None:
    first = hello("c-known", methods=("probe.v1.ProbeService/Missing",))
    _checked(await refusal(mesh.channel(), ConnectRequest(hello=first)), INVALID, "CONTRACT_INVALID")
    assert "c-known" not in await mesh.agent_states()


async def test_a_contract_that_is_not_the_one_announced(mesh: MeshHarness) -> None:
    contract = schema.file_set(schema.file("announced.proto", package="announced.v1"))
    error = await _with_contract(mesh, contract, "announced.v1.Service/Call", announced="0" * 64)
    _checked(error, INVALID, "CONTRACT_INVALID")
    assert error.message


async def test_hosting_what_the_coordinator_serves_itself(mesh: MeshHarness) -> None:
    contract = schema.file_set(
        schema.file(
            "own.proto", package="weft.v1", service="CoordinatorService", methods=["GetTask Request Response"]
        )
    )
    error = await _with_contract(mesh, contract, "weft.v1.CoordinatorService/GetTask")
    _checked(error, INVALID, "CONTRACT_INVALID")


async def test_a_contract_incompatible_with_the_one_in_force(mesh: MeshHarness) -> None:
    method = "changed.v1.Service/Call"

    def version(field: str) -> bytes:
        return schema.file_set(schema.file("changed.proto", {"Request": field}, package="changed.v1"))

    async with LightAgent(mesh.channel(), "v1", methods=(method,), contract=version("string text = 1")):
        await mesh.wait_serving("changed.v1.Service")
        error = await _with_contract(mesh, version("double text = 1"), method)
        _checked(error, PRECONDITION, "CONTRACT_INCOMPATIBLE")
        assert error.metadata == {"method": method, "field": "Request.text"}
        assert "Request.text" in error.message
        # A field more is compatible.
        grown = version("string text = 1; int32 more = 2")
        async with LightAgent(mesh.channel(), "v2", methods=(method,), contract=grown):
            await mesh.wait_agent("v2")
    # It stays in force when nobody hosts it any more.
    _checked(
        await _with_contract(mesh, version("double text = 1"), method), PRECONDITION, "CONTRACT_INCOMPATIBLE"
    )


async def test_a_contract_that_nobody_asked_for_is_checked_too(mesh: MeshHarness) -> None:
    agent = LightAgent(mesh.channel(), "eager", heartbeats=False)
    await agent.open()
    await agent.send(ConnectRequest(contract=session_pb2.Contract(file_descriptor_set=b"\xff\xff")))
    _checked(await agent.ended(), INVALID, "CONTRACT_INVALID")
    await agent.close()


async def test_nothing_is_assigned_before_the_contract_came(mesh: MeshHarness) -> None:
    contract = schema.file_set(schema.file("held_back.proto", package="held_back.v1"))
    first = hello("withholder", methods=("held_back.v1.Service/Call",), contract=contract)
    call = mesh.api().Connect(timeout=10)
    await call.write(ConnectRequest(hello=first))
    welcome = await call.read()
    assert isinstance(welcome, session_pb2.ConnectResponse)
    assert welcome.welcome.contract_needed
    status = await refused(mesh.channel().unary_unary("/held_back.v1.Service/Call")(b"", timeout=5))
    check(status, grpc.StatusCode.UNIMPLEMENTED, "METHOD_UNKNOWN")
    call.cancel()


# -- reports --------------------------------------------------------------------------------------------------------


async def test_results_for_attempts_of_others_are_refused(mesh: MeshHarness) -> None:
    async with (
        LightAgent(mesh.channel(), "holder", methods=(CALL,), answer=never) as holder,
        LightAgent(mesh.channel(), "thief") as thief,
    ):
        task_id = await _submit(mesh, CALL)
        (assignment,) = await _assigned(holder)
        forged = [
            AttemptResult(task_id=task_id, attempt=1),
            AttemptResult(task_id=task_id, attempt=2),
            AttemptResult(task_id=task_id, attempt=2**32 - 1),
            AttemptResult(task_id="f" * 16, attempt=1),
            AttemptResult(task_id="", attempt=0),
            AttemptResult(task_id="\u00e9" * 1000, attempt=1),
        ]
        await thief.send(ConnectRequest(results=forged))

        async def answered() -> bool:
            return sum(len(message.result_acks) for message in thief.received) == len(forged)

        await mesh.eventually(answered, "every forged result is answered", timeout_s=5)
        assert all(ack.refused for message in thief.received for ack in message.result_acks)
        assert (await _task(mesh, task_id)).state == task_pb2.TASK_STATE_RUNNING
        found = (await mesh.api().GetAgent(api.GetAgentRequest(agent_id="thief"), timeout=5)).agent
        assert found.stale_results_refused == len(forged)
        # The holder's own result is taken; the same again is acknowledged; another is too late.
        await holder.send(ConnectRequest(results=[result_of(assignment, response=b"")]))

        async def succeeded() -> bool:
            return (await _task(mesh, task_id)).state == task_pb2.TASK_STATE_SUCCEEDED

        await mesh.eventually(succeeded, "the holder's result counts", timeout_s=5)


async def test_progress_and_hand_backs_of_foreign_attempts(mesh: MeshHarness) -> None:
    async with (
        LightAgent(mesh.channel(), "holder", methods=(STREAM,), answer=never) as holder,
        LightAgent(mesh.channel(), "thief") as thief,
    ):
        task_id = await _submit(mesh, STREAM)
        await _assigned(holder)
        await thief.send(
            ConnectRequest(
                progress=[
                    session_pb2.Progress(task_id=task_id, attempt=1, index=1),
                    session_pb2.Progress(task_id="nothing", attempt=9, index=2**64 - 1),
                ],
                released=[
                    session_pb2.Released(task_id=task_id, attempt=1),
                    session_pb2.Released(task_id="nothing", attempt=1),
                ],
            )
        )

        async def told() -> bool:
            return sum(len(message.cancels) for message in thief.received) == 2

        await mesh.eventually(told, "the thief is told that both are lost", timeout_s=5)
        assert all(cancel.lost for message in thief.received for cancel in message.cancels)
        task = await _task(mesh, task_id)
        assert (task.state, task.agent_id, task.progress_count) == (task_pb2.TASK_STATE_RUNNING, "holder", 0)
        await _cancel(mesh, task_id)


async def test_progress_with_gaps_and_progress_over_the_limit(mesh: MeshHarness) -> None:
    async with LightAgent(mesh.channel(), "streamer", methods=(STREAM,), answer=never) as agent:
        large = await _submit(mesh, STREAM)
        await _assigned(agent)
        progress = session_pb2.Progress(task_id=large, attempt=1, index=1, payload=bytes(4 * MIB + 1))
        await agent.send(ConnectRequest(progress=[progress]))

        async def ended() -> bool:
            return (await _task(mesh, large)).state == task_pb2.TASK_STATE_FAILED

        await mesh.eventually(ended, "a response over the limit fails the task", timeout_s=5)
        check((await _task(mesh, large)).outcome.status, EXHAUSTED, "RESULT_TOO_LARGE")

        # The stream of a task has no holes: the attempt is over, and counts as a crash of its agent.
        gap = await _submit(mesh, STREAM)
        await _assigned(agent, 2)
        await agent.send(ConnectRequest(progress=[session_pb2.Progress(task_id=gap, attempt=1, index=5)]))
        await _assigned(agent, 3)
        task = await _task(mesh, gap)
        assert (task.attempt, task.crashes, task.progress_count) == (2, 1, 0)
        await _cancel(mesh, gap)


@pytest.mark.parametrize(
    ("outcome", "code"),
    [
        ({"status": {"code": 99, "message": "no such code"}}, grpc.StatusCode.UNKNOWN),
        ({"status": {"code": -1}}, grpc.StatusCode.UNKNOWN),
        ({"status": {"code": 9, "details": [{"type_url": "nonsense", "value": b"\xff"}]}}, PRECONDITION),
        ({"status": {"code": 9}, "trailers": [{"key": "Bad Key", "value": b"x"}]}, PRECONDITION),
        ({"trailers": [{"key": "", "value": b"x"}]}, grpc.StatusCode.OK),
        ({"trailers": [{"key": "text", "value": b"line\nbreak"}]}, grpc.StatusCode.OK),
        ({"headers": [{"key": "Bad Key", "value": b"x"}]}, grpc.StatusCode.OK),
        ({"headers": [{"key": "grpc-status", "value": b"13"}]}, grpc.StatusCode.OK),
        ({"trailers": [{"key": "weft-agent", "value": b"forged"}]}, grpc.StatusCode.OK),
        ({"trailers": [{"key": "k", "value": bytes(2 * MIB)}]}, EXHAUSTED),
        ({"status": {"code": 9, "message": "m" * 100_000}}, PRECONDITION),
        # More than an answer carries: the code stays, the message is cut.
        ({"status": {"code": 9, "message": "m" * MAX_METADATA_BYTES}}, PRECONDITION),
        ({"response": b"\xff\xff no reply"}, grpc.StatusCode.OK),
    ],
    ids=lambda value: str(value)[:60],
)
async def test_outcomes_that_grpc_cannot_pass_on(
    mesh: MeshHarness, outcome: dict[str, Any], code: grpc.StatusCode
) -> None:
    """The caller gets what the handler achieved, without what would break the call."""
    async with LightAgent(
        mesh.channel(), "liar", methods=(CALL,), answer=lambda assigned: result_of(assigned, **outcome)
    ):
        call = mesh.channel().unary_unary(f"/{CALL}")(b"", timeout=8)
        assert await call.code() is code
        if code is not EXHAUSTED:
            assert [value for key, value in await call.trailing_metadata() if key == "weft-agent"] == ["liar"]


@pytest.mark.slow
async def test_a_huge_batch_of_reports(mesh: MeshHarness) -> None:
    async with LightAgent(mesh.channel(), "flood") as agent:
        results = [AttemptResult(task_id=f"{number:016x}", attempt=1) for number in range(1, 100_001)]
        await agent.send(ConnectRequest(results=results))

        async def answered() -> bool:
            return sum(len(message.result_acks) for message in agent.received) >= len(results)

        await mesh.eventually(answered, "100,000 results are answered", timeout_s=15)


async def test_a_message_over_the_limit_ends_the_session_alone(mesh: MeshHarness) -> None:
    options = [("grpc.max_send_message_length", -1)]
    async with grpc.aio.insecure_channel(mesh.target, options=options) as channel:
        agent = LightAgent(channel, "bulky")
        await agent.open()
        outcome = task_pb2.Outcome(response=bytes(32 * MIB))
        # Where a client that is still writing learns of it, and with which code, is up to its gRPC.
        with contextlib.suppress(grpc.aio.AioRpcError):
            await agent.send(ConnectRequest(results=[AttemptResult(task_id="x", attempt=1, outcome=outcome)]))
        assert await asyncio.wait_for(agent.ended(), 10) is not None
        await agent.close(goodbye=False)


async def test_goodbye_while_holding_work_gives_it_to_others(mesh: MeshHarness) -> None:
    leaver = LightAgent(mesh.channel(), "leaver", methods=(CALL,), answer=never)
    await leaver.open()
    task_id = await _submit(mesh, CALL)
    await _assigned(leaver)
    await leaver.close(goodbye=True)
    async with LightAgent(mesh.channel(), "heir", methods=(CALL,)):

        async def succeeded() -> bool:
            return (await _task(mesh, task_id)).state == task_pb2.TASK_STATE_SUCCEEDED

        await mesh.eventually(succeeded, "the heir does it", timeout_s=5)
    assert (await _task(mesh, task_id)).crashes == 1


async def test_an_agent_that_sends_nothing_after_hello_is_lost_and_told(mesh: MeshHarness) -> None:
    silent = LightAgent(mesh.channel(), "silent", heartbeats=False, methods=(CALL,), answer=never)
    await silent.open()
    error = await asyncio.wait_for(silent.ended(), 8)
    _checked(error, grpc.StatusCode.UNAVAILABLE, "SESSION_LOST")
    await silent.close(goodbye=False)
    await mesh.wait_agent("silent", fleet_pb2.AGENT_STATE_LOST)


async def test_a_hash_of_a_known_contract_with_other_methods(mesh: MeshHarness) -> None:
    """The contract is known, so it is not asked for: its methods are taken from what is here."""
    async with LightAgent(mesh.channel(), "other", methods=(STREAM,)) as agent:
        assert not agent.welcome.contract_needed
        await mesh.wait_agent("other")


# -- beside the stream ------------------------------------------------------------------------------------------------


async def _beside(
    mesh: MeshHarness, agent_id: str, welcome: session_pb2.Welcome, behind: int = 0, **parts: Any
) -> None:
    epoch, message = welcome.epoch - behind, ConnectRequest(**parts)
    request = api.ReportRequest(
        agent_id=agent_id, epoch=epoch, message=message, report_key=welcome.report_key
    )
    await mesh.api().Report(request, timeout=5)


@pytest.mark.parametrize(("agent_id", "behind"), [("beside", 1), ("nobody", 0), ("", 0), ("x" * 100_000, 0)])
async def test_a_report_of_no_open_session_is_refused(mesh: MeshHarness, agent_id: str, behind: int) -> None:
    async with LightAgent(mesh.channel(), "beside") as agent:
        with pytest.raises(grpc.RpcError) as caught:
            await _beside(mesh, agent_id, agent.welcome, behind)
    _checked(from_call(caught.value), PRECONDITION, "SESSION_PROTOCOL")


@pytest.mark.parametrize(
    ("part", "value"),
    [
        ("hello", hello("beside")),
        ("contract", session_pb2.Contract(file_descriptor_set=CONTRACT)),
        ("progress", [session_pb2.Progress(task_id="t", attempt=1, index=1)]),
        ("goodbye", True),
    ],
)
async def test_a_report_holds_what_only_the_stream_takes(mesh: MeshHarness, part: str, value: Any) -> None:
    async with LightAgent(mesh.channel(), "beside") as agent:
        with pytest.raises(grpc.RpcError) as caught:
            await _beside(mesh, "beside", agent.welcome, **{part: value})
        _checked(from_call(caught.value), INVALID, "INVALID_FIELD", f"message.{part}")


async def test_reports_keep_a_session_that_gets_no_work_until_its_stream_speaks(mesh: MeshHarness) -> None:
    async with LightAgent(mesh.channel(), "beside", methods=(CALL,), heartbeats=False, answer=never) as agent:
        welcome, interval_s = agent.welcome, seconds(agent.welcome.heartbeat_interval)
        running = await _submit(mesh, CALL)
        (first,) = await _assigned(agent)
        await _beside(
            mesh, "beside", welcome, state=session_pb2.AgentReport(sequence=2), results=[result_of(first)]
        )

        async def succeeded() -> bool:
            return (await _task(mesh, running)).state == task_pb2.TASK_STATE_SUCCEEDED

        await mesh.eventually(succeeded, "the result that came beside the stream is taken")
        waiting = await _submit(mesh, CALL)
        # For longer than its lease.
        for sequence in range(3, 12):
            await asyncio.sleep(interval_s / 2)
            await _beside(mesh, "beside", welcome, state=session_pb2.AgentReport(sequence=sequence))
        assert len(agent.assigned) == 1
        assert (await mesh.agent_states())["beside"] == fleet_pb2.AGENT_STATE_ACTIVE
        await agent.send(ConnectRequest(state=session_pb2.AgentReport(sequence=12)))
        await _assigned(agent, 2)
        await _cancel(mesh, waiting)


async def test_a_report_that_comes_late_is_no_news(mesh: MeshHarness) -> None:
    async with LightAgent(mesh.channel(), "beside", heartbeats=False) as agent:
        await agent.send(ConnectRequest(state=session_pb2.AgentReport(sequence=3, draining=True)))
        await mesh.wait_agent("beside", fleet_pb2.AGENT_STATE_DRAINING)
        await _beside(mesh, "beside", agent.welcome, state=session_pb2.AgentReport(sequence=2))
        assert (await mesh.agent_states())["beside"] == fleet_pb2.AGENT_STATE_DRAINING
