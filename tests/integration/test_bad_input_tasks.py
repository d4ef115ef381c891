"""Requests about tasks that are wrong in one place: each is answered with a typed error, and the next one is served."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import grpc
import grpc.aio
import pytest
import pytest_asyncio
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message

from probe.v1.probe_pb2 import Payload, ProbeReply, ProbeRequest
from tests.support.lightweight import CALL, ECHO, STREAM, LightAgent, echo, result_of
from tests.support.mesh import MeshHarness
from tests.support.refusals import check, refused
from weft.rpc.task_policy.option_checks import RESERVED_IDS
from weft.v1 import coordinator_pb2 as api
from weft.v1 import fleet_pb2, session_pb2, task_pb2

pytestmark = pytest.mark.asyncio(loop_scope="module")

COLLECT = "probe.v1.ProbeService/Collect"
MIB = 1024 * 1024
INVALID = grpc.StatusCode.INVALID_ARGUMENT
NOT_FOUND = grpc.StatusCode.NOT_FOUND
UNIMPLEMENTED = grpc.StatusCode.UNIMPLEMENTED
EXHAUSTED = grpc.StatusCode.RESOURCE_EXHAUSTED
EXISTS = grpc.StatusCode.ALREADY_EXISTS

BAD_DURATIONS = {
    "negative": Duration(seconds=-1),
    "just below zero": Duration(nanos=-1),
    "a century": Duration(seconds=100 * 366 * 86400),
    "the largest": Duration(seconds=2**63 - 1, nanos=999_999_999),
    "the least": Duration(seconds=-(2**63), nanos=-999_999_999),
    "nanos over a second": Duration(seconds=1, nanos=1_000_000_000),
    "signs that differ": Duration(seconds=2, nanos=-1),
}


def _answer(assignment: session_pb2.Assignment) -> session_pb2.AttemptResult:
    if assignment.method != CALL:
        return echo(assignment)
    request = ProbeRequest.FromString(assignment.payload)
    reply = ProbeReply(text=request.text, blob=bytes(request.reply_size_bytes))
    return result_of(assignment, response=reply.SerializeToString())


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def mesh(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[MeshHarness]:
    async with MeshHarness(tmp_path_factory.mktemp("mesh")) as harness:
        # The agent lives in this process, which is busy now and then.
        await harness.coordinator(missed_heartbeats=10)
        channel = harness.own_channel()
        async with LightAgent(channel, "a1", slots=8, methods=(ECHO, CALL, STREAM, COLLECT), answer=_answer):
            await harness.wait_serving()
            yield harness


@pytest_asyncio.fixture(autouse=True, loop_scope="module")
async def serves_on(mesh: MeshHarness) -> AsyncIterator[None]:
    """After each test the coordinator serves, and has logged no fault of its own."""
    process = mesh.coordinator_process
    assert process is not None
    logged = len(process.output())
    yield
    assert await mesh.probe().Echo(Payload(data=b"next"), timeout=5) == Payload(data=b"next")
    assert "Traceback" not in process.output()[logged:]


def _submit(method: str = ECHO, payload: bytes = b"", **rest: Any) -> api.SubmitTaskRequest:
    return api.SubmitTaskRequest(method=method, payload=payload, **rest)


async def _bulk(mesh: MeshHarness, *requests: api.SubmitTaskRequest) -> list[api.SubmitAck]:
    """The acknowledgements of one bulk message."""
    call = mesh.api().SubmitTasks(timeout=10)
    await call.write(api.SubmitTasksRequest(tasks=requests))
    await call.done_writing()
    return [ack async for response in call for ack in response.acks]


async def _all_ways(
    mesh: MeshHarness, request: api.SubmitTaskRequest, code: grpc.StatusCode, reason: str, field: str | None
) -> None:
    """The task API and a bulk stream refuse it alike, and the bulk stream takes its neighbours."""
    check(await refused(mesh.api().SubmitTask(request, timeout=5)), code, reason, field)
    before, bad, after = await _bulk(mesh, _submit(), request, _submit())
    check(bad.error, code, reason, field)
    assert not bad.task_id
    assert before.task_id
    assert after.task_id


def _transparent(
    mesh: MeshHarness, method: str, payload: bytes, **metadata: str
) -> grpc.aio.UnaryUnaryCall[bytes, bytes]:
    """A stock call of bytes."""
    pairs = [(f"weft-{key.replace('_', '-')}", value) for key, value in metadata.items()]
    return mesh.channel().unary_unary(f"/{method}")(payload, timeout=10, metadata=pairs)


# -- payloads -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "payload", [b"\xff\xff\xff", b"\x0a\x10short", b"\x0a", b"\x07", b"\x0a\x02\xff\xfe", b"garbage" * 1000]
)
async def test_unparsable_payloads(mesh: MeshHarness, payload: bytes) -> None:
    await _all_ways(mesh, _submit(CALL, payload), INVALID, "PAYLOAD_MALFORMED", "payload")
    for method in (CALL, STREAM):
        check(await refused(_transparent(mesh, method, payload)), INVALID, "PAYLOAD_MALFORMED", "payload")


async def test_requests_over_the_limit(mesh: MeshHarness) -> None:
    payload = Payload(data=bytes(4 * MIB)).SerializeToString()
    await _all_ways(mesh, _submit(ECHO, payload), EXHAUSTED, "PAYLOAD_TOO_LARGE", None)
    status = await refused(_transparent(mesh, ECHO, payload))
    check(status, EXHAUSTED, "PAYLOAD_TOO_LARGE")
    assert str(len(payload)) in status.message
    assert str(4 * MIB) in status.message


async def test_a_request_at_the_limit_passes(mesh: MeshHarness) -> None:
    request = Payload(data=bytes(4 * MIB - 5))
    assert request.ByteSize() == 4 * MIB
    assert await mesh.probe().Echo(request, timeout=20) == request


async def test_responses_over_the_limit_fail_the_task_for_good(mesh: MeshHarness) -> None:
    request = ProbeRequest(reply_size_bytes=4 * MIB)
    status = await refused(mesh.probe().Call(request, timeout=20))
    check(status, EXHAUSTED, "RESULT_TOO_LARGE")
    assert str(4 * MIB) in status.message
    stored = await mesh.api().SubmitTask(_submit(CALL, request.SerializeToString()), timeout=5)
    async for response in mesh.api().WaitTasks(api.WaitTasksRequest(task_ids=[stored.task.id]), timeout=20):
        (task,) = response.tasks
        assert task.state == task_pb2.TASK_STATE_FAILED
        assert task.attempt == 1, "such a result is never tried again"


@pytest.mark.parametrize("path", [f"/{ECHO}", "/weft.v1.CoordinatorService/SubmitTask"])
async def test_a_message_of_32_mib_is_refused_by_its_size(mesh: MeshHarness, path: str) -> None:
    options = [("grpc.max_send_message_length", -1)]
    async with grpc.aio.insecure_channel(mesh.target, options=options) as channel:
        status = await refused(channel.unary_unary(path)(bytes(32 * MIB), timeout=20))
        # gRPC's own answer: the message was never read.
        assert status.code == EXHAUSTED.value[0]
        assert "larger than max" in status.message
        # The same connection goes on.
        assert await channel.unary_unary(f"/{ECHO}")(b"", timeout=5) == b""


@pytest.mark.parametrize(
    "rpc", ["SubmitTask", "GetTask", "WatchTask", "WaitTasks", "SubmitTasks", "ListTasks"]
)
async def test_bytes_that_are_no_request_at_all(mesh: MeshHarness, rpc: str) -> None:
    method = mesh.channel().stream_stream(f"/weft.v1.CoordinatorService/{rpc}")
    call = method(timeout=5)
    await call.write(b"\xff\xff\xff\xff")
    await call.done_writing()
    check(await refused(call), INVALID, "PAYLOAD_MALFORMED")


# -- methods --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        "probe.v1.ProbeService/Ecko",
        "probe.v1.ProbeService.Echo",
        "probe.v1.Service/Echo",
        "Echo",
        "probe.v1.probeservice/echo",
    ],
)
async def test_unknown_methods_and_the_nearest_name(mesh: MeshHarness, name: str) -> None:
    await _all_ways(mesh, _submit(name), NOT_FOUND, "METHOD_UNKNOWN", None)
    status = await refused(mesh.api().SubmitTask(_submit(name), timeout=5))
    assert f"did you mean {ECHO}" in status.message
    if "/" in name:
        status = await refused(_transparent(mesh, name, b""))
        check(status, UNIMPLEMENTED, "METHOD_UNKNOWN")
        assert f"did you mean {ECHO}" in status.message


@pytest.mark.parametrize(
    "name", ["", "/", "//", "x" * 5000, "\u00e9\u4e16", "weft.v1.CoordinatorService/GetTask"]
)
async def test_names_that_are_none(mesh: MeshHarness, name: str) -> None:
    await _all_ways(mesh, _submit(name), NOT_FOUND, "METHOD_UNKNOWN", None)


async def test_methods_that_cannot_be_tasks(mesh: MeshHarness) -> None:
    await _all_ways(mesh, _submit(COLLECT), UNIMPLEMENTED, "METHOD_NOT_DURABLE", None)
    call = mesh.channel().stream_unary(f"/{COLLECT}")(timeout=5)
    check(await refused(call), UNIMPLEMENTED, "METHOD_NOT_DURABLE")


async def test_a_method_called_in_another_shape(mesh: MeshHarness) -> None:
    """A caller whose stub says "stream" where the contract says "unary" is answered, not left hanging."""
    call = mesh.channel().stream_stream(f"/{ECHO}")(timeout=5)
    # The answer can be there before the last of them.
    with contextlib.suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):
        for _ in range(3):
            await call.write(b"")
        await call.done_writing()
    with contextlib.suppress(grpc.aio.AioRpcError):
        assert [message async for message in call] == [b""]
    assert await call.code() in {grpc.StatusCode.OK, grpc.StatusCode.INTERNAL, UNIMPLEMENTED}
    assert (await mesh.channel().unary_unary(f"/{ECHO}")(b"", timeout=5)) == b""


# -- options --------------------------------------------------------------------------------------------------------


def _with_duration(path: str, value: Duration) -> task_pb2.TaskOptions:
    options = task_pb2.TaskOptions()
    part: Message = options
    *parents, name = path.split(".")
    for parent in parents:
        part = getattr(part, parent)
    getattr(part, name).CopyFrom(value)
    return options


@pytest.mark.parametrize(
    "path",
    [
        "delay",
        "limits.schedule_to_start",
        "limits.start_to_close",
        "limits.schedule_to_close",
        "retry.initial_backoff",
        "retry.max_backoff",
        "result_ttl",
        "failure_ttl",
    ],
)
async def test_durations_below_zero_or_absurd(mesh: MeshHarness, path: str) -> None:
    requests = [_submit(options=_with_duration(path, value)) for value in BAD_DURATIONS.values()]
    for kind, ack in zip(BAD_DURATIONS, await _bulk(mesh, *requests), strict=True):
        assert not ack.task_id, kind
        check(ack.error, INVALID, "INVALID_FIELD", f"options.{path}")
    await _all_ways(mesh, requests[0], INVALID, "INVALID_FIELD", f"options.{path}")


async def test_durations_beside_tasks(mesh: MeshHarness) -> None:
    for value in BAD_DURATIONS.values():
        cancel = mesh.api().CancelTask(api.CancelTaskRequest(task_id="x", grace=value), timeout=5)
        check(await refused(cancel), INVALID, "INVALID_FIELD", "grace")
        wait = mesh.api().WaitTasks(api.WaitTasksRequest(task_ids=["x"], timeout=value), timeout=5)
        check(await refused(wait), INVALID, "INVALID_FIELD", "timeout")


@pytest.mark.parametrize(
    ("options", "field"),
    [
        (task_pb2.TaskOptions(priority=10), "options.priority"),
        (task_pb2.TaskOptions(priority=2**32 - 1), "options.priority"),
        (_with_duration("result_ttl", Duration()), "options.result_ttl"),
        (_with_duration("failure_ttl", Duration(nanos=1)), "options.failure_ttl"),
        (task_pb2.TaskOptions(retry={"max_attempts": 1001}), "options.retry.max_attempts"),
        (task_pb2.TaskOptions(retry={"max_crashes": 2**32 - 1}), "options.retry.max_crashes"),
        (task_pb2.TaskOptions(retry={"backoff_multiplier": 0.5}), "options.retry.backoff_multiplier"),
        (task_pb2.TaskOptions(retry={"backoff_multiplier": -2}), "options.retry.backoff_multiplier"),
        (
            task_pb2.TaskOptions(retry={"backoff_multiplier": float("nan")}),
            "options.retry.backoff_multiplier",
        ),
        (
            task_pb2.TaskOptions(retry={"backoff_multiplier": float("inf")}),
            "options.retry.backoff_multiplier",
        ),
        (task_pb2.TaskOptions(retry={"retryable_codes": [0]}), "options.retry.retryable_codes"),
        (task_pb2.TaskOptions(retry={"retryable_codes": [14, 99]}), "options.retry.retryable_codes"),
        (task_pb2.TaskOptions(retry={"retryable_codes": [-1]}), "options.retry.retryable_codes"),
        (task_pb2.TaskOptions(requirements={"labels": {"": "x"}}), "options.requirements.labels"),
        (task_pb2.TaskOptions(requirements={"labels": {"k" * 129: "x"}}), "options.requirements.labels"),
        (task_pb2.TaskOptions(requirements={"resources": {"gpu": -1}}), "options.requirements.resources"),
        (
            task_pb2.TaskOptions(requirements={"resources": {"gpu": float("nan")}}),
            "options.requirements.resources",
        ),
        (
            task_pb2.TaskOptions(requirements={"labels": {f"k{n}": "" for n in range(65)}}),
            "options.requirements",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_options_out_of_range(mesh: MeshHarness, options: task_pb2.TaskOptions, field: str) -> None:
    await _all_ways(mesh, _submit(options=options), INVALID, "INVALID_FIELD", field)


async def test_metadata_over_the_limit(mesh: MeshHarness) -> None:
    options = task_pb2.TaskOptions(context={"metadata": [{"key": "k", "value": bytes(128 * 1024)}]})
    await _all_ways(mesh, _submit(options=options), EXHAUSTED, "PAYLOAD_TOO_LARGE", "options.context")


@pytest.mark.parametrize(
    "request_id",
    ["x" * 129, "two words", "caf\u00e9", "line\nbreak", "\x00", *(f"{own}0" for own in RESERVED_IDS)],
)
async def test_request_ids_that_are_none(mesh: MeshHarness, request_id: str) -> None:
    await _all_ways(mesh, _submit(request_id=request_id), INVALID, "INVALID_FIELD", "request_id")


@pytest.mark.parametrize(
    ("key", "value", "field"),
    [
        ("priority", "10", "weft-priority"),
        ("priority", "-1", "weft-priority"),
        ("priority", "high", "weft-priority"),
        ("priority", "", "weft-priority"),
        ("delay", "-1", "weft-delay"),
        ("delay", "nan", "weft-delay"),
        ("delay", "inf", "weft-delay"),
        ("delay", "1e300", "weft-delay"),
        ("delay", "soon", "weft-delay"),
        ("delay", "", "weft-delay"),
        ("require", "", "weft-require"),
        ("require", "gpu", "weft-require"),
        ("require", "gpu<1", "weft-require"),
        ("require", "gpu>=many", "weft-require"),
        ("require", "gpu>=nan", "weft-require"),
        ("require", "gpu>=-1", "weft-require"),
        ("require", "zone=eu,,gpu>=1", "weft-require"),
        ("detach", "maybe", "weft-detach"),
        ("request_id", "", "weft-request-id"),
        ("request_id", "x" * 129, "weft-request-id"),
        ("request_id", "two words", "weft-request-id"),
        *(("request_id", f"{own}0", "weft-request-id") for own in RESERVED_IDS),
        ("prioritty", "5", "weft-prioritty"),
        ("task_id", "5", "weft-task-id"),
    ],
)
async def test_metadata_that_is_wrong(mesh: MeshHarness, key: str, value: str, field: str) -> None:
    for method in (ECHO, STREAM):
        status = await refused(_transparent(mesh, method, b"", **{key: value}))
        check(status, INVALID, "INVALID_FIELD", field)


async def test_a_deadline_that_has_passed(mesh: MeshHarness) -> None:
    # Without the delay the answer can be there first: clients look at their clock once a millisecond.
    call = mesh.channel().unary_unary(f"/{ECHO}")
    status = await refused(call(b"", timeout=0.000001, metadata=(("weft-delay", "5s"),)))
    assert status.code == grpc.StatusCode.DEADLINE_EXCEEDED.value[0]


# -- request ids ------------------------------------------------------------------------------------------------------


async def test_a_request_id_used_for_another_request(mesh: MeshHarness) -> None:
    body = Payload(data=b"one").SerializeToString()
    first = await mesh.api().SubmitTask(_submit(ECHO, body, request_id="reused"), timeout=5)
    other = Payload(data=b"two").SerializeToString()
    for request in (_submit(ECHO, other, request_id="reused"), _submit(CALL, body, request_id="reused")):
        await _all_ways(mesh, request, EXISTS, "REQUEST_ID_REUSED", None)
    for method in (ECHO, STREAM):
        status = await refused(_transparent(mesh, method, other, request_id="reused"))
        check(status, EXISTS, "REQUEST_ID_REUSED")
        assert first.task.id in status.message
    (ack,) = await _bulk(mesh, _submit(ECHO, body, request_id="reused"))
    assert (ack.task_id, ack.existed) == (first.task.id, True)


async def test_another_serialization_of_a_request_is_the_same_request(mesh: MeshHarness) -> None:
    data, one, two = Payload(data=b"one").SerializeToString(), b"\x98\x06\x01", b"\xa2\x06\x01x"
    first = await mesh.api().SubmitTask(_submit(ECHO, data + one + two, request_id="orders"), timeout=5)
    repeat = _submit(ECHO, two + data + one, request_id="orders")
    again = await mesh.api().SubmitTask(repeat, timeout=5)
    (ack,) = await _bulk(mesh, repeat)
    await _transparent(mesh, ECHO, repeat.payload, request_id="orders")
    assert {again.task.id, ack.task_id} == {first.task.id}
    await _all_ways(mesh, _submit(ECHO, data + one, request_id="orders"), EXISTS, "REQUEST_ID_REUSED", None)


async def test_a_request_id_used_twice_in_one_bulk_message(mesh: MeshHarness) -> None:
    body = Payload(data=b"one").SerializeToString()
    first, same, other = await _bulk(
        mesh,
        _submit(ECHO, body, request_id="bulk"),
        _submit(ECHO, body, request_id="bulk"),
        _submit(ECHO, b"", request_id="bulk"),
    )
    assert (same.task_id, same.existed) == (first.task_id, True)
    check(other.error, EXISTS, "REQUEST_ID_REUSED")


async def test_fifty_callers_at_once_with_one_request_id_are_one_task(mesh: MeshHarness) -> None:
    body = Payload(data=b"together").SerializeToString()

    async def call(number: int) -> str:
        if number % 3 == 0:
            request = _submit(ECHO, body, request_id="together")
            return (await mesh.api().SubmitTask(request, timeout=10)).task.id
        if number % 3 == 1:
            return (await _bulk(mesh, _submit(ECHO, body, request_id="together")))[0].task_id
        answer = _transparent(mesh, ECHO, body, request_id="together")
        assert await answer == body
        return str(dict(await answer.trailing_metadata())["weft-task-id"])

    ids = await asyncio.gather(*(call(number) for number in range(50)))
    assert len(set(ids)) == 1
    task = (await mesh.api().GetTask(api.GetTaskRequest(task_id=ids[0]), timeout=5)).task
    assert task.attempt == 1


# -- the rest of the API ----------------------------------------------------------------------------------------------

STRANGE_IDS = [
    "",
    "x",
    "0" * 16,
    "f" * 16,
    "F" * 16,
    "-000000000000001",
    "0x00000000000001",
    "\u00e9" * 16,
    "9" * 5000,
]


@pytest.mark.parametrize("task_id", STRANGE_IDS)
async def test_ids_of_no_task(mesh: MeshHarness, task_id: str) -> None:
    stub = mesh.api()
    calls = (
        stub.GetTask(api.GetTaskRequest(task_id=task_id), timeout=5),
        stub.CancelTask(api.CancelTaskRequest(task_id=task_id), timeout=5),
        stub.RetryTask(api.RetryTaskRequest(task_id=task_id), timeout=5),
        stub.WatchTask(api.WatchTaskRequest(task_id=task_id), timeout=5),
    )
    for call in calls:
        check(await refused(call), NOT_FOUND, "TASK_NOT_FOUND")
    async for response in stub.WaitTasks(api.WaitTasksRequest(task_ids=[task_id]), timeout=5):
        assert list(response.not_found) == [task_id]


async def test_tasks_in_a_state_that_does_not_allow_it(mesh: MeshHarness) -> None:
    stored = await mesh.api().SubmitTask(
        _submit(options=task_pb2.TaskOptions(delay=Duration(seconds=3600))), timeout=5
    )
    retry = mesh.api().RetryTask(api.RetryTaskRequest(task_id=stored.task.id), timeout=5)
    check(await refused(retry), grpc.StatusCode.FAILED_PRECONDITION, "TASK_STATE")
    await mesh.api().CancelTask(api.CancelTaskRequest(task_id=stored.task.id), timeout=5)


async def test_arguments_out_of_range(mesh: MeshHarness) -> None:
    stub = mesh.api()
    long = "x" * 100_000
    table: list[tuple[Any, str]] = [
        (stub.WaitTasks(api.WaitTasksRequest(), timeout=5), "task_ids"),
        (stub.WaitTasks(api.WaitTasksRequest(task_ids=["x"] * 100_001), timeout=5), "task_ids"),
        (stub.ListTasks(api.ListTasksRequest(page_size=1001), timeout=5), "page_size"),
        (stub.ListTasks(api.ListTasksRequest(page_size=2**32 - 1), timeout=5), "page_size"),
        (stub.ListTasks(api.ListTasksRequest(page_token="garbage"), timeout=5), "page_token"),
        (stub.ListTasks(api.ListTasksRequest(page_token="-1"), timeout=5), "page_token"),
        (stub.ListTasks(api.ListTasksRequest(page_token=long), timeout=5), "page_token"),
        (stub.ListTasks(api.ListTasksRequest(filter={"states": [77]}), timeout=5), "filter.states"),  # type: ignore[list-item]
        (stub.CancelTask(api.CancelTaskRequest(task_id="x", reason=long), timeout=5), "reason"),
        (stub.ListAgents(api.ListAgentsRequest(page_size=10_001), timeout=5), "page_size"),
        (stub.UpdateAgent(api.UpdateAgentRequest(agent_id="a1"), timeout=5), "desired_state"),
    ]
    for call, field in table:
        check(await refused(call), INVALID, "INVALID_FIELD", field)
    unknown = stub.GetAgent(api.GetAgentRequest(agent_id=long), timeout=5)
    check(await refused(unknown), NOT_FOUND, "AGENT_NOT_FOUND")
    update = api.UpdateAgentRequest(agent_id="nobody", desired_state=fleet_pb2.DESIRED_STATE_PAUSED)
    check(await refused(stub.UpdateAgent(update, timeout=5)), NOT_FOUND, "AGENT_NOT_FOUND")
    queue = api.UpdateQueueRequest(method="no.Such/Method", paused=True)
    check(await refused(stub.UpdateQueue(queue, timeout=5)), NOT_FOUND, "METHOD_UNKNOWN")


@pytest.mark.parametrize("seconds", [-(2**62), -1, 2**62])
async def test_times_that_no_clock_shows_match_nothing_or_all(mesh: MeshHarness, seconds: int) -> None:
    request = api.ListTasksRequest()
    request.filter.create_time_from.seconds = seconds
    listed = await mesh.api().ListTasks(request, timeout=5)
    assert bool(listed.tasks) == (seconds < 0)


async def test_a_bulk_message_of_too_many_tasks(mesh: MeshHarness) -> None:
    call = mesh.api().SubmitTasks(timeout=10)
    await call.write(api.SubmitTasksRequest(tasks=[_submit()] * 4097))
    await call.done_writing()
    check(await refused(call), INVALID, "INVALID_FIELD", "tasks")


async def test_a_bulk_stream_that_says_nothing_and_one_that_is_dropped(mesh: MeshHarness) -> None:
    empty = mesh.api().SubmitTasks(timeout=5)
    await empty.write(api.SubmitTasksRequest())
    await empty.done_writing()
    assert [response async for response in empty] == []
    dropped = mesh.api().SubmitTasks(timeout=5)
    await dropped.write(api.SubmitTasksRequest(tasks=[_submit()] * 100, deliver_results=True))
    dropped.cancel()
