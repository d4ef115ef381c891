"""A client belongs to one event loop. If any part of it is used elsewhere, the error says what to do."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from typing import Any

import pytest

from probe.v1 import probe_pb2_grpc
from probe.v1.probe_pb2 import Payload, ProbeRequest
from tests.support.mesh import MeshHarness
from weft.agent import Agent
from weft.client import Mesh, WrongEventLoop, connect

ECHO = "probe.v1.ProbeService/Echo"


async def _first(items: Any) -> Any:
    async with aclosing(items) as opened:
        return await anext(opened)


def _kept(mesh: Mesh) -> dict[str, Any]:
    """What programs keep of a mesh, made in its loop."""
    return {
        "durable": probe_pb2_grpc.ProbeServiceStub(mesh.channel()),
        "direct": probe_pb2_grpc.ProbeServiceStub(mesh.channel(direct=True)),
    }


async def _requests() -> AsyncIterator[ProbeRequest]:
    yield ProbeRequest(text="x")


Use = Callable[[Mesh, dict[str, Any]], Awaitable[Any]]
USES: dict[str, Use] = {
    "durable stub": lambda _mesh, kept: kept["durable"].Echo(Payload(), timeout=20),
    "direct stub": lambda _mesh, kept: kept["direct"].Echo(Payload(), timeout=20, wait_for_ready=True),
    "stream of requests": lambda _mesh, kept: kept["direct"].Collect(
        _requests(), timeout=20, wait_for_ready=True
    ),
    "submit": lambda mesh, _kept: mesh.tasks.submit(ECHO, b""),
    "handle": lambda _mesh, kept: kept["handle"].result(20),
    "get": lambda mesh, kept: mesh.tasks.get(kept["id"]),
    "watch": lambda mesh, kept: _first(mesh.tasks.watch(kept["id"])),
    "list": lambda mesh, _kept: _first(mesh.tasks.list()),
    "wait": lambda mesh, kept: mesh.tasks.wait([kept["id"]], 20),
    "run_many": lambda mesh, _kept: _first(mesh.tasks.run_many(ECHO, [b""])),
    "submit_many": lambda mesh, _kept: _first(mesh.tasks.submit_many(ECHO, [b""])),
    "agents": lambda mesh, _kept: mesh.fleet.agents(),
    "fleet watch": lambda mesh, _kept: _first(mesh.fleet.watch()),
    "ready": lambda mesh, _kept: mesh.ready(),
    "explain": lambda mesh, _kept: mesh.direct().explain(ECHO, 20),
}


def test_a_mesh_in_a_second_loop_says_so_whatever_is_used(shared_target: str) -> None:
    kept: dict[str, Any] = {}
    mesh = connect(shared_target)

    async def in_its_own_loop() -> None:
        kept.update(_kept(mesh))
        handle = await mesh.tasks.submit(ECHO, b"")
        kept.update(id=handle.id, handle=handle)
        await handle.result(20)
        for name, use in USES.items():
            result = use(mesh, kept)
            assert await asyncio.wait_for(_awaited(result), 20) is not ..., name

    async def elsewhere() -> None:
        for name, use in USES.items():
            with pytest.raises(WrongEventLoop, match=r"has ended\. .*: call connect\(...\) there"):
                await asyncio.wait_for(_awaited(use(mesh, kept)), 5)
                pytest.fail(f"{name} did not complain")
        # Its end harms nobody.
        await mesh.close()

    asyncio.run(in_its_own_loop())
    asyncio.run(elsewhere())
    asyncio.run(_fresh(shared_target))


async def _awaited(result: Any) -> Any:
    return await result


async def _fresh(target: str) -> None:
    async with connect(target) as mesh:
        assert await mesh.fleet.agents()


def test_outside_of_any_loop(shared_target: str) -> None:
    """`connect` alone may stand anywhere: it becomes the first loop's."""
    mesh = connect(shared_target)
    for use in (mesh.channel, lambda: mesh.tasks, lambda: mesh.fleet, lambda: mesh.channel(direct=True)):
        with pytest.raises(WrongEventLoop, match="where no event loop runs"):
            use()

    async def use_it() -> None:
        async with mesh:
            assert await mesh.fleet.agents()

    asyncio.run(use_it())
    with pytest.raises(WrongEventLoop, match="has ended"):
        asyncio.run(use_it())


@pytest.fixture
def shared_target(_module_mesh: MeshHarness) -> str:
    return _module_mesh.target


def test_an_agent_may_run_again_and_not_twice_at_once(shared_target: str) -> None:
    agent = Agent("twice", target=shared_target, slots=1)

    @agent.method("twice.v1.Twice/Echo")
    async def echo(request: dict[str, Any]) -> dict[str, Any]:
        return request

    async def once() -> None:
        run = asyncio.ensure_future(agent.serve())
        while not agent.connected:
            await asyncio.sleep(0.01)
        with pytest.raises(Exception, match="the agent runs already"):
            await agent.serve()
        agent.stop()
        await asyncio.wait_for(run, 20)

    asyncio.run(once())
    asyncio.run(once())
