"""Limits of callers at a coordinator's door: calls, streams, bytes and tasks of one caller are refused or slowed, those of others are not."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
import pytest_asyncio

from tests.support.lightweight import CONTRACT, ECHO
from tests.support.token_door import Door, reason, shown, token_door
from weft.coordinator.contracts.contract_catalogue import Contract
from weft.coordinator.server import Coordinator
from weft.coordinator.settings import CoordinatorSettings
from weft.rpc.errors import WeftError, from_call
from weft.rpc.identity.caller import CLIENT, OBSERVER
from weft.rpc.network.channel import dial
from weft.v1 import coordinator_pb2, security_pb2, stats_pb2
from weft.v1.coordinator_pb2_grpc import CoordinatorServiceStub
from weft.v1.stats_pb2_grpc import StatsServiceStub

AGENTS = "/weft.v1.CoordinatorService/ListAgents"
WATCH = "/weft.v1.CoordinatorService/WatchAgents"
SUBMIT = "/weft.v1.CoordinatorService/SubmitTask"


@pytest.fixture(scope="module")
def policy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("policy") / "policy.toml"
    file.write_text("[[limits]]\ncallers = ['token:ruled']\ncalls_per_s = 0.5\n")
    return file


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def door(tmp_path_factory: pytest.TempPathFactory, policy: Path) -> AsyncIterator[Door]:
    async with token_door(tmp_path_factory.mktemp("door"), policy=policy, caller_open_streams=3) as door:
        yield door


async def token(door: Door, role: int = CLIENT, name: str = "", **limits: float) -> str:
    made = await door.create(role, name=name, limits=security_pb2.CallerLimits(**limits))  # type: ignore[arg-type]
    return made.text


@pytest.mark.asyncio(loop_scope="module")
async def test_a_rate_is_refused_with_the_limit_and_the_time(door: Door) -> None:
    text = await token(door, name="shop", calls_per_s=2)
    other = await token(door)
    refused = [await door.call(AGENTS, shown(text)) for _ in range(3)]
    assert list(map(reason, refused)) == ["", "", "CALLER_LIMIT"]
    error = refused[-1]
    assert isinstance(error, WeftError)
    assert error.code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert error.metadata == {"limit": "calls_per_s", "value": "2", "subject": "token:shop"}
    assert error.retry_after_s is not None
    assert 0 < error.retry_after_s <= 0.5
    assert "calls_per_s" in error.message
    assert not await door.call(AGENTS, shown(other))
    # There is room when the error says so.
    await asyncio.sleep(error.retry_after_s)
    assert not await door.call(AGENTS, shown(text))
    await _told(door, other)


async def _told(door: Door, client: str) -> None:
    """Who was refused is told to operators and observers, and counted."""
    stub = StatsServiceStub(door.channel)
    for who, told in ((door.operator, True), (await token(door, OBSERVER), True), (client, False)):
        stats = await stub.GetStats(stats_pb2.GetStatsRequest(), metadata=shown(who))
        assert bool([each for each in stats.limited if each.name == "token:shop"]) is told
    refused = dict(door.coordinator.identity.metering.refused())
    assert refused["calls_per_s", "caller"] >= 1


@pytest.mark.asyncio(loop_scope="module")
async def test_limits_come_from_token_policy_and_settings(door: Door) -> None:
    ruled = await token(door, name="ruled")
    assert [reason(await door.call(AGENTS, shown(ruled))) for _ in range(2)] == ["", "CALLER_LIMIT"]
    own = await token(door, name="ruled", calls_per_s=0)
    assert [reason(await door.call(AGENTS, shown(own))) for _ in range(3)] == ["", "", ""]
    # The default of the settings holds for streams, and for them alone.
    async with _streams(door, own, 3):
        assert reason(await door.call(WATCH, shown(own), timeout_s=5.0)) == "CALLER_LIMIT"
        assert not await door.call(AGENTS, shown(own))
        # The health of a server can be asked at any time.
        assert not await door.call("/grpc.health.v1.Health/Check", shown(own))
    assert await _taken_again(door, own)


@contextlib.asynccontextmanager
async def _streams(door: Door, text: str, count: int) -> AsyncIterator[None]:
    stub = CoordinatorServiceStub(door.channel)
    request = coordinator_pb2.WatchAgentsRequest()
    calls: list[Any] = [stub.WatchAgents(request, metadata=shown(text)) for _ in range(count)]
    for call in calls:
        await call.read()
    try:
        yield
    finally:
        for call in calls:
            call.cancel()


async def _taken_again(door: Door, text: str) -> bool:
    """Whether a stream is taken again: the others' ends may be under way."""
    for _ in range(50):
        if reason(await door.call(WATCH, shown(text), timeout_s=0.3)) != "CALLER_LIMIT":
            return True
        await asyncio.sleep(0.05)
    return False


@pytest.mark.asyncio(loop_scope="module")
async def test_rotation_keeps_limits_and_wrong_ones_are_refused(door: Door) -> None:
    limits = security_pb2.CallerLimits(calls_per_s=0.5, open_calls=0)
    made = await door.create(CLIENT, limits=limits)
    rotated = await door.stub.RotateToken(
        security_pb2.RotateTokenRequest(id=made.token.id), metadata=shown(door.operator)
    )
    assert made.token.limits == rotated.token.limits == limits
    # Both texts are the same caller.
    assert not await door.call(AGENTS, shown(made.text))
    assert reason(await door.call(AGENTS, shown(rotated.text))) == "CALLER_LIMIT"
    for wrong in ({"calls_per_s": -1.0}, {"bytes_per_s": float("nan")}, {"queued_tasks": 10**18}):
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await door.create(CLIENT, limits=security_pb2.CallerLimits(**wrong))  # type: ignore[arg-type]
        error = from_call(raised.value)
        assert reason(error) == "INVALID_FIELD"
        assert error.violations[0].field == f"limits.{next(iter(wrong))}"


@pytest.mark.asyncio(loop_scope="module")
async def test_bytes_of_requests_and_responses_count(door: Door) -> None:
    text = await token(door, bytes_per_s=100_000)
    stub = CoordinatorServiceStub(door.channel)
    request = coordinator_pb2.SubmitTaskRequest(method="acme.v1.None/None", payload=bytes(250_000))

    async def submit() -> WeftError:
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await stub.SubmitTask(request, metadata=shown(text))
        return from_call(raised.value)

    assert reason(await submit()) == "METHOD_UNKNOWN"
    error = await submit()
    assert (reason(error), error.metadata["limit"]) == ("CALLER_LIMIT", "bytes_per_s")
    assert error.retry_after_s is not None
    assert 1.0 < error.retry_after_s <= 1.6


@pytest.mark.asyncio(loop_scope="module")
async def test_a_stream_of_submissions_waits_instead(door: Door) -> None:
    text = await token(door, calls_per_s=100)
    stub = CoordinatorServiceStub(door.channel)
    task = coordinator_pb2.SubmitTaskRequest(method="acme.v1.None/None")

    async def requests() -> AsyncIterator[coordinator_pb2.SubmitTasksRequest]:
        for _ in range(13):
            yield coordinator_pb2.SubmitTasksRequest(tasks=[task] * 10)

    began, acks = asyncio.get_running_loop().time(), 0
    async for response in stub.SubmitTasks(requests(), metadata=shown(text)):
        acks += len(response.acks)
    assert acks == 130
    # A hundred, without the stream itself, at once; the others as the bucket fills.
    assert asyncio.get_running_loop().time() - began > 0.25


async def test_without_tokens_each_machine_is_a_caller(tmp_path: Path) -> None:
    settings = CoordinatorSettings(
        listen="127.0.0.1:0", store=str(tmp_path / "weft.db"), caller_calls_per_s=1, caller_bytes_per_s=1e6
    )
    coordinator = Coordinator(settings)
    await coordinator.start()
    try:
        async with dial(coordinator.address) as channel:
            stub = CoordinatorServiceStub(channel)
            await stub.ListAgents(coordinator_pb2.ListAgentsRequest())
            with pytest.raises(grpc.aio.AioRpcError) as raised:
                await stub.ListAgents(coordinator_pb2.ListAgentsRequest())
            error = from_call(raised.value)
            assert (reason(error), error.metadata["subject"]) == ("CALLER_LIMIT", "peer:127.0.0.1")
    finally:
        await coordinator.stop(0.0)


# -- unfinished tasks -----------------------------------------------------------------------------------------------------


def admit(coordinator: Coordinator) -> None:
    """Let a method be submitted that no agent hosts."""
    coordinator.default._contracts.admit(Contract.load(CONTRACT, [ECHO]))


@pytest.mark.asyncio(loop_scope="module")
async def test_unfinished_tasks_are_refused_by_every_way(door: Door) -> None:
    admit(door.coordinator)
    text = await token(door, name="full", queued_tasks=3, open_streams=0)
    stub = CoordinatorServiceStub(door.channel)
    task = coordinator_pb2.SubmitTaskRequest(method=ECHO)
    made = [(await stub.SubmitTask(task, metadata=shown(text))).task for _ in range(2)]
    # A transparent call that waits is a task, too.
    echo = door.channel.unary_unary(f"/{ECHO}")
    waiting = echo(b"", metadata=shown(text))
    await _queued(door, 3)
    for refused in (stub.SubmitTask(task, metadata=shown(text)), echo(b"", metadata=shown(text))):
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await refused
        error = from_call(raised.value)
        assert (reason(error), error.metadata["limit"], error.metadata["value"]) == (
            "CALLER_LIMIT",
            "queued_tasks",
            "3",
        )
        assert error.retry_after_s
    # In a stream each task for itself; another caller's are taken.
    waiting.cancel()
    await _queued(door, 2)
    request = coordinator_pb2.SubmitTasksRequest(tasks=[task] * 3)
    (response,) = [each async for each in stub.SubmitTasks(iter([request]), metadata=shown(text))]
    assert [bool(each.task_id) for each in response.acks] == [True, False, False]
    assert "queued_tasks" in response.acks[1].error.message
    other = await token(door)
    made.append((await stub.SubmitTask(task, metadata=shown(other))).task)
    assert dict(door.coordinator.identity.metering.refused())["queued_tasks", "caller"] == 4
    for each in (*made, response.acks[0]):
        task_id = getattr(each, "task_id", "") or each.id
        await stub.CancelTask(
            coordinator_pb2.CancelTaskRequest(task_id=task_id), metadata=shown(door.operator)
        )
    assert (await stub.SubmitTask(task, metadata=shown(text))).task.id


async def _queued(door: Door, count: int) -> None:
    for _ in range(200):
        if door.coordinator.default.unfinished() == count:
            return
        await asyncio.sleep(0.01)
    raise AssertionError(door.coordinator.default.unfinished())


async def test_a_namespace_has_limits_of_its_own(tmp_path: Path) -> None:
    policy = tmp_path / "policy.toml"
    policy.write_text("[[namespace_limits]]\nnamespaces = ['default']\nqueued_tasks = 3\n")
    async with token_door(tmp_path, policy=policy) as door:
        admit(door.coordinator)
        stub = CoordinatorServiceStub(door.channel)
        task = coordinator_pb2.SubmitTaskRequest(method=ECHO)
        texts = [await token(door) for _ in range(2)]
        request = coordinator_pb2.SubmitTasksRequest(tasks=[task] * 2)
        acks = []
        for text in texts:
            async for response in stub.SubmitTasks(iter([request]), metadata=shown(text)):
                acks += response.acks
        assert [bool(each.task_id) for each in acks] == [True, True, True, False]
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await stub.SubmitTask(task, metadata=shown(texts[0]))
        error = from_call(raised.value)
        assert reason(error) == "NAMESPACE_LIMIT"
        assert error.metadata == {"namespace": "default", "limit": "queued_tasks", "value": "3"}
        # The file is followed, also by callers that are known already.
        policy.write_text("[[namespace_limits]]\ncalls_per_s = 0.1\nqueued_tasks = 9\n")
        for _ in range(200):
            answers = [reason(await door.call(AGENTS, shown(text))) for text in texts]
            if "NAMESPACE_LIMIT" in answers:
                break
            await asyncio.sleep(0.02)
        assert "NAMESPACE_LIMIT" in answers
