"""Pools of processes in tests: coordinators that may start them, what runs of them, and that nothing is left in the end."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import tempfile
import time
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from tests.support.mesh import PROBE_AGENT, MeshHarness
from tests.support.processes import ROOT, until
from tests.support.redis_server import RedisServer
from weft.client import Mesh, Pool, PoolTemplate
from weft.coordinator.pools.processes.kept_process import marked

# Of a keeper by itself. A keeper kills what an earlier one of its mesh has left on this machine: another process of tests has another mesh.
MESH_ID = uuid.uuid4().hex[:12]
ALONE_S = 8
PROBE = PoolTemplate(program=PROBE_AGENT, folder=str(ROOT), slots=2, stop_grace_s=5)


class PooledMachine:
    """The folder of the keepers of one test."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def settings(self) -> dict[str, Any]:
        """Of coordinators."""
        return {"pool_providers": "process", "pool_folder": self.folder, "pool_alone_s": ALONE_S}

    def keepers(self) -> list[int]:
        """The pids of the keepers that have been started."""
        texts = [path.read_text().strip() for path in self.folder.glob("*.lock")]
        return [int(text) for text in texts if text]

    def members(self) -> dict[int, str]:
        """All processes that members are, or have started: pid, and member."""
        return {pid: member for pid, member, _ in self._marked() if not member.startswith(".")}

    def fork_servers(self) -> list[int]:
        """The processes that fork members."""
        found = {pid: parent for pid, member, parent in self._marked() if member.startswith(".")}
        # Their children are theirs for a moment, until they are members.
        return [pid for pid, parent in found.items() if parent not in found]

    def _marked(self) -> list[tuple[int, str, int]]:
        meshes = [path.stem for path in self.folder.glob("*.lock")]
        return [each for mesh in meshes for each in marked(mesh)]

    def signal_keepers(self, number: signal.Signals) -> None:
        for pid in self.keepers():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def kill_keepers(self) -> None:
        self.signal_keepers(signal.SIGKILL)

    async def wait_empty(self, timeout_s: float = 10.0) -> None:
        await until(lambda: not self.members(), "no process of a pool is left", timeout_s=timeout_s)


@contextlib.contextmanager
def machine() -> Iterator[PooledMachine]:
    """In the end, all is killed."""
    # A socket's path is short.
    folder = Path(tempfile.mkdtemp(prefix="wp-"))
    made = PooledMachine(folder)
    try:
        yield made
    finally:
        made.kill_keepers()
        ends_at = time.monotonic() + 5
        while made.members() and time.monotonic() < ends_at:
            time.sleep(0.05)
        shutil.rmtree(folder, ignore_errors=True)


@asynccontextmanager
async def pooled(
    folder: Path, store: str = "embedded"
) -> AsyncIterator[tuple[PooledMachine, list[MeshHarness]]]:
    """Coordinators that may start processes: one on a file, or two on a Redis."""
    async with contextlib.AsyncExitStack() as stack:
        here = stack.enter_context(machine())
        meshes = [await stack.enter_async_context(MeshHarness(folder))]
        if store == "redis":
            (folder / "other").mkdir()
            server = await stack.enter_async_context(RedisServer(folder / "redis"))
            meshes.append(await stack.enter_async_context(MeshHarness(folder / "other")))
            for mesh in meshes:
                mesh.store = server.url
        for mesh in meshes:
            await mesh.coordinator(**here.settings)
        if store == "redis":
            targets = ",".join(mesh.target for mesh in meshes)
            for mesh in meshes:
                await mesh.restart_coordinator(pool_target=targets)
        yield here, meshes


async def stands(mesh: Mesh, name: str, size: int, *, within_s: float = 20.0) -> Pool:
    """Wait until a pool has its size, all ready."""
    ends_at = time.monotonic() + within_s
    while True:
        pool = await mesh.pools.wait_ready(name, timeout_s=max(0.1, ends_at - time.monotonic()))
        if pool.ready == size == len(pool.members):
            return pool
