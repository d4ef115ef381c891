"""Groups on real coordinators: their RPCs, what they refuse, waiting over two coordinators, and a callback that survives kills."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
import pytest_asyncio
from google.protobuf.duration_pb2 import Duration

from probe.v1.probe_pb2 import ProbeRequest
from tests.support.lightweight import CALL, ECHO, LightAgent, Request, echo, never
from tests.support.mesh import MeshHarness
from tests.support.redis_server import RedisServer
from tests.support.refusals import check, refused
from tests.support.shared_redis import two_coordinators
from weft.v1 import coordinator_pb2 as api
from weft.v1 import group_pb2_grpc, task_pb2
from weft.v1.group_pb2 import (
    CancelGroupRequest,
    CloseGroupRequest,
    CreateGroupRequest,
    DeleteGroupRequest,
    GetGroupRequest,
    Group,
    GroupCallback,
    GroupCounts,
    ListGroupsRequest,
    WaitGroupRequest,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")

INVALID = grpc.StatusCode.INVALID_ARGUMENT
NOT_FOUND = grpc.StatusCode.NOT_FOUND
PAYLOAD = ProbeRequest(text="member").SerializeToString()
# What it was told of another group gives way.
TOLD = task_pb2.CallContext(metadata=[task_pb2.Metadatum(key="group-name", value=b"other")])
THEN = GroupCallback(
    method=CALL,
    payload=ProbeRequest(text="then").SerializeToString(),
    options=task_pb2.TaskOptions(context=TOLD),
)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def mesh(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[MeshHarness]:
    async with MeshHarness(tmp_path_factory.mktemp("mesh")) as harness:
        await harness.coordinator(missed_heartbeats=10)
        async with LightAgent(harness.own_channel(), "a1", slots=8, methods=(ECHO, CALL)):
            await harness.wait_serving()
            yield harness


@pytest.fixture
def groups(mesh: MeshHarness) -> group_pb2_grpc.GroupServiceStub:
    return group_pb2_grpc.GroupServiceStub(mesh.channel())


async def submit(mesh: MeshHarness, group: str, count: int = 1, **options: Any) -> list[task_pb2.Task]:
    request = api.SubmitTaskRequest(
        method=ECHO, payload=PAYLOAD, options=task_pb2.TaskOptions(group=group, **options)
    )
    answers = await asyncio.gather(*(mesh.api().SubmitTask(request, timeout=10) for _ in range(count)))
    return [answer.task for answer in answers]


async def wait(stub: group_pb2_grpc.GroupServiceStub, name: str, seconds: int = 20) -> Group:
    group: Group = (
        await stub.WaitGroup(WaitGroupRequest(name=name, timeout=Duration(seconds=seconds)), timeout=30)
    ).group
    return group


async def callback_of(mesh: MeshHarness, stub: group_pb2_grpc.GroupServiceStub, name: str) -> task_pb2.Task:
    """The callback's task, when it has ended."""
    found = Group()

    async def known() -> bool:
        found.CopyFrom((await stub.GetGroup(GetGroupRequest(name=name), timeout=10)).group)
        assert not found.callback_error
        return bool(found.callback_task_id)

    await mesh.eventually(known, "the callback is submitted")
    request = api.WaitTasksRequest(task_ids=[found.callback_task_id])
    async for answer in mesh.api().WaitTasks(request, timeout=20):
        for task in answer.tasks:
            return task
    raise AssertionError("no answer")


async def test_fan_out_and_gather(mesh: MeshHarness, groups: Any) -> None:
    made = await groups.CreateGroup(CreateGroupRequest(name="fan/out", callback=THEN))
    assert not made.existed
    assert made.group.callback == THEN
    assert (await submit(mesh, "fan/out"))[0].group == "fan/out"
    # A stock caller joins by metadata; its call is a member too.
    await mesh.probe().Echo(ProbeRequest(text="x"), metadata=(("weft-group", "fan/out"),), timeout=20)
    waiting = asyncio.create_task(wait(groups, "fan/out"))
    await submit(mesh, "fan/out", 5)
    await groups.CloseGroup(CloseGroupRequest(name="fan/out"))
    group = await waiting
    assert group.counts == GroupCounts(succeeded=7)
    assert group.HasField("end_time")
    task = await callback_of(mesh, groups, "fan/out")
    assert (task.method, task.state, task.group) == (CALL, task_pb2.TASK_STATE_SUCCEEDED, "")
    full = (await mesh.api().GetTask(api.GetTaskRequest(task_id=task.id), timeout=5)).task
    told = [(entry.key, entry.value) for entry in full.options.context.metadata]
    assert told == [("group-name", b"fan/out")]
    where = api.TaskFilter(group="fan/out", states=[task_pb2.TASK_STATE_SUCCEEDED])
    page = await mesh.api().ListTasks(api.ListTasksRequest(filter=where), timeout=5)
    assert len(page.tasks) == 7
    assert {listed.group for listed in page.tasks} == {"fan/out"}


async def test_a_closed_group_refuses_each_way_in(mesh: MeshHarness, groups: Any) -> None:
    await submit(mesh, "closed")
    await groups.CloseGroup(CloseGroupRequest(name="closed"))
    options = task_pb2.TaskOptions(group="closed")
    request = api.SubmitTaskRequest(method=ECHO, payload=PAYLOAD, options=options)
    failed = grpc.StatusCode.FAILED_PRECONDITION
    check(await refused(mesh.api().SubmitTask(request, timeout=10)), failed, "GROUP_CLOSED")
    for pairs in ([], [("weft-detach", "true")]):
        call = mesh.probe().Echo(
            ProbeRequest(text="x"), metadata=(("weft-group", "closed"), *pairs), timeout=10
        )
        check(await refused(call), failed, "GROUP_CLOSED")
    stream = mesh.api().SubmitTasks(timeout=10)
    plain = api.SubmitTaskRequest(method=ECHO, payload=PAYLOAD)
    await stream.write(api.SubmitTasksRequest(tasks=[plain, request, plain]))
    await stream.done_writing()
    acks = (await stream.read()).acks
    assert [bool(ack.task_id) for ack in acks] == [True, False, True]
    assert acks[1].error.code == failed.value[0]


async def test_a_group_is_cancelled_as_a_whole(mesh: MeshHarness, groups: Any) -> None:
    await groups.CreateGroup(CreateGroupRequest(name="doomed", callback=THEN))
    await submit(mesh, "doomed", 20, delay=Duration(seconds=1000))
    others = await submit(mesh, "spared", 1, delay=Duration(seconds=1000))
    answer = await groups.CancelGroup(CancelGroupRequest(name="doomed", reason="no longer"), timeout=10)
    assert answer.cancelled == 20
    group = await wait(groups, "doomed")
    assert group.counts == GroupCounts(cancelled=20)
    await callback_of(mesh, groups, "doomed")
    assert (await groups.CancelGroup(CancelGroupRequest(name="doomed"))).cancelled == 0
    spared = (await mesh.api().GetTask(api.GetTaskRequest(task_id=others[0].id), timeout=5)).task
    assert spared.state == task_pb2.TASK_STATE_SCHEDULED
    check(
        await refused(groups.DeleteGroup(DeleteGroupRequest(name="spared"))),
        grpc.StatusCode.FAILED_PRECONDITION,
        "GROUP_UNFINISHED",
    )
    await groups.CancelGroup(CancelGroupRequest(name="spared"))
    await groups.DeleteGroup(DeleteGroupRequest(name="spared"))
    check(await refused(groups.GetGroup(GetGroupRequest(name="spared"))), NOT_FOUND, "GROUP_NOT_FOUND")


async def test_a_group_gets_one_callback(mesh: MeshHarness, groups: Any) -> None:
    await submit(mesh, "late")
    assert (await groups.CreateGroup(CreateGroupRequest(name="late"))).existed
    again = await groups.CreateGroup(CreateGroupRequest(name="late", callback=THEN))
    assert (again.existed, again.group.callback) == (True, THEN)
    assert (await groups.CreateGroup(CreateGroupRequest(name="late", callback=THEN))).existed
    other = GroupCallback(method=ECHO, payload=PAYLOAD)
    exists = grpc.StatusCode.ALREADY_EXISTS
    error = await refused(groups.CreateGroup(CreateGroupRequest(name="late", callback=other)))
    check(error, exists, "GROUP_EXISTS")
    await submit(mesh, "over")
    await groups.CloseGroup(CloseGroupRequest(name="over"))
    await wait(groups, "over")
    error = await refused(groups.CreateGroup(CreateGroupRequest(name="over", callback=THEN)))
    check(error, exists, "GROUP_EXISTS")
    listed = await groups.ListGroups(ListGroupsRequest(page_size=1000))
    (late,) = [group for group in listed.groups if group.name == "late"]
    assert late.callback == GroupCallback(method=CALL)


async def test_a_wait_ends_with_its_time(mesh: MeshHarness, groups: Any) -> None:
    await submit(mesh, "open")
    request = WaitGroupRequest(name="open", timeout=Duration(nanos=10_000_000))
    group = (await groups.WaitGroup(request, timeout=10)).group
    assert not group.HasField("end_time")


async def test_a_wait_ends_with_its_group(mesh: MeshHarness, groups: Any) -> None:
    await groups.CreateGroup(CreateGroupRequest(name="brief"))
    waiting = asyncio.create_task(refused(groups.WaitGroup(WaitGroupRequest(name="brief"), timeout=20)))
    # The two calls have one connection.
    await asyncio.sleep(0.05)
    await groups.DeleteGroup(DeleteGroupRequest(name="brief"))
    check(await waiting, NOT_FOUND, "GROUP_NOT_FOUND")


BAD: list[tuple[str, Any, grpc.StatusCode, str, str]] = [
    ("CreateGroup", CreateGroupRequest(), INVALID, "INVALID_FIELD", "name"),
    ("CreateGroup", CreateGroupRequest(name="x" * 129), INVALID, "INVALID_FIELD", "name"),
    ("CreateGroup", CreateGroupRequest(name="a b"), INVALID, "INVALID_FIELD", "name"),
    (
        "CreateGroup",
        CreateGroupRequest(name="g", callback=GroupCallback(method="no.Such/Method")),
        NOT_FOUND,
        "METHOD_UNKNOWN",
        "",
    ),
    (
        "CreateGroup",
        CreateGroupRequest(name="g", callback=GroupCallback(method=CALL, payload=b"\xff")),
        INVALID,
        "PAYLOAD_MALFORMED",
        "callback.payload",
    ),
    (
        "CreateGroup",
        CreateGroupRequest(name="g", callback=GroupCallback(method=CALL, payload=bytes(40_000))),
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        "PAYLOAD_TOO_LARGE",
        "callback.payload",
    ),
    (
        "CreateGroup",
        CreateGroupRequest(
            name="g", callback=GroupCallback(method=CALL, options=task_pb2.TaskOptions(group="g"))
        ),
        INVALID,
        "INVALID_FIELD",
        "callback.options.group",
    ),
    (
        "CreateGroup",
        CreateGroupRequest(
            name="g", callback=GroupCallback(method=CALL, options=task_pb2.TaskOptions(priority=77))
        ),
        INVALID,
        "INVALID_FIELD",
        "callback.options.priority",
    ),
    ("GetGroup", GetGroupRequest(name="none"), NOT_FOUND, "GROUP_NOT_FOUND", ""),
    ("CloseGroup", CloseGroupRequest(name="none"), NOT_FOUND, "GROUP_NOT_FOUND", ""),
    ("CloseGroup", CloseGroupRequest(name="ü"), INVALID, "INVALID_FIELD", "name"),
    ("CancelGroup", CancelGroupRequest(name="none"), NOT_FOUND, "GROUP_NOT_FOUND", ""),
    ("CancelGroup", CancelGroupRequest(name="none", reason="x" * 2000), INVALID, "INVALID_FIELD", "reason"),
    (
        "CancelGroup",
        CancelGroupRequest(name="none", grace=Duration(seconds=-1)),
        INVALID,
        "INVALID_FIELD",
        "grace",
    ),
    ("DeleteGroup", DeleteGroupRequest(name="none"), NOT_FOUND, "GROUP_NOT_FOUND", ""),
    ("WaitGroup", WaitGroupRequest(name="none"), NOT_FOUND, "GROUP_NOT_FOUND", ""),
    (
        "WaitGroup",
        WaitGroupRequest(name="none", timeout=Duration(seconds=-1)),
        INVALID,
        "INVALID_FIELD",
        "timeout",
    ),
    ("ListGroups", ListGroupsRequest(page_size=1001), INVALID, "INVALID_FIELD", "page_size"),
    ("ListGroups", ListGroupsRequest(page_token="a b"), INVALID, "INVALID_FIELD", "page_token"),
]


async def test_bad_requests_are_refused_with_the_place(mesh: MeshHarness, groups: Any) -> None:
    for rpc, request, code, reason, field in BAD:
        check(await refused(getattr(groups, rpc)(request, timeout=10)), code, reason, field or None)
    for name in ("a b", "x" * 10_000):
        request = api.SubmitTaskRequest(
            method=ECHO, payload=PAYLOAD, options=task_pb2.TaskOptions(group=name)
        )
        error = await refused(mesh.api().SubmitTask(request, timeout=10))
        check(error, INVALID, "INVALID_FIELD", "options.group")
    call = mesh.probe().Echo(ProbeRequest(), metadata=(("weft-group", "a b"),), timeout=10)
    check(await refused(call), INVALID, "INVALID_FIELD", "weft-group")


async def test_groups_hold_over_two_coordinators(tmp_path: Path) -> None:
    """A group's end is told at one when its last task ends at the other, and the callback is one task."""
    async with MeshHarness(tmp_path) as one, two_coordinators(one, tmp_path) as (_, other):
        here, there = (group_pb2_grpc.GroupServiceStub(mesh.channel()) for mesh in (one, other))
        async with LightAgent(other.own_channel(), "a1", slots=8, methods=(ECHO, CALL)):
            await one.wait_serving()
            for number in range(5):
                name = f"g{number}"
                await here.CreateGroup(CreateGroupRequest(name=name, callback=THEN))
                await asyncio.gather(submit(one, name, 3), submit(other, name, 3))
                waiting = asyncio.create_task(wait(here, name))
                await there.CloseGroup(CloseGroupRequest(name=name))
                assert (await waiting).counts == GroupCounts(succeeded=6)
                await callback_of(one, there, name)
            page = await one.api().ListTasks(
                api.ListTasksRequest(filter=api.TaskFilter(method=CALL)), timeout=5
            )
            assert len(page.tasks) == 5


@pytest.mark.slow
@pytest.mark.parametrize("redis", [False, True], ids=["embedded", "redis"])
async def test_a_coordinator_killed_between_the_last_end_and_the_callback(
    tmp_path: Path, redis: bool
) -> None:
    """It is killed as soon as it has acknowledged the last result; the callback runs once, at whoever is there then."""

    async with RedisServer(tmp_path / "redis") as server, MeshHarness(tmp_path) as mesh:
        if redis:
            mesh.store = server.url
        process = await mesh.coordinator()
        stub = group_pb2_grpc.GroupServiceStub(mesh.channel())
        agent = LightAgent(mesh.own_channel(), "a1", methods=(ECHO, CALL), answer=never)
        async with agent:
            await mesh.wait_serving()
            await stub.CreateGroup(CreateGroupRequest(name="g", callback=THEN))
            await submit(mesh, "g")
            await stub.CloseGroup(CloseGroupRequest(name="g"))
            await agent.assigned_to(1)
            await agent.send(Request(results=[echo(agent.assigned[0])]))
            while not any(message.result_acks for message in agent.received):
                await asyncio.sleep(0)
            await process.kill()
        await mesh.restart_coordinator()
        stub = group_pb2_grpc.GroupServiceStub(mesh.channel())
        async with LightAgent(mesh.own_channel(), "a2", methods=(ECHO, CALL)):
            assert (await wait(stub, "g")).counts == GroupCounts(succeeded=1)
            task = await callback_of(mesh, stub, "g")
            assert task.state == task_pb2.TASK_STATE_SUCCEEDED
            found = await mesh.api().ListTasks(
                api.ListTasksRequest(filter=api.TaskFilter(method=CALL)), timeout=5
            )
            assert len(found.tasks) == 1
