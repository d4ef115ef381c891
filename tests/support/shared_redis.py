"""Two coordinators on one Redis."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

from tests.support.mesh import MeshHarness
from tests.support.redis_server import RedisServer


@contextlib.asynccontextmanager
async def two_coordinators(
    mesh: MeshHarness, folder: Path, env: Mapping[str, str] | None = None
) -> AsyncIterator[tuple[MeshHarness, MeshHarness]]:
    """The mesh and another one, each with a coordinator on the same Redis, which has its place in this folder.

    Args:
        env: of both coordinators, beside their settings.
    """
    (folder / "other").mkdir()
    async with RedisServer(folder / "redis") as redis, MeshHarness(folder / "other") as other:
        mesh.store = other.store = redis.url
        other.env = dict(env or {})
        await asyncio.gather(mesh.coordinator(), other.coordinator())
        yield mesh, other
