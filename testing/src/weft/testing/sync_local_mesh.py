"""`sync_mesh_of`: as `mesh_of`, for tests without asyncio. The mesh runs on the event loop of `weft.client.sync`."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from typing import Any

from weft.agent import Agent
from weft.client.sync import SyncMesh
from weft.client.sync.background_loop import BackgroundLoop
from weft.testing.local_mesh import LocalMesh, mesh_of
from weft.testing.mesh_clock import MeshClock


class SyncMeshClock:
    """The mesh's clock, from any thread."""

    def __init__(self, clock: MeshClock, loop: BackgroundLoop) -> None:
        self._clock = clock
        self._loop = loop

    def now(self) -> float:
        """Seconds since the epoch, in the mesh."""
        return self._clock.now()

    def advance(self, seconds: float) -> None:
        """Let so much time pass in the mesh, now; see `MeshClock.advance`."""
        self._loop.run(lambda: self._clock.advance(seconds))


class SyncLocalMesh(SyncMesh):
    """A client of the mesh under test, with its clock and its agents."""

    def __init__(self, mesh: LocalMesh, loop: BackgroundLoop) -> None:
        super().__init__(mesh, loop)
        self.clock = SyncMeshClock(mesh.clock, loop)
        self._local = mesh

    @property
    def agents(self) -> list[Agent]:
        """The agents that run in it."""
        return self._local.agents

    def add(self, *agents: Agent) -> None:
        """Run further agents, and wait until they take tasks and direct calls; see `LocalMesh.add`."""
        self._loop.run(lambda: self._local.add(*agents))

    def remove(self, agent: Agent, *, drain: bool = False) -> None:
        """Stop an agent; see `LocalMesh.remove`."""
        self._loop.run(lambda: self._local.remove(agent, drain=drain))


@contextlib.contextmanager
def sync_mesh_of(*agents: Agent, skip_idle_time: bool = True, **settings: Any) -> Iterator[SyncLocalMesh]:
    """As `mesh_of`, for tests without asyncio; async handlers run in another thread than the test.

    with sync_mesh_of(agent) as mesh:
        handle = mesh.tasks.submit(methods(GreeterStub).Greet, GreetRequest(name="Ada"), delay_s=3600)
        assert handle.result().text == "Hello Ada"
    """
    loop = BackgroundLoop.shared()
    made = mesh_of(*agents, skip_idle_time=skip_idle_time, **settings)
    mesh = loop.run(made.__aenter__)
    try:
        yield SyncLocalMesh(mesh, loop)
    finally:
        error = sys.exc_info()[1]
        loop.run(lambda: made.__aexit__(None if error is None else type(error), error, None))
