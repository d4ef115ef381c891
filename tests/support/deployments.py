"""Coordinators that a test kills: one on a file, or two on a Redis."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

from tests.support.mesh import MeshHarness
from tests.support.redis_server import RedisServer

Deployment = Callable[[Path], AbstractAsyncContextManager[list[MeshHarness]]]


@asynccontextmanager
async def embedded(folder: Path) -> AsyncIterator[list[MeshHarness]]:
    async with MeshHarness(folder) as mesh:
        await mesh.coordinator()
        yield [mesh]


@asynccontextmanager
async def redis(folder: Path) -> AsyncIterator[list[MeshHarness]]:
    """Two coordinators."""
    other = folder / "other"
    other.mkdir()
    async with RedisServer(folder) as server, MeshHarness(folder) as here, MeshHarness(other) as there:
        here.store = there.store = server.url
        await asyncio.gather(here.coordinator(), there.coordinator())
        yield [here, there]
