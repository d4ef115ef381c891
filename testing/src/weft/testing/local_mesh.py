"""`mesh_of`: a coordinator and agents in this process, on this event loop.

Only time is replaced. gRPC goes over loopback. The embedded store has a temporary folder, in memory if the system has a
file system there.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

from weft.agent import Agent
from weft.client import DirectState, Mesh
from weft.client.api import DEFAULT_TIMEOUT_S
from weft.client.mesh import DEFAULT_PATIENCE_S
from weft.coordinator.server import Coordinator
from weft.coordinator.settings import CoordinatorSettings, checked_settings
from weft.coordinator.store.embedded.embedded_store import EmbeddedLimits, EmbeddedStore
from weft.rpc.times import MAX_DURATION_S
from weft.testing.mesh_clock import MeshClock

# How long an agent may take to be connected, and a mesh to end.
START_S = 10.0
STOP_GRACE_S = 1.0
_LOOK_S = 0.002
# Results are kept long: else a jump over hours could expire results that a test has not read yet.
_DEFAULTS: dict[str, Any] = {
    "listen": "127.0.0.1:0",
    "recovery_grace_s": 0.0,
    "stop_grace_s": STOP_GRACE_S,
    "result_ttl_s": MAX_DURATION_S,
    "failure_ttl_s": MAX_DURATION_S,
}
_IN_MEMORY = "/dev/shm"  # noqa: S108 - a folder of its own is made there


class _GivenSettings(CoordinatorSettings):
    """A coordinator's settings without the environment: a test is the same everywhere."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: Any,  # noqa: ARG003
        init_settings: Any,
        env_settings: Any,  # noqa: ARG003
        dotenv_settings: Any,  # noqa: ARG003
        file_secret_settings: Any,  # noqa: ARG003
    ) -> tuple[Any, ...]:
        return (init_settings,)


class LocalMesh(Mesh):
    """A client of the mesh under test, with its clock and its agents."""

    def __init__(self, coordinator: Coordinator, clock: MeshClock) -> None:
        super().__init__(
            coordinator.address, timeout_s=DEFAULT_TIMEOUT_S, patience_s=DEFAULT_PATIENCE_S, tls=False
        )
        self.clock = clock
        self._coordinator = coordinator
        self._running: dict[Agent, tuple[asyncio.Task[None], contextlib.ExitStack]] = {}

    @property
    def agents(self) -> list[Agent]:
        """The agents that run in it."""
        return list(self._running)

    async def add(self, *agents: Agent) -> None:
        """Run further agents, and wait until they take tasks and direct calls.

        Raises:
            WeftError: one cannot run, as `Agent.serve` says.
            TimeoutError: one was not connected in time.
        """
        for agent in agents:
            kept = contextlib.ExitStack()
            kept.enter_context(_settings_for(agent, self.target))
            task = asyncio.get_running_loop().create_task(agent.serve(), name=f"agent-{agent.id}")
            self._running[agent] = (task, kept)
        for agent in agents:
            await self._wait_for(agent)

    async def remove(self, agent: Agent, *, drain: bool = False) -> None:
        """Stop an agent; its tasks go back to the queue.

        Args:
            drain: its running handlers have the agent's drain grace to end.
        """
        task, kept = self._running.pop(agent)
        with kept:
            agent.stop()
            if not drain:
                agent.stop()
            await task

    async def _wait_for(self, agent: Agent) -> None:
        task, _ = self._running[agent]
        ends_at_s = time.monotonic() + START_S
        while not await self._serves(agent):
            if task.done():
                # Its exception, if it raised one.
                await task
                raise RuntimeError(f"agent {agent.id} ended before it was connected")
            if time.monotonic() > ends_at_s:
                raise TimeoutError(f"agent {agent.id} was not connected within {START_S:g} s")
            await asyncio.sleep(_LOOK_S)

    async def _serves(self, agent: Agent) -> bool:
        """Whether it gets tasks, and direct calls find it."""
        if not self._coordinator.default.takes_work(agent.id):
            return False
        if not agent.direct_address:
            return True
        known = [each for each in await self.fleet.agents() if each.id == agent.id]
        return any(each.direct_state is not DirectState.UNKNOWN for each in known)

    async def stop_agents(self) -> list[BaseException]:
        """Stop all agents at once; gives the errors by which agents ended."""
        for agent in self._running:
            agent.stop()
            agent.stop()
        running, self._running = self._running, {}
        ends: list[BaseException | None] = []
        for task, kept in running.values():
            with kept:
                ends += await asyncio.gather(task, return_exceptions=True)
        return [each for each in ends if each is not None]


@contextlib.asynccontextmanager
async def mesh_of(*agents: Agent, skip_idle_time: bool = True, **settings: Any) -> AsyncIterator[LocalMesh]:
    """Run a mesh of these agents in this process, and give a client of it.

        async with mesh_of(agent) as mesh:
            handle = await mesh.tasks.submit(methods(GreeterStub).Greet, GreetRequest(name="Ada"), delay_s=3600)
            assert (await handle.result()).text == "Hello Ada"

    Async handlers run on this event loop, sync ones in threads, and isolated ones in processes. At the end, handlers that
    still run are cancelled.

    Args:
        skip_idle_time: while a caller waits for a task and none runs or is ready, the clock jumps to the time at which
            the next one is due. False: it jumps by `mesh.clock.advance` alone.
        settings: the coordinator's, by name, such as `cancel_grace_s=1`. The environment is not read for them. Unless set,
            `result_ttl_s` and `failure_ttl_s` are a year.

    Raises:
        WeftError: an agent cannot run, as `Agent.serve` says.
        TimeoutError: an agent was not connected in time.
        InvalidArgument: a setting of the coordinator has a wrong value.
    """
    clock = MeshClock()
    with _folder() as folder:
        given = _DEFAULTS | settings
        made = checked_settings(_GivenSettings, {**given, "store": str(folder / "weft.db")})
        store = _store_of(made, clock)
        coordinator = Coordinator(made, store)
        await coordinator.start()
        clock.attach(coordinator.default, store)
        mesh = LocalMesh(coordinator, clock)
        errors: list[BaseException] = []
        try:
            async with _skipping(clock) if skip_idle_time else contextlib.nullcontext():
                await mesh.add(*agents)
                yield mesh
        finally:
            errors = await mesh.stop_agents()
            await mesh.close()
            await coordinator.stop()
        if errors:
            # An agent failed meanwhile: the test must not pass.
            raise errors[0]


@contextlib.asynccontextmanager
async def _skipping(clock: MeshClock) -> AsyncIterator[None]:
    """Let the clock jump by itself."""
    task = asyncio.get_running_loop().create_task(clock.skip_idle_time(), name="weft-testing-clock")
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def _store_of(settings: CoordinatorSettings, clock: MeshClock) -> EmbeddedStore:
    limits = settings.store_config.limits
    return EmbeddedStore(
        settings.store,
        clock=clock.now,
        recovery_grace_s=settings.recovery_grace_s,
        limits=EmbeddedLimits(limits.max_queues, limits.max_progress, limits.max_progress_bytes),
    )


@contextlib.contextmanager
def _folder() -> Iterator[Path]:
    place = _IN_MEMORY if os.access(_IN_MEMORY, os.W_OK | os.X_OK) else None
    with tempfile.TemporaryDirectory(prefix="weft-testing-", dir=place, ignore_cleanup_errors=True) as folder:
        yield Path(folder)


@contextlib.contextmanager
def _settings_for(agent: Agent, target: str) -> Iterator[None]:
    """Point an agent at the mesh. Restore its settings afterwards."""
    before = agent.settings
    agent.configure(target=target, listen=before.listen or "127.0.0.1:0", tls=False)
    try:
        yield
    finally:
        agent.configure(target=before.target, listen=before.listen, tls=before.tls or False)
