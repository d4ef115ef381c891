"""Schedules by the client library, with and without asyncio, and by the command."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest
import pytest_asyncio

from probe.v1 import probe_pb2_grpc
from probe.v1.probe_pb2 import Payload, ProbeRequest
from tests.support.command import weft
from tests.support.mesh import MeshHarness
from weft.client import (
    AlreadyExists,
    Cron,
    Every,
    InvalidArgument,
    NotFound,
    Once,
    OverlapPolicy,
    Schedule,
    TickOutcome,
    connect,
    methods,
)
from weft.client.sync import connect as connect_sync
from weft.rpc.calls import call_context

PROBE = methods(probe_pb2_grpc.ProbeServiceStub)
CALL = "probe.v1.ProbeService/Call"
NEVER = Cron("0 0 1 1 *", "Asia/Tokyo")


@pytest_asyncio.fixture
async def target(shared_mesh: MeshHarness) -> AsyncIterator[str]:
    """The target; every schedule is deleted in the end."""
    yield shared_mesh.target
    async with connect(shared_mesh.target) as mesh:
        async for schedule in mesh.schedules.list():
            await mesh.schedules.delete(schedule.name)


async def test_the_library(target: str) -> None:
    async with connect(target) as mesh:

        async def create() -> Schedule:
            return await mesh.schedules.create(
                "s",
                PROBE.Call,
                ProbeRequest(text="tick"),
                NEVER,
                overlap=OverlapPolicy.QUEUE,
                jitter_s=2.5,
                catch_up_window_s=60,
                priority=7,
                metadata=[("x-tenant", "acme")],
            )

        created = await create()
        assert (created.timing, created.overlap, created.jitter_s) == (NEVER, OverlapPolicy.QUEUE, 2.5)
        assert created.next_at is not None
        assert created.next_at.astimezone(UTC).strftime("%m-%d %H:%M") == "12-31 15:00"
        assert await create() == created, "the same again changes nothing"
        with pytest.raises(AlreadyExists, match="'s' is there already"):
            await mesh.schedules.create("s", PROBE.Call, ProbeRequest(), NEVER)

        handle = await mesh.schedules.run("s", request_id="by-hand")
        reply = await mesh.tasks.handle(PROBE.Call, handle.id).result(timeout_s=20)
        assert reply.text == "tick"
        assert "x-tenant=acme" in reply.metadata
        assert "schedule-name=s" in reply.metadata
        assert (await mesh.schedules.run("s", request_id="by-hand")).existed

        assert (await mesh.schedules.pause("s", "not now")).pause_reason == "not now"
        updated = await mesh.schedules.update("s", PROBE.Echo, Payload(data=b"x"), Every(3600))
        assert (updated.paused, updated.timing, updated.method) == (True, Every(3600), PROBE.Echo.name)
        assert not (await mesh.schedules.resume("s")).paused
        (tick,) = (await mesh.schedules.get("s")).last_ticks
        assert (tick.outcome, tick.task_id, tick.manual) == (TickOutcome.SUBMITTED, handle.id, True)
        await mesh.schedules.delete("s")
        with pytest.raises(NotFound, match="no schedule has the name 's'"):
            await mesh.schedules.get("s")


async def test_once_at_a_time_with_a_zone(target: str) -> None:
    async with connect(target) as mesh:
        with pytest.raises(InvalidArgument, match="has no time zone"):
            await mesh.schedules.create("s", PROBE.Echo, Payload(), Once(datetime(2030, 1, 1)))  # noqa: DTZ001
        with pytest.raises(InvalidArgument, match="at is in the past"):
            await mesh.schedules.create("s", PROBE.Echo, Payload(), Once(datetime(2020, 1, 1, tzinfo=UTC)))
        with pytest.raises(TypeError, match="did you mean 'priority'"):
            await mesh.schedules.create("s", PROBE.Echo, Payload(), NEVER, priorty=3)  # type: ignore[call-overload]
        at = datetime.now(UTC).replace(microsecond=0) + timedelta(days=1)
        created = await mesh.schedules.create("s", PROBE.Echo, Payload(), Once(at), start_at=at)
        assert created.next_at == created.start_at


class _Handled:
    """A call whose deadline is near."""

    def child_context(self) -> call_context.CallContext:
        return call_context.CallContext("root", "parent", deadline_at=time.monotonic() + 60.0)

    def log_fields(self) -> dict[str, str | int]:
        return {}


async def test_a_schedule_that_a_handler_creates_inherits_nothing(target: str) -> None:
    async def handler() -> Schedule:
        call_context.enter(_Handled())
        async with connect(target) as mesh:
            return await mesh.schedules.create("s", PROBE.Echo, Payload(), NEVER, priority=3)

    # In a context of its own.
    options = (await asyncio.create_task(handler())).proto.spec.options
    assert options.priority == 3
    assert not options.limits.HasField("schedule_to_close")
    assert not options.context.root_id


async def test_the_library_without_asyncio(target: str) -> None:
    def work() -> list[str]:
        with connect_sync(target) as mesh:
            for name in ("a", "b"):
                mesh.schedules.create(name, PROBE.Echo, Payload(data=b"x"), Every(86400))
            handle = mesh.schedules.run("a")
            assert mesh.tasks.handle(PROBE.Echo, handle.id).result(timeout_s=20) == Payload(data=b"x")
            return [schedule.name for schedule in mesh.schedules.list()]

    assert await asyncio.to_thread(work) == ["a", "b"]


@pytest.mark.slow
async def test_the_command(target: str) -> None:
    async def ask(*args: str, status: int = 0) -> str:
        done = await weft("schedules", *args, target=target)
        assert done.status == status, done
        return done.out if status == 0 else done.err

    assert await ask("list") == "no schedules\n"
    given = ("create", "nightly", CALL, '{"text": "tick"}', "--cron", "30 2 * * *", "--zone", "Europe/Berlin")
    options = (
        "--overlap",
        "cancel",
        "--priority",
        "7",
        "--catch-up-s",
        "90",
        "--jitter-s",
        "5",
        "--lock",
        "db",
    )
    assert (await ask(*given, *options)).startswith("nightly next tick 20")
    assert (await ask(*given, *options)).startswith("nightly next tick 20")
    assert "is there already, with another spec" in await ask(*given, status=1)
    assert (await ask(*given, "--replace")).startswith("nightly next tick 20")
    await ask(*given, *options, "--replace")
    await ask("create", "pulse", CALL, "--every-s", "3600", "--paused", "later")
    done = await weft(
        "schedules", "create", "once", CALL, "--at", "2099-01-01T00:00+00:00", "--json", target=target
    )
    assert (done.document["at"], done.document["paused"]) == ("2099-01-01T00:00:00.000+00:00", False)

    task_id = (await ask("run", "nightly")).strip()
    listed = await ask("list")
    assert [text.split()[0] for text in listed.splitlines() if text[:1] not in {" ", "s"}] == [
        "nightly",
        "once",
        "pulse",
    ]
    assert "30 2 * * * (Europe/Berlin)" in listed
    assert "paused: later" in listed
    shown = await ask("show", "nightly")
    for text in (
        "Europe/Berlin",
        "cancel",
        "1.5 m",
        f"SUBMITTED {task_id} (by hand)",
        '"text": "tick"',
        "priority",
    ):
        assert text in shown
    document = (await weft("schedules", "show", "nightly", "--json", target=target)).document
    assert (document["request"]["text"], document["options"]["priority"]) == ("tick", 7)
    assert document["options"]["locks"] == [{"name": "db"}]
    assert document["last_ticks"][0]["task_id"] == task_id
    documents = (await weft("schedules", "list", "--json", target=target)).document
    assert [each["name"] for each in documents] == ["nightly", "once", "pulse"]

    assert await ask("pause", "nightly", "once", "--reason", "quiet") == "nightly paused\nonce paused\n"
    assert (await ask("resume", "nightly")).startswith("nightly next tick 20")
    assert await ask("delete", "nightly") == "nightly deleted\n"
    assert "no schedule has the name 'nightly'" in await ask("delete", "nightly", status=1)
    assert "no schedule has the name 'nightly'" in await ask("run", "nightly", status=1)


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("s", CALL), "one of --cron, --every-s and --at"),
        (("s", CALL, "--cron", "* * * * *", "--every-s", "5"), "one of --cron, --every-s and --at"),
        (("s", CALL, "--every-s", "5", "--zone", "UTC"), "--zone is for --cron"),
        (("s", CALL, "--every-s", "5", "--replace", "--paused", "x"), "--paused is for a new schedule"),
        (("s", CALL, "--at", "tomorrow"), "it must be a time"),
        (("s", CALL, "--every-s", "5", "--overlap", "maybe"), "skip, queue, cancel, allow"),
        (("s", "probe.v1.ProbeService/Cal", "--every-s", "5"), "did you mean"),
        (("s", CALL, '{"txt": 1}', "--every-s", "5"), "did you mean text?"),
    ],
)
async def test_asked_wrongly(target: str, args: tuple[str, ...], words: str) -> None:
    done = await weft("schedules", "create", *args, target=target)
    assert done.status == 2
    assert words in done.err


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("s", CALL, "--cron", "0 0 30 2 *"), "spec.cron '0 0 30 2 *' cannot be used"),
        (("s", CALL, "--cron", "* * * * *", "--zone", "Mars/Olympus"), "no time zone 'Mars/Olympus'"),
        (("s", CALL, "--every-s", "0"), "spec.interval is 0 s"),
        (("a b", CALL, "--every-s", "5"), "name must be"),
        (("s", CALL, "--at", "2001-01-01"), "spec.at is in the past"),
    ],
)
async def test_refused(target: str, args: tuple[str, ...], words: str) -> None:
    done = await weft("schedules", "create", *args, target=target)
    assert done.status == 1
    assert words in done.err
