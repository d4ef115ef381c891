"""Coordinators of two versions, under load: one takes the other's place and the other way round, on a file and on a Redis; side by side on a Redis; and
one after the other where no place can be taken. No task is lost, none runs twice, and no call of a stock client fails."""

from __future__ import annotations

import asyncio

import pytest

from tests.support.loaded_mesh import loaded
from tests.support.mesh import MeshHarness
from tests.support.previous_version import PreviousVersion
from tests.support.processes import Process, until
from tests.support.redis_server import RedisServer, free_port
from weft.coordinator.handover import port_sockets

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(240),
    pytest.mark.skipif(not port_sockets.can_share(), reason="coordinators leave in order on Linux alone"),
]

# Connections are renewed so soon that a predecessor has ended in a moment.
AGE_S = 0.5


# The first start from the wheel compiles what it imports.
FIRST_START_S = 90.0


@pytest.fixture(scope="module")
def previous(tmp_path_factory: pytest.TempPathFactory) -> PreviousVersion:
    return PreviousVersion(tmp_path_factory.mktemp("previous"))


async def serving(process: Process) -> None:
    """Wait until a coordinator, whose log is its own, serves."""
    await until(
        lambda: '"coordinator.ready"' in process.output() or not process.alive,
        f"{process.name} serves",
        timeout_s=FIRST_START_S,
    )
    assert process.alive, process.output()


async def back_and_forth(mesh: MeshHarness, previous: PreviousVersion) -> None:
    """At one port: the older version takes the newer one's place, and is replaced by it."""
    newer = await mesh.coordinator(connection_age_s=AGE_S)
    await mesh.agent("a1", slots=12)
    await mesh.wait_serving()
    async with loaded(mesh, mesh.target) as some_more:
        await some_more("of the newer version")
        older = previous.coordinator(
            mesh.target, str(mesh.store), mesh.folder / "older.log", "--replace", connection_age_s=AGE_S
        )
        mesh.others.append(older)
        await serving(older)
        await some_more("of the older version")
        assert await newer.wait() == 0, mesh.logs()
        await mesh.replace_coordinator()
        await some_more("of the newer version again")
        assert await older.wait() == 0, mesh.logs()


async def test_a_file_goes_to_the_older_version_and_back_without_a_failed_call(
    mesh: MeshHarness, previous: PreviousVersion
) -> None:
    await back_and_forth(mesh, previous)


async def test_a_redis_goes_to_the_older_version_and_back_without_a_failed_call(
    mesh: MeshHarness, previous: PreviousVersion
) -> None:
    async with RedisServer(mesh.folder / "redis") as redis:
        mesh.store = redis.url
        await back_and_forth(mesh, previous)
        await mesh.close()


async def test_two_versions_share_a_redis_and_either_leaves_without_a_failed_call(
    mesh: MeshHarness, previous: PreviousVersion
) -> None:
    leaves = {"connection_age_s": AGE_S, "drain_s": 10}
    async with RedisServer(mesh.folder / "redis") as redis:
        mesh.store = redis.url
        newer = await mesh.coordinator(**leaves)
        listen = f"127.0.0.1:{free_port()}"
        older = previous.coordinator(listen, redis.url, mesh.folder / "older.log", **leaves)
        mesh.others.append(older)
        await serving(older)
        await mesh.agent("a1", slots=12, target=f"{mesh.target},{listen}")
        await mesh.wait_serving()
        # Callers have both addresses, as those of several coordinators have.
        async with loaded(mesh, f"ipv4:{mesh.target},{listen}") as some_more:
            await some_more("of both")
            assert await newer.terminate() == 0, mesh.logs()
            await mesh.restart_coordinator()
            await some_more("of both again")
            assert await older.terminate() == 0, mesh.logs()
            await some_more("of the newer version")
        await mesh.close()


async def test_callers_retry_until_the_store_is_free_where_no_place_can_be_taken(mesh: MeshHarness) -> None:
    """As with a version before hand-overs, which is stopped while its successor waits."""
    newer = await mesh.coordinator()
    await mesh.agent("a1", slots=12)
    await mesh.wait_serving()
    async with loaded(mesh, mesh.target, retries=True) as some_more:
        await some_more("of the newer version")
        assert await newer.terminate() == 0
        args = ("tests.support.doorless_coordinator", mesh.target, str(mesh.store))
        older = Process.module("older", *args, log=mesh.folder / "older.log")
        mesh.others.append(older)
        await serving(older)
        await mesh.wait_agent("a1")
        await some_more("of the older version")
        starting = asyncio.ensure_future(mesh.replace_coordinator())
        await until(lambda: '"handover.waiting"' in newer.output(), "it waits")
        await some_more("while its successor waits")
        assert await older.terminate() == 0
        await starting
        await mesh.wait_agent("a1")
        await some_more("of the newer version again")
