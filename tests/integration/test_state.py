"""`weft export`, `weft import` and `weft backup` on real coordinators: a mesh moves from store to store, and a copy of a store is a store."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration
from google.rpc import status_pb2

from probe.v1.probe_pb2 import ProbeRequest
from tests.support.command import weft
from tests.support.lightweight import CALL, ECHO, LightAgent, never, result_of
from tests.support.mesh import MeshHarness
from tests.support.namespaced import Sites, sites_on
from tests.support.redis_server import RedisServer
from weft.cli.state.state_file import StateFile, records_of
from weft.cli.terminal.failure import Failure
from weft.coordinator.server import Coordinator
from weft.coordinator.settings import CoordinatorSettings
from weft.rpc.network.channel import client_options, dial
from weft.v1 import coordinator_pb2 as api
from weft.v1 import coordinator_pb2_grpc, options_pb2, schedule_pb2, session_pb2, state_pb2, task_pb2
from weft.v1.method_pb2 import GetMethodRequest, ListMethodsRequest, UpdateMethodRequest
from weft.v1.method_pb2_grpc import MethodServiceStub
from weft.v1.schedule_pb2_grpc import ScheduleServiceStub

PAYLOAD = ProbeRequest(text="moved").SerializeToString()


def stub_of(sites: Sites) -> coordinator_pb2_grpc.CoordinatorServiceStub:
    return coordinator_pb2_grpc.CoordinatorServiceStub(sites.channel())


def failing(assignment: session_pb2.Assignment) -> session_pb2.AttemptResult:
    """With details of a type that nobody knows."""
    status = status_pb2.Status(code=9, message="it is broken")
    status.details.add(type_url="type.googleapis.com/acme.Unknown", value=b"\x08\x01")
    return result_of(assignment, status=status)


async def submit(sites: Sites, method: str = ECHO, request_id: str = "", **options: Any) -> str:
    request = api.SubmitTaskRequest(
        method=method, payload=PAYLOAD, request_id=request_id, options=task_pb2.TaskOptions(**options)
    )
    return str((await stub_of(sites).SubmitTask(request, timeout=10)).task.id)


async def hosted(sites: Sites) -> None:
    methods = MethodServiceStub(sites.channel())
    async with asyncio.timeout(10):
        while not (await methods.ListMethods(ListMethodsRequest())).methods:
            await asyncio.sleep(0.01)


async def fill(sites: Sites, file: Path) -> None:
    """A mesh with a failed, a running, two queued and a scheduled task, a pause, an override and a schedule; exported."""
    stub = stub_of(sites)
    async with LightAgent(sites.channel(), "a1", methods=(ECHO, CALL), answer=failing):
        await hosted(sites)
        failed = await submit(sites, request_id="broken")
        async for _ in stub.WaitTasks(api.WaitTasksRequest(task_ids=[failed]), timeout=10):
            pass
    async with LightAgent(sites.channel(), "a2", methods=(CALL,), answer=never) as busy:
        await submit(sites, CALL)
        await busy.assigned_to(1)
        await submit(sites, priority=2)
        await submit(sites, request_id="order-7", priority=9, fairness_key="ada")
        limits = options_pb2.TimeLimits(schedule_to_close=Duration(seconds=9000))
        await submit(sites, delay=Duration(seconds=3600), limits=limits)
        await stub.UpdateQueue(api.UpdateQueueRequest(method=CALL, paused=True), timeout=10)
        override = UpdateMethodRequest(name=ECHO, policy=options_pb2.TaskPolicy(slot_cost=2))
        await MethodServiceStub(sites.channel()).UpdateMethod(override, timeout=10)
        spec = schedule_pb2.ScheduleSpec(method=ECHO, payload=PAYLOAD, cron="0 0 1 1 *")
        yearly = schedule_pb2.CreateScheduleRequest(name="yearly", spec=spec)
        await ScheduleServiceStub(sites.channel()).CreateSchedule(yearly, timeout=10)
        exported = await weft("export", str(file), target=sites.coordinators[0].address)
        assert exported.status == 0, exported.err
        assert "1 running tasks were left out" in exported.err


@pytest.mark.parametrize(("before", "after"), [("embedded", "redis"), ("redis", "embedded")])
async def test_a_mesh_moves_to_another_store(tmp_path: Path, before: str, after: str) -> None:
    file = tmp_path / "mesh.jsonl"
    for folder in ("from", "to"):
        (tmp_path / folder).mkdir()
    async with sites_on(before, tmp_path / "from") as source:
        await fill(source, file)
    async with sites_on(after, tmp_path / "to") as sites:
        target = sites.coordinators[0].address
        counts = await imported(target, file)
        assert counts["task"] == {"imported": 4, "existed": 0, "refused": 0}
        assert counts["contract"]["imported"] == 1
        assert counts["method"]["imported"] == 2
        assert counts["schedule"]["imported"] == 1
        # Again: everything is there.
        again = await imported(target, file)
        assert all(each["imported"] == each["refused"] == 0 for each in again.values())

        await check_tasks(sites)
        stub = stub_of(sites)
        paused = {
            queue.method for queue in (await stub.ListQueues(api.ListQueuesRequest())).queues if queue.paused
        }
        assert paused == {CALL}
        method = await MethodServiceStub(sites.channel()).GetMethod(GetMethodRequest(name=ECHO))
        assert method.method.override.slot_cost == 2
        schedules = ScheduleServiceStub(sites.channel())
        found = await schedules.GetSchedule(schedule_pb2.GetScheduleRequest(name="yearly"))
        assert found.schedule.spec.payload == PAYLOAD
        assert found.schedule.HasField("next_time")
        # The best first, as before.
        async with LightAgent(sites.channel(), "b1", slots=2, methods=(ECHO,)) as agent:
            await agent.assigned_to(2)
            assert [each.priority for each in agent.assigned] == [9, 2]


async def check_tasks(sites: Sites) -> None:
    stub = stub_of(sites)
    request = api.ListTasksRequest(view=task_pb2.TASK_VIEW_FULL)
    tasks = list((await stub.ListTasks(request, timeout=10)).tasks)
    assert all(task.payload == PAYLOAD for task in tasks)
    by_state = {
        state: [task for task in tasks if task.state == state] for state in {task.state for task in tasks}
    }
    (failed,) = by_state[task_pb2.TASK_STATE_FAILED]
    assert failed.request_id == "broken"
    assert failed.outcome.status.message == "it is broken"
    assert failed.outcome.status.details[0].value == b"\x08\x01"
    (later,) = by_state[task_pb2.TASK_STATE_SCHEDULED]
    assert 3000 < later.ready_time.seconds - later.create_time.seconds <= 3600
    assert 8000 < later.deadline.seconds - later.create_time.seconds <= 9000
    assert later.request_id.startswith("import:")
    first, second = sorted(by_state[task_pb2.TASK_STATE_QUEUED], key=lambda task: task.id)
    assert (first.options.priority, second.options.priority) == (2, 9)
    assert (second.request_id, second.options.fairness_key) == ("order-7", "ada")
    # The caller's repeat is the same task.
    assert await submit(sites, request_id="order-7", priority=9, fairness_key="ada") == second.id
    retried = await stub.RetryTask(api.RetryTaskRequest(task_id=failed.id), timeout=10)
    assert retried.task.state == task_pb2.TASK_STATE_QUEUED
    await stub.CancelTask(api.CancelTaskRequest(task_id=failed.id), timeout=10)


async def imported(target: str, file: Path) -> Mapping[str, Any]:
    finished = await weft("import", str(file), "--json", target=target)
    assert finished.status == 0, finished.err
    return dict(finished.document["counts"])


HEADER = '{"header": {"format": 1}}\n'
END = '{"end": {}}\n'


NO_EXPORTS = {
    "": "has no end",
    END: "does not begin with a header",
    HEADER: "has no end",
    HEADER + HEADER + END: "a second header in line 2",
    HEADER + '{"task": {"task": {"id": "1"': "line 2 is no record",
    HEADER + "{}\n" + END: "line 2 is no record",
    HEADER + "[" * 2000: "line 2 is no record",
    "\x00\xff" * 20: "line 1 is no record",
}


@pytest.mark.parametrize(("text", "told"), NO_EXPORTS.items())
def test_what_is_no_export_is_refused(tmp_path: Path, text: str, told: str) -> None:
    file = tmp_path / "mesh.jsonl"
    file.write_text(text)
    with pytest.raises(Failure, match=told):
        list(records_of(str(file)))


async def test_bad_records_are_told_and_the_others_are_imported(mesh: MeshHarness, tmp_path: Path) -> None:
    await mesh.coordinator()
    newer = tmp_path / "newer.jsonl"
    newer.write_text('{"header": {"format": 2}}\n' + END)
    told = await weft("import", str(newer), target=mesh.target)
    assert "knows format 1" in told.err
    task = {"id": "1985e78c4b252104", "method": ECHO, "state": "TASK_STATE_QUEUED"}
    records: list[Any] = [
        {"header": {"format": 1}},
        {"contract": {"fileDescriptorSet": "AAAA", "methods": ["a.B/C"]}},
        {"method": {"name": "a.B/C", "paused": True}},
        {"agent": {"id": "", "desiredState": "DESIRED_STATE_PAUSED"}},
        {"agent": {"id": "nobody", "desiredState": "DESIRED_STATE_PAUSED"}},
        {"schedule": {"name": "../x"}},
        {"schedule": {"name": "s", "uid": "0" * 16, "spec": {"method": "a.B/C", "cron": "x"}}},
        {"task": {}},
        {"task": {"task": task | {"state": "TASK_STATE_SUCCEEDED"}}},
        {"task": {"task": task}},
        {"end": {}},
    ]
    file = tmp_path / "records.jsonl"
    file.write_text("".join(f"{json.dumps(each)}\n" for each in records))
    finished = await weft("import", str(file), "--json", target=mesh.target)
    assert finished.status == 1
    problems = [(each["kind"], each["name"]) for each in finished.document["problems"]]
    assert sorted(problems) == sorted(
        [
            ("contract", "a.B/C"),
            ("method", "a.B/C"),
            ("agent", ""),
            ("agent", "nobody"),
            ("schedule", "../x"),
            ("schedule", "s"),
            ("task", ""),
            ("task", task["id"]),
            ("task", task["id"]),
        ]
    )
    assert all(each["reason"] for each in finished.document["problems"])


@pytest.mark.slow
async def test_an_export_leaves_nothing_behind_that_is_not_whole(mesh: MeshHarness, tmp_path: Path) -> None:
    await mesh.coordinator()
    file = tmp_path / "mesh.jsonl"
    broken = StateFile(str(file))
    broken.add(state_pb2.StateRecord(header=state_pb2.StateHeader(format=1)))
    broken.drop()
    assert list(tmp_path.glob("mesh.jsonl*")) == []
    assert (await weft("export", str(file), target=mesh.target)).status == 0
    assert file.stat().st_mode & 0o777 == 0o600
    there = await weft("export", str(file), target=mesh.target)
    assert "exists" in there.err
    assert (await weft("import", str(file), "--dry-run")).status == 0


async def test_a_backup_of_a_running_coordinator_has_all_that_was_acknowledged(
    mesh: MeshHarness, tmp_path: Path
) -> None:
    await mesh.coordinator()
    channel = mesh.own_channel()
    async with LightAgent(channel, "a1", methods=(ECHO,)):
        await mesh.wait_serving()
    stub = coordinator_pb2_grpc.CoordinatorServiceStub(channel)
    acknowledged: list[str] = []
    stop = asyncio.Event()

    async def keep_submitting() -> None:
        while not stop.is_set():
            request = api.SubmitTaskRequest(method=ECHO, payload=PAYLOAD)
            acknowledged.append((await stub.SubmitTask(request, timeout=10)).task.id)

    submitting = asyncio.create_task(keep_submitting())
    while len(acknowledged) < 50:
        await asyncio.sleep(0.005)
    before = len(acknowledged)
    copied = await weft("backup", str(tmp_path / "copy"), "--store", str(mesh.store))
    assert copied.status == 0, copied.err
    stop.set()
    await submitting
    assert (tmp_path / "copy" / "weft.db").stat().st_mode & 0o777 == 0o600
    assert len(acknowledged) > before, "the coordinator stood still"

    assert mesh.coordinator_process is not None
    await mesh.coordinator_process.kill()
    mesh.store = tmp_path / "copy" / "weft.db"
    await mesh.coordinator()
    restored = coordinator_pb2_grpc.CoordinatorServiceStub(mesh.own_channel())
    for task_id in acknowledged[:before]:
        found = await restored.GetTask(api.GetTaskRequest(task_id=task_id), timeout=10, wait_for_ready=True)
        assert found.task.state == task_pb2.TASK_STATE_QUEUED


@pytest.mark.parametrize(
    ("store", "told"),
    [
        ("nowhere.db", "there is no store"),
        ("redis://127.0.0.1:6379/0", "by Redis itself"),
        ("text", "cannot"),
    ],
)
async def test_what_cannot_be_backed_up_is_told(tmp_path: Path, store: str, told: str) -> None:
    (tmp_path / "text").write_text("no database" * 100)
    finished = await weft("backup", "copy", "--store", store, cwd=tmp_path)
    assert finished.status == 2
    assert told in finished.err


async def test_a_redis_is_restored_from_its_snapshot(tmp_path: Path) -> None:
    """As the guide says: a copy of dump.rdb, on a server that begins without an append-only file."""
    (tmp_path / "from").mkdir()
    async with sites_on("redis", tmp_path / "from") as source:
        async with LightAgent(source.channel(), "a1", methods=(ECHO,)):
            await hosted(source)
        task_id = await submit(source, request_id="kept")
        assert source.redis is not None
        async with source.redis.client() as client:
            await client.save()
        snapshot = source.redis.folder / "dump.rdb"
        (tmp_path / "to").mkdir()
        shutil.copy(snapshot, tmp_path / "to" / "dump.rdb")
    async with RedisServer(tmp_path / "to", options={"appendonly": "no"}) as redis:
        async with redis.client() as client:
            await client.config_set("appendonly", "yes")
        settings: Any = CoordinatorSettings
        coordinator = Coordinator(settings(listen="127.0.0.1:0", store=redis.url))
        await coordinator.start()
        try:
            channel = dial(coordinator.address, client_options(own_connection=True))
            stub = coordinator_pb2_grpc.CoordinatorServiceStub(channel)
            found = await stub.GetTask(api.GetTaskRequest(task_id=task_id), timeout=10)
            assert found.task.request_id == "kept"
            await channel.close()
        finally:
            await coordinator.stop(0.0)
