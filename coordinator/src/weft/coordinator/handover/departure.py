"""How a coordinator leaves: it serves those who are connected, until they have moved. Their connections are renewed, which leads them elsewhere."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

from weft.coordinator.calls.moved_calls import Moved
from weft.coordinator.handover import port_sockets
from weft.coordinator.handover.departing import Departing
from weft.coordinator.namespaces.namespace import Namespace
from weft.rpc import refusals
from weft.rpc.errors import WeftError
from weft.rpc.process.logs import get_logger

log = get_logger(__name__)

# How often it is looked whether callers are still connected, and whether calls are still under way.
LOOK_S = 1.0
FINISHED_S = 0.005


class Departure:
    """The leaving of one coordinator.

    Args:
        calls: those that arrive meanwhile.
        meshes: all that are open.
        shared: they have a store that others have, too.
        port: the coordinator's.
        sockets: at which it listens there.
    """

    def __init__(
        self,
        calls: Departing,
        meshes: Callable[[], Iterable[Namespace]],
        *,
        shared: bool,
        port: int,
        sockets: frozenset[int],
    ) -> None:
        self._calls, self._meshes, self._shared, self._port = calls, meshes, shared, port
        self._sockets = sockets
        # Ends what waits here for tasks that the successor has.
        self.moved: Moved | None = None

    def begin(self) -> None:
        """The successor has bound the port, and gets all new connections. If the store is not shared, new calls wait for it here."""
        if not port_sockets.send_newcomers_on(self._sockets):
            log.warning(
                "handover.port_spread",
                effect="some new connections come here until the end, and are passed on",
            )
        if not self._shared:
            self._calls.hold()
            self.moved = Moved(self._calls.successor)

    async def finish_calls(self, grace_s: float) -> None:
        """Wait for calls of hosted methods that are under way, at most so long."""
        now_s = asyncio.get_running_loop().time
        ends_at_s = now_s() + grace_s
        while any(mesh.calls_in_flight for mesh in self._meshes()) and now_s() < ends_at_s:  # noqa: ASYNC110 - who counts them need not know of this
            await asyncio.sleep(FINISHED_S)

    async def leave(self, relay: str, leave_s: float) -> None:
        """Serve who is still connected, until all have moved to the successor or the time is over.

        Args:
            relay: where the successor takes the calls of those who are connected here; empty: nowhere. With a shared store they are served here.
        """
        log.info("coordinator.leaving", timeout_s=leave_s)
        # The queue of those who came before the successor is empty long since.
        port_sockets.stop_listening(self._sockets)
        if self._shared:
            for mesh in self._meshes():
                await mesh.release_agents(_moved())
        elif relay:
            self._calls.pass_on(relay)
        else:
            # Nobody can be served: the end of the port makes clients dial again at once.
            self._calls.fail(_moved())
            return
        now_s = asyncio.get_running_loop().time
        ends_at_s = now_s() + leave_s
        while (left_s := ends_at_s - now_s()) > 0.0:
            if not await asyncio.to_thread(port_sockets.connections, self._port):
                return
            await asyncio.sleep(min(LOOK_S, left_s))
        log.info("coordinator.left_connections", count=port_sockets.connections(self._port))

    async def drain(self, drain_s: float, grace_s: float) -> None:
        """Leave without a successor in this place: other coordinators have the same store."""
        for mesh in self._meshes():
            mesh.not_serving()
        await self.leave("", drain_s)
        await self.finish_calls(grace_s)

    def fail(self) -> None:
        """There is no successor after all: calls that wait for it end."""
        self._calls.fail(_moved())

    def end(self) -> None:
        """The port is about to be closed."""
        if self.moved is not None:
            self.moved.over = True

    async def ended(self) -> None:
        """The port is closed."""
        await self._calls.close()


def _moved() -> WeftError:
    return refusals.stopping("another coordinator takes over; dial again", retry_after_s=0.0)
