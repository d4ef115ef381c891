"""Coordinators of two versions: side by side on a Redis, and one after the other on a file. The earlier one is from before hand-overs."""

from __future__ import annotations

import asyncio
from collections import Counter
from functools import partial
from pathlib import Path

import grpc
import grpc.aio
import pytest

from probe.v1 import probe_pb2_grpc
from probe.v1.probe_pb2 import ProbeRequest
from tests.support import tasks
from tests.support.ledger import Ledger
from tests.support.load import Load
from tests.support.mesh import MeshHarness
from tests.support.previous_version import PreviousVersion
from tests.support.processes import Process, until
from tests.support.redis_server import RedisServer, free_port
from weft.coordinator.handover import port_sockets

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not port_sockets.can_share(), reason="coordinators drain on Linux alone"),
]


@pytest.fixture
def previous(tmp_path: Path) -> PreviousVersion:
    return PreviousVersion(tmp_path / "previous")


async def serving(process: Process, times: int = 1) -> None:
    """Wait until a coordinator, whose log has earlier ones, serves."""
    await until(
        lambda: process.output().count('"coordinator.ready"') >= times or not process.alive,
        f"{process.name} serves",
    )
    assert process.alive, process.output()


async def test_two_versions_share_a_redis_and_the_newer_one_leaves_without_a_failed_call(
    mesh: MeshHarness, previous: PreviousVersion, tmp_path: Path
) -> None:
    async with RedisServer(tmp_path / "redis") as redis:
        mesh.store = redis.url
        newer = await mesh.coordinator(connection_age_s=0.5, drain_s=10)
        listen = f"127.0.0.1:{free_port()}"
        older = previous.coordinator(listen, redis.url, tmp_path / "previous.log")
        mesh.others.append(older)
        await serving(older)
        await mesh.agent("a1", slots=16, target=f"{mesh.target},{listen}")
        await mesh.wait_serving()

        ledger, load, answered = mesh.ledger(), Load(), list[str]()
        # One that has both addresses, as callers of several coordinators have.
        channel = grpc.aio.insecure_channel(f"ipv4:{mesh.target},{listen}")
        stub = probe_pb2_grpc.ProbeServiceStub(channel)
        load.add("call", partial(_call, stub, ledger, answered), at_a_time=8)
        await until(lambda: len(answered) > 20, "calls")
        # Back to the version before.
        assert await newer.terminate() == 0
        count = len(answered)
        await until(lambda: len(answered) > count + 20, "calls at the older one")
        # And forth again: tasks that are acknowledged are kept, whatever becomes of calls at a version that cannot hand over.
        newer = await mesh.restart_coordinator()
        ids = await tasks.submit_all(mesh, [ProbeRequest(text=f"kept-{n}", sleep_s=0.5) for n in range(20)])
        await load.stop()
        assert load.failed == []
        assert await older.terminate() == 0
        ended = await tasks.ended(mesh, ids)
        assert {tasks.reply(ended[each]).text for each in ids} == {f"kept-{n}" for n in range(20)}
        await channel.close()
        await mesh.close()
    assert Counter(fact.text for fact in ledger.facts("start")) == Counter(answered)


async def _call(stub: probe_pb2_grpc.ProbeServiceStub, ledger: Ledger, answered: list[str]) -> None:
    text = f"call-{len(answered)}-{id(asyncio.current_task())}"
    await stub.Call(ProbeRequest(text=text, ledger=ledger.path), timeout=20)
    answered.append(text)


async def test_a_file_goes_to_the_newer_version_and_back(
    mesh: MeshHarness, previous: PreviousVersion, tmp_path: Path
) -> None:
    listen = f"127.0.0.1:{free_port()}"
    older = previous.coordinator(listen, str(mesh.store), tmp_path / "previous.log")
    mesh.others.append(older)
    await serving(older)
    await mesh.agent("a1", slots=4, target=listen, wait=False)

    # It cannot be asked for its place, so its successor waits until it is stopped.
    starting = asyncio.ensure_future(mesh.coordinator(listen=listen, flags=["--replace"]))
    log = tmp_path / "coordinator.log"
    await until(lambda: log.exists() and '"handover.waiting"' in log.read_text(), "it waits")
    assert await older.terminate() == 0
    newer = await starting
    await mesh.wait_agent("a1")
    ledger = mesh.ledger()
    requests = [ProbeRequest(text=f"kept-{n}", sleep_s=1.0, ledger=ledger.path) for n in range(12)]
    ids = await tasks.submit_all(mesh, requests)
    await ledger.until("start", count=4)

    assert await newer.terminate() == 0
    older = previous.coordinator(listen, str(mesh.store), tmp_path / "previous.log")
    mesh.others.append(older)
    await serving(older, times=2)
    ended = await tasks.ended(mesh, ids)
    assert {tasks.reply(ended[each]).text for each in ids} == {f"kept-{n}" for n in range(12)}
    assert max(Counter(fact.text for fact in ledger.facts("start")).values()) == 1
