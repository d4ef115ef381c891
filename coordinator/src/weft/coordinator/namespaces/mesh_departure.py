"""What a mesh does while its coordinator leaves, before it stops."""

from __future__ import annotations

from weft.coordinator.fleet.service_health import ServiceHealth
from weft.coordinator.namespaces.mesh_figures import MeshFigures
from weft.coordinator.sessions.sessions import Sessions
from weft.rpc.errors import WeftError


class MeshDeparture:
    """A mesh that leaves. The mesh makes the parts."""

    figures: MeshFigures
    _health: ServiceHealth
    _sessions: Sessions

    def not_serving(self) -> None:
        """Tell balancers to send their calls elsewhere. Calls go on here."""
        self._health.stop()

    async def release_agents(self, why: WeftError) -> None:
        """End the sessions, and take no more: the agents go on with what they run at another coordinator. Calls go on here."""
        await self._sessions.stop(why)

    @property
    def calls_in_flight(self) -> int:
        """Calls of hosted methods that wait here for their answer."""
        return self.figures.calls_in_flight
