"""The agent's clients of its own mesh. A client is made at a handler's first use, and closed with the agent.

The client library is imported then too: most agents never call others.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypedDict

from weft.agent.errors import SandboxError
from weft.rpc.payloads.payload_options import Payloads
from weft.rpc.process.logs import get_logger
from weft.rpc.security.tls import Tls

if TYPE_CHECKING:
    from weft.client import Mesh
    from weft.client.sync import SyncMesh
    from weft.client.sync.background_loop import BackgroundLoop
    from weft.rpc.balancing import Balancer

_log = get_logger("weft.agent")

# Time for the calls that are open when the agent ends.
CLOSE_TIMEOUT_S = 1.0


class _How(TypedDict):
    """How the agent's coordinators are reached: arguments of `connect`."""

    use_proxy: bool
    max_message_bytes: int
    tls: Tls | Literal[False]
    token: str | Path
    payloads: Payloads | Literal[False]
    namespace: str


class MeshClients:
    """The clients of one agent, or of one of its isolated processes.

    Args:
        targets: the agent's coordinators.
        use_proxy: reach them by the environment's proxy.
        max_message_bytes: largest request or response of a direct call.
        tls: the agent's.
        token: the agent's, or the file that has it; an empty path: neither.
        payloads: how the agent codes payloads; None: it does not.
        namespace: the agent's; empty: it names none.
    """

    def __init__(
        self,
        targets: Sequence[str],
        *,
        use_proxy: bool,
        max_message_bytes: int,
        tls: Tls | None = None,
        token: str | Path = Path(),
        payloads: Payloads | None = None,
        namespace: str = "",
    ) -> None:
        self._token, self._namespace = token, namespace
        self._payloads = payloads
        self._targets = tuple(targets)
        self._use_proxy = use_proxy
        self._max_message_bytes = max_message_bytes
        # Without authorities, its connections are plain; the environment is the agent's, which its settings have read.
        self._tls: Tls | Literal[False] = tls if tls is not None and tls.dials else False
        # The agent's event loop, where its handlers run. An isolated process has none while a sync handler runs.
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = threading.current_thread()
        self._making = threading.RLock()
        self._has_network = True
        self._mesh: Mesh | None = None
        self._sync_mesh: SyncMesh | None = None

    def __reduce__(self) -> tuple[object, ...]:
        # An isolated process makes clients of its own.
        return _make, (self._targets, self._how(), self._has_network)

    def without_network(self) -> MeshClients:
        """Clients of a process that reaches nobody: they have no token, keys or addresses, and say so at their use."""
        made = MeshClients((), use_proxy=False, max_message_bytes=self._max_message_bytes)
        made._has_network = False
        return made

    def enter(self, loop: asyncio.AbstractEventLoop | None = None) -> None:
        """Make these the clients in the current contextvars context and its children.

        Args:
            loop: the agent's event loop, which runs as long as its handlers.
        """
        self._loop = loop
        self._thread = threading.current_thread()
        _clients.set(self)

    @property
    def mesh(self) -> Mesh:
        """The asynchronous client; it belongs to the event loop on which it is first used."""
        with self._making:
            if self._mesh is None:
                from weft.client import connect

                self._need_network()
                self._mesh = connect(self._targets, **self._how())
            return self._mesh

    @property
    def sync_mesh(self) -> SyncMesh:
        """The same client for threads: its work is done on the agent's event loop.

        Raises:
            WrongThread: it is used on the event loop, which it would block.
        """
        from weft.client.sync import SyncMesh, WrongThread, connect
        from weft.client.sync.background_loop import BackgroundLoop

        if self._loop is not None and threading.current_thread() is self._thread:
            raise WrongThread(
                "sync_mesh is for plain `def` handlers, in threads: an `async def` one has `mesh`"
            )
        self._need_network()
        with self._making:
            if self._sync_mesh is not None:
                return self._sync_mesh
            if self._loop is None:
                self._sync_mesh = connect(self._targets, **self._how())
            else:
                self._sync_mesh = SyncMesh(self.mesh, BackgroundLoop.of(self._loop, self._thread))
            return self._sync_mesh

    def mesh_of_steps(self, *, blocking: bool) -> Mesh:
        """The asynchronous client that records the steps of a handler, or of one in a thread (`blocking`)."""
        from weft.client.step_access import behind

        return behind(self._sync_mesh)[0] if blocking and self._sync_mesh is not None else self.mesh

    @property
    def loop_of_steps(self) -> BackgroundLoop:
        """The loop of that client, for threads.

        Raises:
            WrongThread: this is its own thread.
        """
        from weft.client.step_access import behind

        return behind(self.sync_mesh)[1]

    def _need_network(self) -> None:
        if not self._has_network:
            raise SandboxError(
                "the sandbox of this handler has no network, so it cannot call the mesh: give it isolate=Sandbox(network=True)"
            )

    def _how(self) -> _How:
        return {
            "use_proxy": self._use_proxy,
            "max_message_bytes": self._max_message_bytes,
            "tls": self._tls,
            "token": self._token,
            "payloads": self._payloads or False,
            "namespace": self._namespace,
        }

    @property
    def balancers(self) -> Sequence[Balancer]:
        """Those of the direct channels that handlers use. From any thread."""
        return () if self._mesh is None else self._mesh.balancers

    async def close(self) -> None:
        """Close the clients that were made."""
        if self._mesh is None:
            return
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT_S):
                await self._mesh.close()
        except Exception as error:  # The agent must end in any case.
            _log.warning("mesh_client.close_failed", error=repr(error))


def _make(targets: Sequence[str], how: _How, has_network: bool) -> MeshClients:
    made = MeshClients(
        targets,
        use_proxy=how["use_proxy"],
        max_message_bytes=how["max_message_bytes"],
        tls=how["tls"] or None,
        token=how["token"],
        payloads=how["payloads"] or None,
        namespace=how["namespace"],
    )
    return made if has_network else made.without_network()


_clients: ContextVar[MeshClients] = ContextVar("weft_mesh_clients")


def own_clients() -> MeshClients | None:
    """The clients of the agent that runs this code. None if no agent runs it."""
    return _clients.get(None)
