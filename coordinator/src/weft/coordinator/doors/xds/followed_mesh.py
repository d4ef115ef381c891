"""Follows the fleet of one mesh for the streams that are told of it: one look for each change, however many streams there are, and none without a change."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence

from weft.coordinator.doors.xds.callable_services import is_undialled
from weft.coordinator.doors.xds.mesh_versions import MeshVersion, MeshVersions
from weft.coordinator.namespaces.namespace import Namespace
from weft.rpc import refusals
from weft.rpc.contracts import descriptors
from weft.rpc.errors import WeftError
from weft.rpc.process.logs import get_logger
from weft.v1 import fleet_pb2

log = get_logger(__name__)

# After a version was made, so many times as long nothing is looked at.
REST = 4


class FollowedMesh:
    """A mesh. It is followed from `start` until its discovery ends.

    Attributes:
        ended: why it is not followed any more; None: it is.
    """

    def __init__(self, mesh: Namespace, *, shows_certificate: bool) -> None:
        self.mesh = mesh
        self._discovery = mesh.discovery
        self._versions = MeshVersions(self._may_run_twice, shows_certificate=shows_certificate)
        self.ended: WeftError | None = None
        self._listeners: set[Callable[[], None]] = set()
        self._task: asyncio.Task[None] | None = None
        # Agents whose addresses no client of gRPC takes, as the log has them.
        self._undialled: dict[str, str] = {}

    @property
    def version(self) -> MeshVersion:
        """The newest version."""
        return self._versions.latest

    def start(self) -> None:
        self._take(self._discovery.agents())
        self._task = asyncio.get_running_loop().create_task(self._follow(), name="xds")

    def listen(self, changed: Callable[[], None]) -> None:
        """Tell a stream of new versions, and of the end."""
        self._listeners.add(changed)

    def leave(self, changed: Callable[[], None]) -> bool:
        """Tell a stream no more. True: it was the last one."""
        self._listeners.discard(changed)
        return not self._listeners

    async def come_back(self) -> None:
        """Wait for the agents of before this process' start, as long as they may take. A client that knows them must not be told fewer."""
        await self._discovery.come_back()

    def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()

    def end(self, why: WeftError) -> None:
        """End its streams."""
        if self.ended is None:
            self.ended = why
        self.stop()
        self._tell()

    async def _follow(self) -> None:
        try:
            async for agents in self._discovery.snapshots():
                began_s = time.perf_counter()
                if self._take(agents):
                    self._tell()
                # A large fleet that changes all the time must leave the loop to others.
                await asyncio.sleep(REST * (time.perf_counter() - began_s))
        except Exception:
            log.exception("xds.follow_failed")
        self.end(self._discovery.ended or refusals.stopping("the fleet is not followed any more; ask again"))

    def _take(self, agents: Sequence[fleet_pb2.Agent]) -> bool:
        changed = self._versions.take(agents)
        if changed:
            found = {agent.id: agent.advertised_address for agent in agents if is_undialled(agent)}
            for agent_id in found.keys() - self._undialled.keys():
                log.warning("xds.agent_left_out", agent_id=agent_id, address=found[agent_id])
            self._undialled = found
        return changed

    def _may_run_twice(self, method: str) -> bool:
        info = self.mesh.find_method(method)
        return info is not None and descriptors.may_run_twice(info.descriptor)

    def _tell(self) -> None:
        for changed in self._listeners:
            changed()
