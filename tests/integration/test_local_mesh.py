"""`weft.testing.mesh_of`: a mesh in this process, and its clock."""

from __future__ import annotations

import asyncio
import gc
import re
import threading
import time
import warnings
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import grpc.aio
import pytest
from google.rpc import code_pb2

from probe.v1 import probe_pb2_grpc
from probe.v1.probe_pb2 import ProbeRequest
from tests.support.probe import ProbeService
from weft.agent import Agent, HookError, HostingError, current_task
from weft.client import Cron, Every, RetryPolicy, TaskState, methods
from weft.rpc.errors import WeftError
from weft.testing import LocalMesh, mesh_of

PROBE = methods(probe_pb2_grpc.ProbeServiceStub)
HOUR_S = 3600.0
OF_THE_SYSTEM = ("socket:", "anon_inode:", "pipe:", "/dev/")


class Noting(ProbeService):
    """Notes the order in which its handlers ran, and the mesh's time."""

    def __init__(self) -> None:
        self.ran: list[str] = []
        self.ended: list[float] = []
        self.now = time.time

    async def Call(self, request, context):
        self.ran.append(f"{request.text}{current_task().attempt}")
        reply = await super().Call(request, context)
        self.ended.append(self.now())
        return reply


def agent_of(servicer: ProbeService, agent_id: str = "a1") -> Agent:
    agent = Agent(agent_id, slots=4)
    agent.add_servicer(probe_pb2_grpc.add_ProbeServiceServicer_to_server, servicer)
    return agent


@pytest.fixture
def noting() -> Noting:
    return Noting()


@pytest.fixture
async def mesh(noting) -> AsyncIterator[LocalMesh]:
    async with mesh_of(agent_of(noting)) as mesh:
        yield mesh


def open_files() -> set[str]:
    found = set()
    for fd in Path("/proc/self/fd").iterdir():
        try:
            found.add(str(fd.readlink()))
        except OSError:
            continue
    return found


def open_sockets() -> int:
    return sum(each.startswith("socket:") for each in open_files())


async def test_every_way_of_calling_works_and_nothing_is_left_behind(noting):
    agent = agent_of(noting)
    before = agent.settings
    await asyncio.to_thread(int)
    async with mesh_of():
        # gRPC's own files stay; its thread and the event loop's are not the mesh's.
        pass
    files, sockets = open_files(), open_sockets()
    threads = {thread.name for thread in threading.enumerate()}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        async with mesh_of(agent, agent_of(ProbeService(), "a2")) as mesh:
            assert [each.id for each in mesh.agents] == ["a1", "a2"]
            for direct in (False, True):
                stub = probe_pb2_grpc.ProbeServiceStub(mesh.channel(direct=direct))
                assert (await stub.Call(ProbeRequest(text="x"), timeout=10)).text == "x"
                assert (await stub.CallSync(ProbeRequest(text="x"), timeout=10)).text == "x"
                replies = [each.index async for each in stub.Stream(ProbeRequest(stream_count=2))]
                assert replies == [1, 2]
            async for done in mesh.tasks.run_many(PROBE.Call, [ProbeRequest(text=str(n)) for n in range(20)]):
                assert done.result().text == str(done.index)
            folder = Path(next(each for each in open_files() if each.endswith("/weft.db"))).parent
        gc.collect()
    assert not folder.exists()
    assert {each for each in open_files() - files if not each.startswith(OF_THE_SYSTEM)} == set()
    for thread in threading.enumerate():
        if thread.name not in threads and not re.match(r"asyncio|.*\(_poll_wrapper\)", thread.name):
            # Told to end, and waited for by nobody.
            await asyncio.to_thread(thread.join, 5)
            assert not thread.is_alive(), thread.name
    # gRPC closes its sockets by itself, some milliseconds later.
    async with asyncio.timeout(10):
        while open_sockets() > sockets:
            await asyncio.sleep(0.01)
    assert (agent.settings.target, agent.settings.listen) == (before.target, before.listen)
    assert not agent.connected


async def test_start_and_end_are_quick(noting):
    spans = []
    for _ in range(3):
        began_s = time.process_time()
        async with mesh_of(agent_of(noting)):
            pass
        spans.append(time.process_time() - began_s)
    # Of this process' own time: other processes may have the processors.
    assert min(spans) < 0.2


async def test_a_task_that_starts_in_an_hour_ends_at_once_at_its_own_time(mesh, noting):
    began_s, submitted_at = time.monotonic(), mesh.clock.now()
    later = await mesh.tasks.submit(PROBE.Call, ProbeRequest(text="later"), delay_s=HOUR_S)
    sooner = await mesh.tasks.submit(PROBE.Call, ProbeRequest(text="sooner"), delay_s=HOUR_S / 2)
    assert await later.state() is TaskState.SCHEDULED
    assert (await later.result()).text == "later"
    assert (await sooner.result()).text == "sooner"
    assert noting.ran == ["sooner1", "later1"]
    assert HOUR_S <= mesh.clock.now() - submitted_at < HOUR_S + 60
    assert time.monotonic() - began_s < 10
    task = await later.snapshot()
    assert task.created_at is not None
    assert task.started_at is not None
    assert HOUR_S - 1 < (task.started_at - task.created_at).total_seconds() < HOUR_S + 60


async def test_retries_with_backoffs_of_minutes_end_at_once(mesh, noting):
    policy = RetryPolicy(max_attempts=4, initial_backoff_s=600, max_backoff_s=6000)
    request = ProbeRequest(text="x", fail_code=code_pb2.UNAVAILABLE, fail_attempts=3)
    handle = await mesh.tasks.submit(PROBE.Call, request, retry=policy)
    assert (await handle.result()).text == "x"
    assert noting.ran == ["x1", "x2", "x3", "x4"]


async def test_many_retries_on_several_agents_end_at_once_and_their_results_stay(mesh):
    await mesh.add(agent_of(ProbeService(), "a2"))
    policy = RetryPolicy(max_attempts=8, initial_backoff_s=600, max_backoff_s=6000)
    request = ProbeRequest(text="x", fail_code=code_pb2.UNAVAILABLE, fail_attempts=4)
    handles = [await mesh.tasks.submit(PROBE.Call, request, retry=policy) for _ in range(10)]
    assert [(await handle.result()).text for handle in handles] == ["x"] * 10


async def test_a_stock_stubs_call_that_waits_for_a_retry_skips_it_too(mesh):
    stub = probe_pb2_grpc.ProbeServiceStub(mesh.channel())
    request = ProbeRequest(text="x", fail_code=code_pb2.UNAVAILABLE, fail_attempts=1, retry_after_s=1800)
    began_s = time.monotonic()
    assert (await stub.Call(request)).text == "x"
    assert time.monotonic() - began_s < 10


async def test_bulk_streams_and_waits_for_many_skip_too(mesh):
    requests = [ProbeRequest(text=str(n)) for n in range(3)]
    async for done in mesh.tasks.run_many(PROBE.Call, requests, delay_s=HOUR_S):
        assert done.result().text == str(done.index)
    handles = [await mesh.tasks.submit(PROBE.Call, each, delay_s=HOUR_S) for each in requests]
    ended = await mesh.tasks.wait([handle.id for handle in handles])
    assert {task.state for task in ended} == {TaskState.SUCCEEDED}


async def test_time_stands_while_nobody_waits_and_while_a_handler_runs(mesh, noting):
    noting.now = mesh.clock.now
    handle = await mesh.tasks.submit(PROBE.Call, ProbeRequest(text="x"), delay_s=HOUR_S)
    began = mesh.clock.now()
    running = await mesh.tasks.submit(PROBE.Call, ProbeRequest(text="running", sleep_s=0.3))
    assert mesh.clock.now() - began < 60
    await asyncio.gather(running.result(), handle.result())
    first, second = noting.ended
    assert first - began < 60
    assert second - began >= HOUR_S - 1


async def test_advance_stops_at_each_time_and_runs_what_is_due(noting):
    async with mesh_of(agent_of(noting), skip_idle_time=False) as mesh:
        for hours in (3, 1, 2):
            await mesh.tasks.submit(PROBE.Call, ProbeRequest(text=f"h{hours} "), delay_s=hours * HOUR_S)
        failing = ProbeRequest(text="f ", fail_code=code_pb2.UNAVAILABLE, fail_attempts=1)
        policy = RetryPolicy(initial_backoff_s=600, max_backoff_s=600)
        await mesh.tasks.submit(PROBE.Call, failing, retry=policy)
        began = mesh.clock.now()
        await mesh.clock.advance(1.5 * HOUR_S)
        assert noting.ran == ["f 1", "f 2", "h1 1"]
        await mesh.clock.advance(2 * HOUR_S)
        assert noting.ran[3:] == ["h2 1", "h3 1"]
        assert 3.5 * HOUR_S <= mesh.clock.now() - began < 3.5 * HOUR_S + 60
        with pytest.raises(ValueError, match="back"):
            await mesh.clock.advance(-1)


async def test_schedules_tick_with_the_clock(noting):
    """Each tick at its own time; three days take a moment."""
    async with mesh_of(agent_of(noting)) as mesh:
        noting.now = mesh.clock.now
        began_s = time.monotonic()
        started_at = mesh.clock.now()
        # Half a day away, so that 73 hours have three of it at any time of the day.
        hour = (int(started_at // HOUR_S) + 12) % 24
        for name, timing in (("daily", Cron(f"0 {hour} * * *")), ("twice", Every(36 * HOUR_S))):
            await mesh.schedules.create(name, PROBE.Call, ProbeRequest(text=name), timing)
        await mesh.clock.advance(73 * HOUR_S)
        assert time.monotonic() - began_s < 10.0
        daily, twice = await mesh.schedules.get("daily"), await mesh.schedules.get("twice")
        assert (daily.submitted, twice.submitted) == (3, 2)
        assert sorted(noting.ran) == ["daily1"] * 3 + ["twice1"] * 2
        ended = dict(zip(noting.ended, noting.ran, strict=True))
        by_day = sorted(at % (24 * HOUR_S) for at, name in ended.items() if name == "daily1")
        assert by_day == pytest.approx([hour * HOUR_S] * 3, abs=10.0)
        assert sorted(at - started_at for at, name in ended.items() if name == "twice1") == pytest.approx(
            [36 * HOUR_S, 72 * HOUR_S], abs=10.0
        )


async def test_results_expire_and_limits_pass_with_the_clock(noting):
    async with mesh_of(agent_of(noting), skip_idle_time=False, result_ttl_s=HOUR_S) as mesh:
        handle = await mesh.tasks.submit(PROBE.Call, ProbeRequest(text="x"))
        await handle.result()
        late = await mesh.tasks.submit(
            PROBE.Call, ProbeRequest(), require_labels={"zone": "eu"}, schedule_to_start_s=60
        )
        await mesh.clock.advance(120)
        with pytest.raises(WeftError) as caught:
            await late.result()
        assert caught.value.code is grpc.StatusCode.DEADLINE_EXCEEDED
        await mesh.clock.advance(HOUR_S)
        with pytest.raises(WeftError) as caught:
            await handle.snapshot()
        assert caught.value.code is grpc.StatusCode.NOT_FOUND


async def test_agents_live_in_real_time_through_every_jump(mesh, noting):
    running = await mesh.tasks.submit(PROBE.Call, ProbeRequest(text="runs", sleep_s=1.5))
    await mesh.clock.advance(30 * 86400)
    assert mesh.agents[0].connected
    assert (await running.result()).text == "runs"
    assert noting.ran == ["runs1"]


async def test_agents_come_and_go(mesh):
    other = agent_of(ProbeService(), "a2")
    await mesh.add(other)
    assert {each.id for each in await mesh.fleet.agents()} == {"a1", "a2"}
    held = await mesh.tasks.submit(PROBE.Call, ProbeRequest(text="x", sleep_s=0.01))
    await mesh.remove(other)
    assert mesh.agents != [other]
    assert (await held.result()).text == "x"


async def test_an_agent_that_cannot_run_says_why():
    with pytest.raises(HostingError, match="hosts nothing"):
        async with mesh_of(Agent("empty")):
            pass


async def test_an_agent_whose_start_fails_fails_the_test(noting):
    agent = agent_of(noting)

    @agent.on_start
    def broken() -> None:
        raise ValueError("no database")

    with pytest.raises(HookError, match="broken"):
        async with mesh_of(agent):
            pass


async def test_the_environment_changes_nothing(noting, monkeypatch):
    monkeypatch.setenv("WEFT_STORE", "/nowhere/weft.db")
    monkeypatch.setenv("WEFT_DURABILITY", "none")
    async with mesh_of(agent_of(noting)) as mesh:
        handle = await mesh.tasks.submit(PROBE.Call, ProbeRequest(text="x"))
        assert (await handle.result()).agent_id == "a1"
