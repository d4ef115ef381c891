"""Whichever coordinator is killed while one takes the other's place, and whenever: no task is lost, and callers that retry get their answers."""

from __future__ import annotations

import asyncio

import pytest

from tests.support.loaded_mesh import loaded
from tests.support.mesh import MeshHarness
from tests.support.processes import until
from tests.support.redis_server import RedisServer
from tests.support.soak import SOAKS
from weft.coordinator.handover import port_sockets

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.skipif(not port_sockets.can_share(), reason="ports are handed over on Linux alone"),
]

# After it has begun, a hand-over of a file takes 0.15 s: the store is closed after 0.1 s.
MOMENTS_S = [number * 0.02 for number in range(10)] if SOAKS else [0.03, 0.12]


async def killed(mesh: MeshHarness, victim: str, moment_s: float) -> None:
    """Begin a hand-over, kill one of the two, and leave it to the other one. If that one was about to end, start another, as a supervisor does."""
    before = mesh.coordinator_process
    assert before is not None
    begun, taken = (before.output().count(f'"handover.{event}"') for event in ("begun", "taken"))
    starting = asyncio.ensure_future(mesh.replace_coordinator())
    await until(lambda: before.output().count('"handover.begun"') > begun, "a hand-over has begun")
    await asyncio.sleep(moment_s)
    if victim == "predecessor":
        await before.kill()
        await starting
        return
    successor = mesh.coordinator_process
    assert successor is not None
    await successor.kill()
    starting.cancel()
    await asyncio.gather(starting, return_exceptions=True)
    if before.output().count('"handover.taken"') > taken:
        await mesh.replace_coordinator()
    else:
        mesh.others.append(successor)
        mesh.coordinator_process = before


async def rounds(mesh: MeshHarness) -> None:
    await mesh.coordinator(connection_age_s=0.5)
    await mesh.agent("a1", slots=12)
    await mesh.wait_serving()
    async with loaded(mesh, mesh.target, retries=True, kills=True) as some_more:
        await some_more("at the beginning")
        for victim in ("predecessor", "successor"):
            for moment_s in MOMENTS_S:
                await killed(mesh, victim, moment_s)
                await mesh.wait_agent("a1")
                await some_more(f"after the {victim} was killed at {moment_s}")


async def test_nothing_is_lost_by_a_kill_in_the_midst_of_a_hand_over_of_a_file(mesh: MeshHarness) -> None:
    await rounds(mesh)


async def test_nothing_is_lost_by_a_kill_in_the_midst_of_a_hand_over_on_a_redis(mesh: MeshHarness) -> None:
    async with RedisServer(mesh.folder / "redis") as redis:
        mesh.store = redis.url
        await rounds(mesh)
        await mesh.close()
