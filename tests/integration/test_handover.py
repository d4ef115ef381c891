"""A coordinator takes the place of another one at its port: no call fails, nothing is lost, and whoever dies meanwhile is made up for."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sqlite3
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from functools import partial
from pathlib import Path

import grpc
import grpc.aio
import pytest

from probe.v1.probe_pb2 import ProbeRequest
from tests.support import tasks
from tests.support.certificates import TestAuthority, credentials, variables
from tests.support.load import Load
from tests.support.mesh import MeshHarness
from tests.support.processes import Process, until
from tests.support.redis_server import RedisServer, free_port
from tests.support.soak import soak
from tests.support.stock_caller import StockCaller
from weft.coordinator.handover import port_sockets
from weft.coordinator.handover.handover_door import HandoverDoor
from weft.coordinator.handover.handover_wire import PROTOCOL, Wire, door_name
from weft.coordinator.store.embedded.file_lock import OwnerLock

pytestmark = pytest.mark.skipif(not port_sockets.can_share(), reason="ports are handed over on Linux alone")

# Connections are renewed so soon that a predecessor has ended in a moment.
AGE_S = 0.5
# A replaced coordinator has ended: its callers' connections are renewed, which takes a tenth more, and it looks once a second.
ENDED_S = 20.0


async def replaced_under_load(mesh: MeshHarness, times: int) -> float:
    """Replace the coordinator so often, and see that no call has failed, was lost or ran twice. Returns the longest time of a call, in s."""
    ledger, load, left = mesh.ledger(), Load(), []
    some = [StockCaller(mesh.target, mesh.credentials) for _ in range(4)]
    try:
        for each in some:
            load.add("call", partial(each.call, ledger))
        for number in range(times):
            assert mesh.coordinator_process is not None
            left.append(mesh.coordinator_process)
            # They are under way when the successor comes, and end when it serves.
            long = asyncio.ensure_future(some[0].call(ledger, sleep_s=1.0))
            stream = asyncio.ensure_future(some[1].stream(8, 0.1))
            await ledger.until("start", where=lambda fact: fact.text.startswith("long"), count=number + 1)
            await mesh.replace_coordinator()
            await long
            assert await stream == list(range(1, 9))
        for process in left:
            assert await process.wait(timeout_s=ENDED_S) == 0, mesh.logs()
        await load.stop()
    finally:
        await asyncio.gather(*(each.close() for each in some))
    assert load.failed == []
    answered = [text for each in some for text in each.texts]
    assert len(answered) > 10 * times
    assert Counter(fact.text for fact in ledger.facts("start")) == Counter(answered)
    return max(each.longest_s for each in some)


async def begin(mesh: MeshHarness, **settings: object) -> Process:
    """A coordinator whose callers move soon, with an agent."""
    process = await mesh.coordinator(connection_age_s=AGE_S, **settings)
    await mesh.agent("a1", slots=16)
    await mesh.wait_serving()
    return process


@asynccontextmanager
async def successor(mesh: MeshHarness) -> AsyncIterator[Wire]:
    """The test as a successor, which has been promised the place."""
    one = socket.socket(socket.AF_UNIX)
    one.setblocking(False)
    one.connect(door_name(mesh.target))
    wire = await Wire.over(one)
    try:
        await wire.tell("replace", protocol=PROTOCOL, store=os.path.realpath(mesh.store), version="test")
        assert (await wire.hear())["kind"] == "agrees"
        yield wire
    finally:
        wire.close()


@pytest.mark.slow
async def test_no_call_fails_while_a_coordinator_is_replaced(mesh: MeshHarness) -> None:
    await begin(mesh)
    agent = mesh.agents["a1"]
    await replaced_under_load(mesh, 1)
    assert agent.alive
    assert "agent.lost" not in mesh.logs()


@pytest.mark.slow
async def test_a_place_that_is_taken_is_not_taken_by_accident(mesh: MeshHarness, tmp_path: Path) -> None:
    process = await mesh.coordinator()

    async def refused(*args: str) -> str:
        other = Process.weft(
            "other", "coordinator", "--listen", mesh.target, *args, log=tmp_path / "other.log"
        )
        assert await other.wait() == 1
        return other.output()

    store = str(mesh.store)
    assert "take the place of the coordinator there (--replace)" in await refused("--store", store)
    assert "it has the store" in await refused("--store", str(tmp_path / "another.db"), "--replace")
    # One at a time.
    async with successor(mesh):
        assert "is taking its place already" in await refused("--store", store, "--replace")
    assert process.alive
    await mesh.wait_serving("weft.v1.CoordinatorService")


@pytest.mark.slow
async def test_a_predecessor_takes_over_again_if_its_successor_dies(mesh: MeshHarness) -> None:
    process = await begin(mesh)
    ledger = mesh.ledger()
    (task_id,) = await tasks.submit_all(mesh, [ProbeRequest(text="kept", sleep_s=1.0, ledger=ledger.path)])
    await ledger.until("start", "kept")
    caller = StockCaller(mesh.target)
    try:
        await caller.call(ledger)
        async with successor(mesh):
            # It dies before it has the port: nothing has changed.
            pass
        async with successor(mesh) as wire:
            await wire.tell("bound")
            assert (await wire.hear(10.0))["kind"] == "released"
            # On the old connection: it waits for whoever serves next.
            waiting = asyncio.ensure_future(caller.call(ledger))
        await waiting
        assert process.alive
        assert tasks.reply((await tasks.ended(mesh, [task_id]))[task_id]).text == "kept"
        assert len(ledger.facts("start", "kept")) == 1
        # It can be replaced still.
        await mesh.replace_coordinator()
        await caller.call(ledger)
        assert await process.wait(timeout_s=ENDED_S) == 0, mesh.logs()
    finally:
        await caller.close()


@pytest.mark.slow
async def test_a_file_that_the_successor_has_migrated_is_not_taken_back(mesh: MeshHarness) -> None:
    process = await begin(mesh)
    async with successor(mesh) as wire:
        await wire.tell("bound")
        assert (await wire.hear(10.0))["kind"] == "released"
        with closing(sqlite3.connect(mesh.store)) as file:
            file.execute("PRAGMA user_version = 999")
    assert await process.wait() == 1
    assert "it was written by a newer weft" in process.output()


async def test_a_successor_starts_if_its_predecessor_dies_on_the_way(
    mesh: MeshHarness, tmp_path: Path
) -> None:
    listen = f"127.0.0.1:{free_port()}"
    door = HandoverDoor(listen, os.path.realpath(mesh.store))
    starting = asyncio.ensure_future(mesh.coordinator(listen=listen, flags=["--replace"]))
    try:
        wire = await door.successor()
        assert (await wire.hear(20.0))["kind"] == "bound"
        wire.close()
    finally:
        door.close()
    await starting
    await mesh.wait_serving("weft.v1.CoordinatorService")


@pytest.mark.slow
async def test_a_successor_ends_if_its_predecessor_has_called_the_hand_over_off(mesh: MeshHarness) -> None:
    listen = f"127.0.0.1:{free_port()}"
    door = HandoverDoor(listen, os.path.realpath(mesh.store))
    args = ("coordinator", "--store", str(mesh.store), "--listen", listen, "--replace")
    late = Process.weft("late", *args, log=mesh.folder / "late.log")
    mesh.others.append(late)
    try:
        wire = await door.successor()
        assert (await wire.hear(20.0))["kind"] == "bound"
        # It was too late. The predecessor is as it was.
        wire.close()
        assert await late.wait() == 1
    finally:
        door.close()
    assert "has called the hand-over off, and stays" in late.output()
    assert not Path(mesh.store).exists()


@pytest.mark.slow
async def test_a_predecessor_that_hangs_is_killed_after_its_time(mesh: MeshHarness) -> None:
    process = await begin(mesh)
    ledger = mesh.ledger()
    (task_id,) = await tasks.submit_all(mesh, [ProbeRequest(text="kept", sleep_s=2.0, ledger=ledger.path)])
    await ledger.until("start", "kept")
    process.pause()
    await mesh.replace_coordinator(replace_s=1)
    assert await process.wait() == -signal.SIGKILL
    assert tasks.reply((await tasks.ended(mesh, [task_id]))[task_id]).text == "kept"
    assert len(ledger.facts("start", "kept")) == 1


@pytest.mark.slow
async def test_a_predecessor_that_hangs_after_it_has_agreed_is_killed_too(mesh: MeshHarness) -> None:
    listen, log = f"127.0.0.1:{free_port()}", mesh.folder / "hanging.log"
    hanging = Process.module("hanging", "tests.support.hanging_predecessor", listen, str(mesh.store), log=log)
    mesh.others.append(hanging)
    await until(lambda: "has the door" in hanging.output(), "it can be asked")
    await mesh.coordinator(listen=listen, flags=["--replace"], replace_s=1)
    assert await hanging.wait() == -signal.SIGKILL
    await mesh.wait_serving("weft.v1.CoordinatorService")


@pytest.mark.slow
async def test_a_successor_that_hangs_is_killed_and_its_predecessor_goes_on(mesh: MeshHarness) -> None:
    process = await begin(mesh, replace_s=1)
    hanging = Process.module(
        "hanging",
        "tests.support.hanging_successor",
        mesh.target,
        str(mesh.store),
        log=mesh.folder / "hanging.log",
    )
    mesh.others.append(hanging)
    assert await hanging.wait() == -signal.SIGKILL
    caller = StockCaller(mesh.target)
    await caller.call(mesh.ledger())
    await caller.close()
    assert process.alive


@pytest.mark.slow
async def test_a_store_that_its_owner_gives_up_late_is_waited_for(mesh: MeshHarness) -> None:
    """As of a version before hand-overs, which has no door."""
    lock = OwnerLock(Path(mesh.store))
    starting = asyncio.ensure_future(mesh.coordinator(listen=f"127.0.0.1:{free_port()}", flags=["--replace"]))
    log = mesh.folder / "coordinator.log"
    await until(lambda: log.exists() and '"waits_for": "the store"' in log.read_text(), "it waits")
    lock.release()
    await starting
    await mesh.wait_serving("weft.v1.CoordinatorService")


@pytest.mark.slow
async def test_no_call_fails_while_coordinators_of_a_redis_are_replaced(mesh: MeshHarness) -> None:
    async with RedisServer(mesh.folder / "redis") as redis:
        mesh.store = redis.url
        await begin(mesh)
        await replaced_under_load(mesh, 2)
        await mesh.close()


@pytest.mark.slow
async def test_callers_with_tokens_are_passed_on_with_them(mesh: MeshHarness) -> None:
    authority, token = TestAuthority(mesh.folder), mesh.folder / "operator.token"
    mesh.env = variables(authority.tls("coordinator", mutual=False))
    mesh.agent_env = variables(authority.tls("a1", mutual=False)) | {"WEFT_TOKEN_FILE": str(token)}

    def show(_context: object, done: grpc.AuthMetadataPluginCallback) -> None:
        done((("weft-token", token.read_text().strip()),), None)

    shown = grpc.metadata_call_credentials(show)
    encrypted = grpc.ssl_channel_credentials(authority.ca.read_bytes())
    mesh.credentials = grpc.composite_channel_credentials(encrypted, shown)
    await begin(mesh, tokens="on", operator_token_file=token)
    await replaced_under_load(mesh, 1)


@pytest.mark.slow
async def test_callers_with_certificates_dial_again(mesh: MeshHarness) -> None:
    authority = TestAuthority(mesh.folder)
    mesh.env = variables(authority.tls("coordinator"))
    mesh.agent_env = variables(authority.tls("a1"))
    mesh.credentials = credentials(authority.tls("client"))
    process = await mesh.coordinator()
    await mesh.agent("a1", slots=16)
    await mesh.wait_serving()
    ledger, caller = mesh.ledger(), StockCaller(mesh.target, mesh.credentials)
    try:
        await caller.call(ledger)
        long = asyncio.ensure_future(caller.call(ledger, sleep_s=2.0))
        await ledger.until("start", where=lambda fact: fact.text.startswith("long"))
        await mesh.replace_coordinator()
        with pytest.raises(grpc.aio.AioRpcError) as ended:
            await long
        assert ended.value.code() is grpc.StatusCode.UNAVAILABLE
        # Long before its connection would have been renewed.
        assert await process.wait(timeout_s=ENDED_S) == 0
        await caller.call(ledger)
    finally:
        await caller.close()


@soak
async def test_many_hand_overs_in_a_row(mesh: MeshHarness) -> None:
    await begin(mesh)
    longest_s = await replaced_under_load(mesh, 20)
    assert longest_s < 5.0
