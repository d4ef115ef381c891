"""Tests of agents and clients, without processes: handlers alone, and a mesh in the test's own process.

    from weft.testing import mesh_of, run_handler

    async def test_the_handler() -> None:
        reply = await run_handler(Greeter().Greet, GreetRequest(name="Ada"))
        assert reply.text == "Hello Ada"

    async def test_a_task_that_starts_in_an_hour() -> None:
        async with mesh_of(agent) as mesh:
            greet = methods(GreeterStub).Greet
            handle = await mesh.tasks.submit(greet, GreetRequest(name="Ada"), delay_s=3600)
            assert (await handle.result()).text == "Hello Ada"

`mesh_of`
    a coordinator and agents in this process, with a client of them (`LocalMesh`) and a clock that jumps (`MeshClock`).
`sync_mesh_of`
    the same for tests without asyncio, with a client of `weft.client.sync`.
`weft_mesh`, `weft_sync_mesh`
    fixtures for pytest, which give a mesh of the agents of the fixture `weft_agents`.
`run_handler`, `run_handler_sync`, `handler_outcome`
    run one handler, without any mesh.

Nothing is imported before it is used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from weft.testing.handler_outcomes import HandlerOutcome, handler_outcome, run_handler, run_handler_sync
    from weft.testing.local_mesh import LocalMesh, mesh_of
    from weft.testing.mesh_clock import MeshClock
    from weft.testing.sync_local_mesh import SyncLocalMesh, SyncMeshClock, sync_mesh_of
    from weft.testing.unit_run import HandlerTask

# Name -> the module that has it.
_PLACES = {
    "HandlerOutcome": "handler_outcomes",
    "HandlerTask": "unit_run",
    "LocalMesh": "local_mesh",
    "MeshClock": "mesh_clock",
    "SyncLocalMesh": "sync_local_mesh",
    "SyncMeshClock": "sync_local_mesh",
    "handler_outcome": "handler_outcomes",
    "mesh_of": "local_mesh",
    "run_handler": "handler_outcomes",
    "run_handler_sync": "handler_outcomes",
    "sync_mesh_of": "sync_local_mesh",
}

__all__ = [
    "HandlerOutcome",
    "HandlerTask",
    "LocalMesh",
    "MeshClock",
    "SyncLocalMesh",
    "SyncMeshClock",
    "handler_outcome",
    "mesh_of",
    "run_handler",
    "run_handler_sync",
    "sync_mesh_of",
]


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_PLACES[name]}"), name)


def __dir__() -> list[str]:
    return [*globals(), *__all__]
