"""Sticky sessions of durable calls: one agent has the tasks of a session, until it cannot."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest
import pytest_asyncio

from probe.v1 import probe_pb2_grpc
from probe.v1.probe_pb2 import ProbeRequest
from tests.support import tasks
from tests.support.command import weft
from tests.support.mesh import PROBE_SERVICE, MeshHarness
from tests.support.redis_server import RedisServer
from tests.support.refusals import check, refused
from tests.support.shared_redis import two_coordinators
from tests.support.sticky import AGENTS, PROBE, SETTINGS, hard, key, ran, session_at
from weft.client import (
    Aborted,
    DesiredState,
    FailedPrecondition,
    InvalidArgument,
    Mesh,
    NotFound,
    StickySession,
    TaskState,
    call_options,
    connect,
)
from weft.client.sync import connect as connect_sync
from weft.v1 import errors_pb2, fleet_pb2, task_pb2

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=["embedded", "redis"])
async def fleet(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[MeshHarness]:
    folder = tmp_path_factory.mktemp("sticky")
    async with contextlib.AsyncExitStack() as stack:
        harness = await stack.enter_async_context(MeshHarness(folder))
        if request.param == "redis":
            harness.store = (await stack.enter_async_context(RedisServer(folder / "redis"))).url
        await harness.coordinator(**SETTINGS)
        await asyncio.gather(*(harness.agent(agent_id) for agent_id in AGENTS))
        await harness.wait_contract("a1", agents=3)
        yield harness


@pytest_asyncio.fixture(loop_scope="module")
async def mesh(fleet: MeshHarness) -> AsyncIterator[Mesh]:
    async with connect(fleet.target) as mesh:
        yield mesh


async def agents_of(mesh: Mesh, session: StickySession | str, count: int) -> Counter[str]:
    """Which agents run so many tasks of a session at a time."""
    done = [
        each.task.agent_id
        async for each in mesh.tasks.run_many(PROBE.Call, [ProbeRequest(text="x")] * count, session=session)
        if each.task is not None
    ]
    return Counter(done)


@pytest.mark.slow
async def test_a_conversation_stays_on_one_agent_and_others_are_balanced(mesh: Mesh) -> None:
    name = key()
    one, others = await asyncio.gather(
        agents_of(mesh, name, 1000),
        agents_of_each(mesh, [f"{name}-{number}" for number in range(60)]),
    )
    assert len(one) == 1
    assert sum(one.values()) == 1000
    assert set(others.values()) == set(AGENTS)
    # Again: nothing is chosen anew.
    assert await agents_of_each(mesh, list(others)) == others


async def agents_of_each(mesh: Mesh, names: list[str]) -> dict[str, str]:
    found = await asyncio.gather(*(ran(mesh, name) for name in names))
    return {name: task.agent_id for name, task in zip(names, found, strict=True)}


async def test_every_door_leads_to_the_same_agent(fleet: MeshHarness, mesh: Mesh) -> None:
    name = key()
    first = (await ran(mesh, name)).agent_id
    call = fleet.probe().Call(ProbeRequest(text="x"), metadata=(("weft-session", name),), timeout=20)
    await call
    assert dict(await call.trailing_metadata())["weft-agent"] == first
    # Another method of the service.
    stream = mesh.channel()
    echo = probe_pb2_grpc.ProbeServiceStub(stream).CallSync(
        ProbeRequest(text="x"), metadata=call_options(session=name), timeout=20
    )
    await echo
    assert dict(await echo.trailing_metadata())["weft-agent"] == first
    responses = fleet.probe().Stream(
        ProbeRequest(stream_count=2), metadata=call_options(session=StickySession(name)), timeout=20
    )
    assert len([each async for each in responses]) == 2
    assert dict(await responses.trailing_metadata())["weft-agent"] == first

    def work() -> str:
        with connect_sync(fleet.target) as blocking:
            return blocking.tasks.submit(PROBE.Call, ProbeRequest(text="x"), session=name).ended(20).agent_id

    assert await asyncio.to_thread(work) == first
    for command in (["call"], ["submit", "--wait"]):
        done = await weft(
            *command, "ProbeService/Call", "{}", "--session", name, "--json", target=fleet.target
        )
        assert done.document["agent_id"] == first


async def test_a_session_is_told_of(fleet: MeshHarness, mesh: Mesh) -> None:
    name = key()
    task = await ran(mesh, StickySession(name, "hard", 60))
    told = await tasks.look(fleet, task.id)
    session = told.options.session
    assert (session.key, session.mode, session.agent_id) == (
        name,
        task_pb2.SESSION_MODE_HARD,
        task.agent_id,
    )
    assert session.idle_ttl.ToSeconds() == 60
    assert not told.options.requirements.labels
    assert not told.options.HasField("context")
    (found,) = [each for each in await mesh.fleet.sessions() if each.session.key == name]
    assert (found.agent_id, found.service, found.lost) == (task.agent_id, PROBE_SERVICE, "")
    assert found.session == StickySession(name, "hard", 60)
    assert 50 < (found.expires_at - found.began_at).total_seconds() <= 60
    assert name in {each.session.key for each in await mesh.fleet.sessions(task.agent_id)}
    assert name not in {each.session.key for each in await mesh.fleet.sessions("nobody")}
    shown = await weft("tasks", "get", task.id, target=fleet.target)
    assert f"{name} (hard), on {task.agent_id}" in shown.out
    listed = await weft("sessions", "list", "--agent", task.agent_id, target=fleet.target)
    assert name in listed.out
    documents = (await weft("sessions", "list", "--json", target=fleet.target)).documents
    assert {"session": name, "mode": "hard", "agent_id": task.agent_id}.items() <= next(
        each for each in documents if each["session"] == name
    ).items()


async def test_a_session_ends_on_request(fleet: MeshHarness, mesh: Mesh) -> None:
    name = key()
    await ran(mesh, name)
    with pytest.raises(NotFound, match="no sticky session"):
        await mesh.fleet.end_session(PROBE_SERVICE, hard(name))
    done = await weft("sessions", "end", PROBE_SERVICE, name, target=fleet.target)
    assert done.status == 0, done.err
    assert name not in {each.session.key for each in await mesh.fleet.sessions()}
    done = await weft("sessions", "end", f"{PROBE_SERVICE}/Call", name, target=fleet.target)
    assert (done.status, "no sticky session" in done.err) == (1, True)
    await ran(mesh, name)
    await mesh.fleet.end_session(PROBE_SERVICE, name)


async def test_sessions_of_both_modes_are_two(mesh: Mesh) -> None:
    name = key()
    await ran(mesh, name)
    await ran(mesh, hard(name))
    found = [each.session.mode for each in await mesh.fleet.sessions() if each.session.key == name]
    assert sorted(found) == ["hard", "soft"]


@pytest.mark.parametrize(
    ("metadata", "field"),
    [
        ((("weft-session", ""),), "weft-session"),
        ((("weft-session", "x" * 257),), "weft-session"),
        ((("weft-session-mode", "hard"),), "weft-session"),
        ((("weft-session", "k"), ("weft-session-mode", "firm")), "weft-session-mode"),
        ((("weft-session", "k"), ("weft-session-ttl", "9")), "weft-session-ttl"),
        ((("weft-session", "k"), ("weft-session-ttl", "nan")), "weft-session-ttl"),
        ((("weft-session", "k"), ("weft-agent", "a1")), "options.session"),
        ((("weft-session", "k"), ("weft-require", "agent.id=a1")), "options.session"),
        ((("weft-require", "weft.session=soft"),), "weft-require"),
    ],
)
async def test_a_malformed_session_is_refused(
    fleet: MeshHarness, metadata: tuple[tuple[str, str], ...], field: str
) -> None:
    status = await refused(fleet.probe().Call(ProbeRequest(), metadata=metadata, timeout=5))
    check(status, grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD", field)


async def test_options_of_the_task_api_are_checked(fleet: MeshHarness) -> None:
    context = task_pb2.CallContext(session=task_pb2.StickySession(key="k"))
    for options in (
        task_pb2.TaskOptions(context=context),
        task_pb2.TaskOptions(session=task_pb2.StickySession(key="k", mode=7)),  # type: ignore[arg-type]
        task_pb2.TaskOptions(session=task_pb2.StickySession()),
    ):
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await tasks.submit(fleet, ProbeRequest(), options=options)
        assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    with pytest.raises(InvalidArgument):
        StickySession("caf\u00e9")
    done = await weft("call", "ProbeService/Call", "{}", "--session-mode", "hard", target=fleet.target)
    assert (done.status, "--session KEY" in done.err) == (2, True)
    done = await weft(
        "call", "ProbeService/Call", "{}", "--session", "k", "--session-mode", "x", target=fleet.target
    )
    assert (done.status, "soft or hard" in done.err) == (2, True)


async def test_a_soft_session_leaves_an_agent_that_drains_and_a_hard_one_waits(
    fleet: MeshHarness, mesh: Mesh
) -> None:
    soft, firm = key(), hard(key())
    at = (await ran(mesh, soft)).agent_id
    held_at = (await ran(mesh, firm)).agent_id
    for agent_id in {at, held_at}:
        await mesh.fleet.set_state(agent_id, DesiredState.DRAINING)
    try:
        left = {*AGENTS} - {at, held_at}
        assert (await ran(mesh, soft)).agent_id in left
        waiting = await mesh.tasks.submit(PROBE.Call, ProbeRequest(text="x"), session=firm)
        told = await tasks.look(fleet, waiting.id)
        assert told.state == task_pb2.TASK_STATE_QUEUED
        assert f"agent {held_at}, which has the sticky session: it is draining" in told.waiting.text
        with pytest.raises(FailedPrecondition, match="sticky session"):
            await mesh.tasks.submit(PROBE.Call, ProbeRequest(text="x"), session=firm, no_wait=True)
    finally:
        for agent_id in {at, held_at}:
            await mesh.fleet.set_state(agent_id, DesiredState.ACTIVE)
    assert (await waiting.ended(20)).agent_id == held_at
    # It moved for good.
    assert (await ran(mesh, soft)).agent_id in left


async def test_waiting_tasks_of_a_soft_session_move_along(fleet: MeshHarness, mesh: Mesh) -> None:
    name = key()
    at = (await ran(mesh, name)).agent_id
    busy = [await mesh.tasks.submit(PROBE.Call, ProbeRequest(sleep_s=3), agent_id=at) for _ in range(4)]
    waiting = [
        await mesh.tasks.submit(PROBE.Call, ProbeRequest(text=str(number)), session=name)
        for number in range(5)
    ]
    told = await tasks.look(fleet, waiting[0].id)
    assert f"a free slot of agent {at}, which has the sticky session" in told.waiting.text
    await mesh.fleet.set_state(at, DesiredState.PAUSED)
    try:
        moved = Counter([(await each.ended(20)).agent_id for each in waiting])
    finally:
        await mesh.fleet.set_state(at, DesiredState.ACTIVE)
    assert len(moved) == 1
    assert at not in moved
    for each in busy:
        await each.ended(20)


@pytest.mark.slow
async def test_a_full_agent_keeps_a_hard_session_and_loses_a_soft_one(mesh: Mesh) -> None:
    soft, firm = key(), hard(key())
    at = (await ran(mesh, soft)).agent_id
    # A hard session with the same agent.
    while (await ran(mesh, firm)).agent_id != at:
        firm = hard(key())
    busy = [await mesh.tasks.submit(PROBE.Call, ProbeRequest(sleep_s=8), agent_id=at) for _ in range(4)]
    stays = await mesh.tasks.submit(PROBE.Call, ProbeRequest(text="x"), session=firm)
    moves = await mesh.tasks.submit(PROBE.Call, ProbeRequest(text="x"), session=soft)
    moved, *_ = await asyncio.gather(moves.ended(20), *(each.ended(20) for each in busy))
    assert moved.agent_id != at
    assert (await stays.ended(20)).agent_id == at
    assert (await ran(mesh, soft)).agent_id == moved.agent_id


async def started(fleet: MeshHarness, task_id: str) -> None:
    async def runs() -> bool:
        return (await tasks.look(fleet, task_id)).state == task_pb2.TASK_STATE_RUNNING

    await fleet.eventually(runs, f"{task_id} runs")


@pytest.mark.slow
async def test_a_killed_agent_takes_its_hard_sessions_along(fleet: MeshHarness, mesh: Mesh) -> None:
    killed = await fleet.agent("k1")
    await fleet.wait_contract("k1", agents=4)
    soft, firm = await session_at(mesh, "k1", firm=False), await session_at(mesh, "k1", firm=True)
    running = await mesh.tasks.submit(PROBE.Call, ProbeRequest(sleep_s=30), session=firm)
    moving = await mesh.tasks.submit(PROBE.Call, ProbeRequest(sleep_s=2), session=soft)
    await started(fleet, running.id)
    waiting = await mesh.tasks.submit(PROBE.Call, ProbeRequest(text="x"), session=firm, delay_s=0.2)
    await killed.kill()
    for handle in (running, waiting):
        task = await handle.ended(20)
        assert task.state is TaskState.FAILED
        error = task.error()
        assert isinstance(error, Aborted)
        assert error.reason == errors_pb2.ERROR_REASON_STICKY_SESSION_LOST
        assert error.metadata["agent"] == "k1"
        assert firm.key in error.message
    assert (await moving.ended(20)).agent_id in AGENTS
    with pytest.raises(Aborted, match="is lost"):
        await ran(mesh, firm)
    call = fleet.probe().Call(ProbeRequest(), metadata=call_options(session=firm), timeout=10)
    check(await refused(call), grpc.StatusCode.ABORTED, "STICKY_SESSION_LOST")
    (told,) = [each for each in await mesh.fleet.sessions() if each.session == firm]
    assert told.lost
    # The caller knows, and begins anew.
    await mesh.fleet.end_session(PROBE_SERVICE, firm)
    assert (await ran(mesh, firm)).agent_id in AGENTS
    # The same id again is another process, which remembers nothing.
    again = await fleet.agent("k1")
    await fleet.wait_contract("k1", agents=4)
    firm = await session_at(mesh, "k1", firm=True)
    await again.kill()
    last = await fleet.agent("k1")
    with pytest.raises(Aborted, match="was started anew"):
        await ran(mesh, firm)
    await last.kill()
    await fleet.wait_agent("k1", fleet_pb2.AGENT_STATE_LOST)


@pytest.mark.slow
async def test_tasks_wait_for_the_first_agent_and_stay_together(tmp_path: Path) -> None:
    async with MeshHarness(tmp_path) as harness:
        await harness.coordinator(**SETTINGS)
        first = await harness.agent("w0", slots=2)
        async with connect(harness.target) as mesh:
            await ran(mesh, "other")
            await first.kill()
            await harness.wait_agent("w0", fleet_pb2.AGENT_STATE_LOST)
            waiting = {
                name: [
                    await mesh.tasks.submit(PROBE.Call, ProbeRequest(sleep_s=0.1), session=name)
                    for _ in range(6)
                ]
                for name in ("one", "two", "three")
            }
            told = await tasks.look(harness, waiting["one"][0].id)
            assert "none is connected" in told.waiting.text
            assert (told.options.session.key, told.options.session.agent_id) == ("one", "")
            await asyncio.gather(*(harness.agent(f"w{number}", slots=2) for number in (1, 2, 3)))
            for name, handles in waiting.items():
                agents = {(await each.ended(20)).agent_id for each in handles}
                assert len(agents) == 1, (name, agents)


@pytest.mark.slow
async def test_two_coordinators_agree(tmp_path: Path) -> None:
    async with MeshHarness(tmp_path) as first, two_coordinators(first, tmp_path) as (here, there):
        await asyncio.gather(here.agent("a1"), here.agent("a2"), there.agent("b1"), there.agent("b2"))
        await asyncio.gather(here.wait_contract("a1", agents=4), there.wait_contract("b1", agents=4))
        async with connect(here.target) as one, connect(there.target) as two:
            names = [key() for _ in range(12)]
            found = await asyncio.gather(
                *(
                    ran(mesh, StickySession(name, mode))
                    for name in names
                    for mesh in (one, two)
                    for mode in ("soft", "hard")
                )  # type: ignore[arg-type]
            )
            by_name: dict[tuple[str, int], set[str]] = {}
            for number, task in enumerate(found):
                by_name.setdefault((names[number // 4], number % 2), set()).add(task.agent_id)
            assert all(len(agents) == 1 for agents in by_name.values()), by_name
            assert len({agents.pop() for agents in by_name.values()}) > 1
            # It moves at one, and the other knows.
            soft = await session_at(one, "b1", firm=False)
            await one.fleet.set_state("b1", DesiredState.DRAINING)
            # The other one, at which b1 is, hears of it a moment later.
            while (moved := (await ran(two, soft)).agent_id) == "b1":
                await asyncio.sleep(0.05)
            await one.fleet.set_state("b1", DesiredState.ACTIVE)
            # Within a second, the other one knows.
            while (await ran(one, soft)).agent_id != moved:
                await asyncio.sleep(0.05)
            assert {(await ran(mesh, soft)).agent_id for mesh in (one, two, one)} == {moved}
            # The coordinator that began a hard session dies; the session goes on, as its agent does.
            firm = await session_at(one, "b2", firm=True)
            assert here.coordinator_process is not None
            await here.coordinator_process.kill()
            assert (await ran(two, firm)).agent_id == "b2"
