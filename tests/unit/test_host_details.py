"""The host in detail: what is sampled, how seldom, how small; and the gauges of a program."""

from __future__ import annotations

import asyncio
import math
from pathlib import Path

import psutil
import pytest

from weft.agent import Agent
from weft.agent.errors import HostingError
from weft.agent.gauges import MOST_GAUGES, Gauges
from weft.agent.session.host_details import FIRST_S, INTERVAL_S, DetailSampler
from weft.agent.session.host_figures import HostSampler
from weft.cli.rendering.agent_facts import facts
from weft.cli.rendering.documents import agent_document
from weft.rpc.process import process_readings
from weft.rpc.process.own_cgroup import OwnCgroup
from weft.testing import LocalMesh, mesh_of
from weft.v1 import fleet_pb2


def test_a_sample_has_what_the_host_tells() -> None:
    detail = DetailSampler().sample(0.0)
    assert detail is not None
    assert len(detail.core_ratios) == psutil.cpu_count()
    assert len(detail.load_averages) == 3
    assert 0 < detail.used_memory_bytes < detail.memory_bytes == psutil.virtual_memory().total
    assert detail.open_files > 0
    assert detail.threads > 0
    for partition in detail.partitions:
        assert 0 < partition.used_bytes <= partition.size_bytes


def test_samples_are_seldom_and_small() -> None:
    sampler = DetailSampler()
    taken = [at for at in range(200) if sampler.sample(float(at)) is not None]
    assert taken == [0, FIRST_S, *range(int(FIRST_S + INTERVAL_S), 200, int(INTERVAL_S))]
    # A new session has it at once.
    sampler.begin()
    detail = sampler.sample(200.0)
    assert detail is not None
    # A large host: 64 cores, 8 partitions.
    detail.core_ratios[:] = [0.5] * 64
    del detail.partitions[:]
    for number in range(8):
        detail.partitions.add(
            mount=f"/mnt/disk{number}", size_bytes=1 << 40, used_bytes=1 << 39, read_bytes_per_s=1e6
        )
    # Twice a minute: some 30 bytes a second, beside heartbeats of some 60.
    assert detail.ByteSize() < 900, detail.ByteSize()
    assert HostSampler().sample(0.0).ByteSize() < 60


def test_a_host_that_hides_everything_is_no_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    def hidden(*_: object, **__: object) -> None:
        raise PermissionError("/proc")

    for name in ("cpu_percent", "virtual_memory", "swap_memory", "disk_partitions", "net_io_counters"):
        monkeypatch.setattr(psutil, name, hidden)
    assert DetailSampler().sample(0.0) is not None


@pytest.mark.parametrize(
    ("files", "cores", "memory"),
    [
        ({"cpu.max": "150000 100000", "memory.max": "1073741824"}, 1.5, 1 << 30),
        ({"cpu.max": "max 100000", "memory.max": "max"}, None, None),
        ({"cpu/cpu.cfs_quota_us": "50000", "cpu/cpu.cfs_period_us": "100000"}, 0.5, None),
        ({"cpu/cpu.cfs_quota_us": "-1", "memory/memory.limit_in_bytes": str((1 << 63) - 4096)}, None, None),
        ({}, None, None),
    ],
)
def test_limits_of_a_container(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    files: dict[str, str],
    cores: float | None,
    memory: int | None,
) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text + "\n")
    monkeypatch.setattr(process_readings, "_CGROUP", OwnCgroup(tmp_path, tmp_path / "own"))
    assert process_readings.cpu_limit() == cores
    assert process_readings.memory_limit() == memory


def test_gauges_are_checked() -> None:
    gauges = Gauges()
    gauges.add("queue_len", lambda: 3)
    for name in ("queue_len", "", "1st", "a b", "x" * 65):
        with pytest.raises(HostingError):
            gauges.add(name, lambda: 0)
    for number in range(MOST_GAUGES - 1):
        gauges.add(f"g{number}", lambda: 0)
    with pytest.raises(HostingError, match="at most 64"):
        gauges.add("one_more", lambda: 0)


def test_a_gauge_that_fails_is_left_out() -> None:
    gauges = Gauges()
    gauges.add("good", lambda: 2)
    gauges.add("bad", lambda: 1 // 0)
    gauges.add("endless", lambda: math.inf)
    assert gauges.read().values == {"good": 2.0}


def test_gauges_that_count_as_load_are_added_up() -> None:
    gauges = Gauges()
    gauges.add("queue_len", lambda: 3, as_slots=0.5)
    gauges.add("batches", lambda: 2, as_slots=4)
    gauges.add("negative", lambda: -9, as_slots=1)
    gauges.add("shown", lambda: 100)
    gauges.add("bad", lambda: 1 // 0, as_slots=1)
    assert gauges.read().backlog_slots == 9.5
    for wrong in (-1.0, math.nan, math.inf):
        with pytest.raises(HostingError, match="as_slots"):
            gauges.add("wrong", lambda: 0, as_slots=wrong)


async def test_less_backlog_gets_tasks_and_direct_calls_first() -> None:
    ran: list[str] = []
    backlog = {"a": 3, "b": 0}

    def made(name: str) -> Agent:
        agent = Agent(name, slots=4)
        agent.gauge("queue_len", lambda: backlog[name], as_slots=1)

        @agent.method("own.v1.Own/Echo")
        async def echo(request: dict[str, object]) -> dict[str, object]:
            ran.append(name)
            return request

        return agent

    async def run(mesh: LocalMesh, *, direct: bool) -> list[str]:
        ran.clear()
        for _ in range(6):
            call = mesh.channel(direct=direct).unary_unary("/own.v1.Own/Echo")
            await call(b"", timeout=20)
        return list(ran)

    async with mesh_of(made("a"), made("b"), heartbeat_interval_s=0.1) as mesh:
        for full, free in (("a", "b"), ("b", "a")):
            backlog[full], backlog[free] = 3, 0
            async with asyncio.timeout(20):
                while {each.id: each.backlog_slots for each in await mesh.fleet.agents()} != backlog:
                    await asyncio.sleep(0.01)
            # A client may have an older report of each agent, which its next answer replaces; on a busy machine, one
            # is taken for slow for a while.
            for direct in (False, True):
                async with asyncio.timeout(20):
                    while await run(mesh, direct=direct) != [free] * 6:
                        pass
        shown = {name: str(value) for name, value in facts(await mesh.fleet.agent("b"))}
        assert shown["backlog"] == "counts as 3 used slots"


async def test_operators_see_a_program_s_gauges_and_host() -> None:
    agent = Agent("gauged")
    waiting = [1, 2, 3]
    agent.gauge("queue_len", lambda: len(waiting))

    @agent.method("own.v1.Own/Echo")
    async def echo(request: dict[str, object]) -> dict[str, object]:
        return request

    async with mesh_of(agent, heartbeat_interval_s=0.1) as mesh:
        async with asyncio.timeout(20):
            while not (found := await mesh.fleet.agent("gauged")).gauges or found.host is None:
                await asyncio.sleep(0.01)
        assert found.gauges == {"queue_len": 3}
        shown = {name: str(value) for name, value in facts(found)}
        assert shown["gauges"] == "queue_len=3"
        assert "cores" in shown["host cpu"]
        assert " of " in shown["host memory"]
        document = agent_document(found)
        assert document["gauges"] == {"queue_len": 3}
        assert document["host"]["memory_bytes"] == found.host.memory_bytes
        waiting.append(4)
        async with asyncio.timeout(20):
            while (await mesh.fleet.agent("gauged")).gauges != {"queue_len": 4}:
                await asyncio.sleep(0.01)
        # Heartbeats without it do not remove it.
        assert (await mesh.fleet.agent("gauged")).host == found.host


def test_gpus_are_shown() -> None:
    from weft.cli.rendering.host_facts import host_facts

    gpu = fleet_pb2.GpuFigures(
        name="NVIDIA A100", use_ratio=0.5, memory_bytes=1 << 36, used_memory_bytes=1 << 35
    )
    shown = {
        name: getattr(value, "text", value) for name, value in host_facts(fleet_pb2.HostDetail(gpus=[gpu]))
    }
    assert "NVIDIA A100  50 %" in str(shown["gpus"])
