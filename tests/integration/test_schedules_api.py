"""The schedules' RPCs on a real coordinator: what they do, and what they refuse."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import grpc
import grpc.aio
import pytest
import pytest_asyncio
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from probe.v1.probe_pb2 import ProbeRequest
from tests.support.lightweight import CALL, ECHO, STREAM, LightAgent, never
from tests.support.mesh import MeshHarness
from tests.support.refusals import check, refused
from weft.rpc.errors import error_info
from weft.rpc.times import timestamp
from weft.v1 import coordinator_pb2 as api
from weft.v1 import options_pb2, schedule_pb2_grpc, task_pb2
from weft.v1.schedule_pb2 import (
    TICK_OUTCOME_SUBMITTED,
    CreateScheduleRequest,
    DeleteScheduleRequest,
    GetScheduleRequest,
    ListSchedulesRequest,
    PauseScheduleRequest,
    ResumeScheduleRequest,
    RunScheduleRequest,
    Schedule,
    ScheduleSpec,
    UpdateScheduleRequest,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")

CHAT = "probe.v1.ProbeService/Chat"
INVALID = grpc.StatusCode.INVALID_ARGUMENT
NOT_FOUND = grpc.StatusCode.NOT_FOUND
EXHAUSTED = grpc.StatusCode.RESOURCE_EXHAUSTED
EXISTS = grpc.StatusCode.ALREADY_EXISTS
NEW_YEAR = Timestamp(seconds=1_767_225_600)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def mesh(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[MeshHarness]:
    async with MeshHarness(tmp_path_factory.mktemp("mesh")) as harness:
        await harness.coordinator(missed_heartbeats=10)
        channel = harness.own_channel()
        async with LightAgent(channel, "a1", slots=8, methods=(ECHO, CALL, STREAM, CHAT)):
            await harness.wait_serving()
            yield harness


@pytest_asyncio.fixture(loop_scope="module")
async def schedules(mesh: MeshHarness) -> AsyncIterator[schedule_pb2_grpc.ScheduleServiceStub]:
    """The stub; every schedule is deleted in the end."""
    stub = schedule_pb2_grpc.ScheduleServiceStub(mesh.channel())
    yield stub
    for schedule in (await stub.ListSchedules(ListSchedulesRequest(page_size=1000))).schedules:
        await stub.DeleteSchedule(DeleteScheduleRequest(name=schedule.name))


def spec(**fields: Any) -> ScheduleSpec:
    given: dict[str, Any] = {"method": ECHO, "payload": ProbeRequest(text="tick").SerializeToString()}
    if not {"cron", "interval", "at"} & fields.keys():
        given["cron"] = "0 0 1 1 *"
    return ScheduleSpec(**(given | fields))


async def create(stub: schedule_pb2_grpc.ScheduleServiceStub, name: str = "s", **fields: Any) -> Schedule:
    answer = await stub.CreateSchedule(CreateScheduleRequest(name=name, spec=spec(**fields)), timeout=10)
    schedule: Schedule = answer.schedule
    return schedule


async def get(stub: schedule_pb2_grpc.ScheduleServiceStub, name: str = "s") -> Schedule:
    answer = await stub.GetSchedule(GetScheduleRequest(name=name), timeout=10)
    schedule: Schedule = answer.schedule
    return schedule


async def test_ticks_come(mesh: MeshHarness, schedules: Any) -> None:
    began_at = time.time()
    # What it was told of another schedule gives way.
    told = task_pb2.CallContext(metadata=[task_pb2.Metadatum(key="schedule-name", value=b"other")])
    options = task_pb2.TaskOptions(context=told)
    await create(schedules, interval=Duration(seconds=1), options=options)

    async def three() -> bool:
        return (await get(schedules)).submitted_count >= 3

    await mesh.eventually(three, "three ticks have come")
    assert time.time() - began_at >= 3.0
    schedule = await get(schedules)
    newest, _, oldest = schedule.last_ticks[:3]
    assert newest.time.seconds - oldest.time.seconds == 2
    assert {tick.outcome for tick in schedule.last_ticks} == {TICK_OUTCOME_SUBMITTED}
    task = (await mesh.api().GetTask(api.GetTaskRequest(task_id=oldest.task_id), timeout=5)).task
    metadata = [(entry.key, entry.value) for entry in task.options.context.metadata]
    assert metadata == [
        ("schedule-name", b"s"),
        ("schedule-time", oldest.time.ToJsonString().encode()),
    ]


async def test_a_schedule_is_created_once(schedules: Any) -> None:
    first = await create(schedules)
    request = CreateScheduleRequest(name="s", spec=spec())
    again = await schedules.CreateSchedule(request)
    assert (again.existed, again.schedule.uid) == (True, first.uid)
    status = await refused(schedules.CreateSchedule(CreateScheduleRequest(name="s", spec=spec(method=CALL))))
    check(status, EXISTS, "SCHEDULE_EXISTS")
    await schedules.DeleteSchedule(DeleteScheduleRequest(name="s"))
    check(await refused(schedules.GetSchedule(GetScheduleRequest(name="s"))), NOT_FOUND, "SCHEDULE_NOT_FOUND")
    assert (await create(schedules)).uid != first.uid


async def test_a_one_off_that_has_passed_is_the_same_schedule_when_its_creation_is_repeated(
    mesh: MeshHarness, schedules: Any
) -> None:
    at = timestamp(time.time() + 0.5)
    await create(schedules, at=at)

    async def ended() -> bool:
        return (await get(schedules)).HasField("ended_time")

    await mesh.eventually(ended, "the one-off has ended")
    again = await schedules.CreateSchedule(CreateScheduleRequest(name="s", spec=spec(at=at)))
    assert again.existed


async def test_update_pause_resume(schedules: Any) -> None:
    created = await create(schedules, cron="0 0 1 1 *", overlap=3)
    paused = (await schedules.PauseSchedule(PauseScheduleRequest(name="s", reason="it floods"))).schedule
    assert (paused.paused, paused.pause_reason, paused.HasField("next_time")) == (True, "it floods", False)
    update = UpdateScheduleRequest(name="s", spec=spec(cron="0 0 2 2 *", time_zone="Asia/Tokyo"))
    updated = (await schedules.UpdateSchedule(update)).schedule
    assert (updated.paused, updated.uid, updated.spec.cron) == (True, created.uid, "0 0 2 2 *")
    assert not updated.HasField("next_time")
    resumed = (await schedules.ResumeSchedule(ResumeScheduleRequest(name="s"))).schedule
    assert (resumed.paused, resumed.pause_reason) == (False, "")
    assert resumed.next_time.ToDatetime().isoformat().endswith("-02-01T15:00:00")
    assert resumed == (await schedules.ResumeSchedule(ResumeScheduleRequest(name="s"))).schedule
    created_paused = CreateScheduleRequest(name="p", spec=spec(), pause_reason="not yet")
    made = (await schedules.CreateSchedule(created_paused)).schedule
    assert (made.paused, made.pause_reason, made.HasField("next_time")) == (True, "not yet", False)


async def test_run_now(mesh: MeshHarness, schedules: Any) -> None:
    options = task_pb2.TaskOptions(priority=7, retry=options_pb2.RetryPolicy(max_attempts=4))
    before = await create(schedules, options=options)
    first = await schedules.RunSchedule(RunScheduleRequest(name="s", request_id="r1"))
    again = await schedules.RunSchedule(RunScheduleRequest(name="s", request_id="r1"))
    assert (first.existed, again.existed, again.task.id) == (False, True, first.task.id)
    other = await schedules.RunSchedule(RunScheduleRequest(name="s"))
    assert other.task.id != first.task.id
    assert (first.task.options.priority, first.task.options.retry.max_attempts) == (7, 4)
    schedule = await get(schedules)
    assert [(tick.task_id, tick.manual) for tick in schedule.last_ticks] == [
        (other.task.id, True),
        (first.task.id, True),
    ]
    assert (schedule.next_time, schedule.submitted_count) == (before.next_time, 0)


async def test_listing(schedules: Any) -> None:
    names = sorted(f"list/{n}" for n in range(7))
    await asyncio.gather(*(create(schedules, name) for name in names))
    found: list[str] = []
    token = ""
    while True:
        page = await schedules.ListSchedules(ListSchedulesRequest(page_size=3, page_token=token))
        found += [schedule.name for schedule in page.schedules]
        assert not any(schedule.spec.payload for schedule in page.schedules)
        token = page.next_page_token
        if not token:
            break
    assert found == names


BAD_SPECS: dict[str, tuple[dict[str, Any], str]] = {
    "no timing": ({"cron": None}, "spec"),
    "30 February": ({"cron": "0 0 30 2 *"}, "spec.cron"),
    "four fields": ({"cron": "* * * *"}, "spec.cron"),
    "empty cron": ({"cron": ""}, "spec.cron"),
    "long cron": ({"cron": "1," * 5000 + "1 * * * *"}, "spec.cron"),
    "unknown zone": ({"time_zone": "Mars/Olympus"}, "spec.time_zone"),
    "path as zone": ({"time_zone": "../../etc/passwd"}, "spec.time_zone"),
    "zone of 10 kB": ({"time_zone": "E" * 10_000}, "spec.time_zone"),
    "zone of an interval": ({"interval": Duration(seconds=5), "time_zone": "UTC"}, "spec.time_zone"),
    "interval of 0": ({"interval": Duration()}, "spec.interval"),
    "negative interval": ({"interval": Duration(seconds=-5)}, "spec.interval"),
    "half a second": ({"interval": Duration(nanos=500_000_000)}, "spec.interval"),
    "the largest interval": ({"interval": Duration(seconds=2**63 - 1)}, "spec.interval"),
    "in the past": ({"at": NEW_YEAR}, "spec.at"),
    "before the epoch": ({"at": Timestamp(seconds=-5)}, "spec.at"),
    "the year 300,000": ({"at": Timestamp(seconds=10**13)}, "spec.at"),
    "end in the past": ({"end_time": NEW_YEAR}, "spec.end_time"),
    "end before start": (
        {"start_time": timestamp(time.time() + 9e6), "end_time": timestamp(time.time() + 8e6)},
        "spec.end_time",
    ),
    "no tick before the end": (
        {"interval": Duration(seconds=86400), "end_time": timestamp(time.time() + 3600)},
        "spec.interval",
    ),
    "nanos": ({"start_time": Timestamp(nanos=-1)}, "spec.start_time"),
    "jitter of a year": ({"jitter": Duration(seconds=366 * 86400)}, "spec.jitter"),
    "window of a year": ({"catch_up_window": Duration(seconds=366 * 86400)}, "spec.catch_up_window"),
    "negative window": ({"catch_up_window": Duration(seconds=-1)}, "spec.catch_up_window"),
    "unknown policy": ({"overlap": 77}, "spec.overlap"),
    "no message": ({"payload": b"\xff\xff"}, "spec.payload"),
    "priority": ({"options": task_pb2.TaskOptions(priority=12)}, "spec.options.priority"),
}


@pytest.mark.parametrize("case", BAD_SPECS)
async def test_a_wrong_spec_is_refused_with_its_field(schedules: Any, case: str) -> None:
    fields, field = BAD_SPECS[case]
    wrong = spec(**fields)
    status = await refused(schedules.CreateSchedule(CreateScheduleRequest(name="bad", spec=wrong)))
    reason = "PAYLOAD_MALFORMED" if case == "no message" else "INVALID_FIELD"
    check(status, INVALID, reason, field)
    # An update is checked like a creation, and changes nothing then.
    before = await create(schedules, "good")
    status = await refused(schedules.UpdateSchedule(UpdateScheduleRequest(name="good", spec=wrong)))
    check(status, INVALID, reason, field)
    assert await get(schedules, "good") == before


async def test_methods_and_sizes(schedules: Any) -> None:
    async def answer(**fields: Any) -> Any:
        return await refused(schedules.CreateSchedule(CreateScheduleRequest(name="bad", spec=spec(**fields))))

    check(await answer(method="no.v1.Such/Method"), NOT_FOUND, "METHOD_UNKNOWN")
    check(await answer(method=CHAT), grpc.StatusCode.UNIMPLEMENTED, "METHOD_NOT_DURABLE")
    large = ProbeRequest(text="x" * 40_000).SerializeToString()
    check(await answer(payload=large), EXHAUSTED, "PAYLOAD_TOO_LARGE", "spec.payload")
    metadata = [task_pb2.Metadatum(key="k", value=bytes(20_000))]
    options = task_pb2.TaskOptions(context=task_pb2.CallContext(metadata=metadata))
    check(await answer(options=options), EXHAUSTED, "PAYLOAD_TOO_LARGE", "spec.options")


@pytest.mark.parametrize("name", ["", "a" * 10_240, "a b", "ü", "a\nb", "*"], ids=repr)
async def test_a_name_that_none_can_have_is_refused_everywhere(schedules: Any, name: str) -> None:
    for call, request in (
        (schedules.CreateSchedule, CreateScheduleRequest(name=name, spec=spec())),
        (schedules.GetSchedule, GetScheduleRequest(name=name)),
        (schedules.UpdateSchedule, UpdateScheduleRequest(name=name, spec=spec())),
        (schedules.DeleteSchedule, DeleteScheduleRequest(name=name)),
        (schedules.PauseSchedule, PauseScheduleRequest(name=name)),
        (schedules.ResumeSchedule, ResumeScheduleRequest(name=name)),
        (schedules.RunSchedule, RunScheduleRequest(name=name)),
    ):
        check(await refused(call(request)), INVALID, "INVALID_FIELD", "name")


async def test_what_is_not_there_is_told(schedules: Any) -> None:
    for call, request in (
        (schedules.GetSchedule, GetScheduleRequest(name="none")),
        (schedules.UpdateSchedule, UpdateScheduleRequest(name="none", spec=spec())),
        (schedules.DeleteSchedule, DeleteScheduleRequest(name="none")),
        (schedules.PauseSchedule, PauseScheduleRequest(name="none")),
        (schedules.ResumeSchedule, ResumeScheduleRequest(name="none")),
        (schedules.RunSchedule, RunScheduleRequest(name="none")),
    ):
        check(await refused(call(request)), NOT_FOUND, "SCHEDULE_NOT_FOUND")


async def test_other_fields(schedules: Any) -> None:
    await create(schedules)
    long = PauseScheduleRequest(name="s", reason="x" * 1025)
    check(await refused(schedules.PauseSchedule(long)), INVALID, "INVALID_FIELD", "reason")
    created = CreateScheduleRequest(name="p", spec=spec(), pause_reason="x" * 1025)
    check(await refused(schedules.CreateSchedule(created)), INVALID, "INVALID_FIELD", "pause_reason")
    for request_id in ("a b", "x" * 65, "ü"):
        run = RunScheduleRequest(name="s", request_id=request_id)
        check(await refused(schedules.RunSchedule(run)), INVALID, "INVALID_FIELD", "request_id")
    page = ListSchedulesRequest(page_size=1001)
    check(await refused(schedules.ListSchedules(page)), INVALID, "INVALID_FIELD", "page_size")
    page = ListSchedulesRequest(page_token="a b")
    check(await refused(schedules.ListSchedules(page)), INVALID, "INVALID_FIELD", "page_token")


async def test_changes_at_once_are_all_made(schedules: Any) -> None:
    await create(schedules)
    runs = await asyncio.gather(*(schedules.RunSchedule(RunScheduleRequest(name="s")) for _ in range(5)))
    assert len({run.task.id for run in runs}) == 5
    assert {tick.task_id for tick in (await get(schedules)).last_ticks} == {run.task.id for run in runs}


async def test_the_running_task_is_cancelled_for_the_next(mesh: MeshHarness, schedules: Any) -> None:
    channel = mesh.own_channel()
    async with LightAgent(channel, "never", methods=(STREAM,), labels={"never": "1"}, answer=never):
        options = task_pb2.TaskOptions(requirements=options_pb2.Requirements(labels={"never": "1"}))
        await create(schedules, method=STREAM, interval=Duration(seconds=1), overlap=3, options=options)

        async def second() -> bool:
            return (await get(schedules)).submitted_count >= 2

        # A second after the first, and the grace.
        await mesh.eventually(second, "the second tick has come")
        first = (await get(schedules)).last_ticks[-1].task_id
        task = (await mesh.api().GetTask(api.GetTaskRequest(task_id=first), timeout=5)).task
        assert task.state == task_pb2.TASK_STATE_CANCELLED
        info = error_info(task.outcome.status)
        assert info is not None
        assert info.metadata["reason"] == "the next tick of schedule s has come"
