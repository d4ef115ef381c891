"""How much work the mesh has for the agents of a pool: the reckoning of KEDA's door, over the queues that any client may list."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, NamedTuple

from weft.coordinator.doors.keda.present_work import QueueLook, present_work
from weft.coordinator.store.records import QueueDepth
from weft.coordinator.store.rules import QueueKey
from weft.rpc.errors import DeadlineExceeded, Unavailable, WeftError

if TYPE_CHECKING:
    from weft.client import Mesh, Queue
    from weft.coordinator.doors.keda.scaler_metadata import FollowedWork

_CALL_S = 5.0


class NotRead(NamedTuple):
    """The queues could not be read.

    Attributes:
        reason: of the condition that says so.
        message: what happened.
    """

    reason: str
    message: str


def tasks_of(work: FollowedWork, queues: Sequence[Queue]) -> int:
    """How many tasks run, or could run if there were more agents."""
    depths = {
        # Only the text of requirements is compared.
        QueueKey(each.method, each.requirements): QueueDepth(  # type: ignore[arg-type]
            queued=each.queued, running=each.running, limited=each.limited
        )
        for each in queues
    }
    paused = {each.method for each in queues if each.paused}
    return present_work(work, QueueLook(depths, paused, 0.0), lambda _: True).tasks


def replicas_for(work: FollowedWork, tasks: int) -> int:
    """How many agents so many tasks are for."""
    return math.ceil(tasks / work.tasks_per_replica)


class MeshQueues:
    """Asks the coordinator, with a connection for each namespace of the mesh. Close it.

    Args:
        target: the coordinator's address; who asks is said by variables, as for each client.
    """

    def __init__(self, target: str, *, use_proxy: bool = False) -> None:
        self._target = target
        self._use_proxy = use_proxy
        self._meshes: dict[str, tuple[Mesh, AsyncExitStack]] = {}

    async def read(self, namespace: str) -> Sequence[Queue] | NotRead:
        """The queues of a namespace now; empty: the one of the variable WEFT_NAMESPACE or of the token, or the default one."""
        try:
            mesh = await self._mesh(namespace)
            return await mesh.fleet.queues()
        except (Unavailable, DeadlineExceeded) as error:
            return NotRead("CoordinatorAway", f"the coordinator at {self._target} does not answer: {error}")
        except WeftError as error:
            return NotRead(
                "QueuesRefused", f"the coordinator at {self._target} does not tell its queues: {error}"
            )

    async def _mesh(self, namespace: str) -> Mesh:
        from weft.client import connect

        if namespace not in self._meshes:
            stack = AsyncExitStack()
            made = connect(
                self._target,
                timeout_s=_CALL_S,
                patience_s=_CALL_S,
                use_proxy=self._use_proxy,
                namespace=namespace or None,
            )
            self._meshes[namespace] = (await stack.enter_async_context(made), stack)
        return self._meshes[namespace][0]

    async def keep(self, namespaces: set[str]) -> None:
        """Close the connections of all other namespaces."""
        for namespace in self._meshes.keys() - namespaces:
            await self._meshes.pop(namespace)[1].aclose()

    async def close(self) -> None:
        """Close all connections."""
        await self.keep(set())
