"""Sticky sessions as a part of a mesh."""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable
from typing import Any

from weft.coordinator.fleet.agent_register import AgentRegister
from weft.coordinator.mesh_part import MeshPart
from weft.coordinator.settings import CoordinatorSettings
from weft.coordinator.sticky.sticky_moves import StickyMoves
from weft.coordinator.sticky.sticky_service import StickySessionService, answer_of
from weft.coordinator.sticky.sticky_sessions import StickySessions
from weft.coordinator.sticky.sticky_table import KIND, MOVES_KIND
from weft.coordinator.store.base import Store
from weft.rpc.calls.session_keys import StickyCall
from weft.rpc.errors import WeftError
from weft.rpc.identity.edge import Edge
from weft.v1 import sticky_pb2, sticky_pb2_grpc


class StickyPart(MeshPart):
    """The sticky sessions of a mesh. Without any, it costs a look at the queues each second.

    Args:
        look: reads the store's news of agents.
        hasten: called when a pass is due at once.
    """

    def __init__(
        self,
        store: Store,
        register: AgentRegister,
        settings: CoordinatorSettings,
        edge: Edge,
        look: Callable[[], Awaitable[None]],
        hasten: Callable[[], None],
    ) -> None:
        self.sessions = StickySessions(store, register, look, settings.session_grace_s)
        self._table = self.sessions.table
        self._hasten = hasten
        self._moves = StickyMoves(store, register, self.sessions)
        self._service = StickySessionService(store, self.sessions, edge)

    async def find(self, method: str, call: StickyCall) -> sticky_pb2.FindStickySessionResponse:
        """The agent of a direct call's session, for a balancer in this process. Raises: as FindStickySession says."""
        return answer_of(await self.sessions.find(method, call), call)

    def add_to(self, server: Any) -> None:
        sticky_pb2_grpc.add_StickySessionServiceServicer_to_server(self._service, server)

    async def stop(self, why: WeftError | None) -> None:  # noqa: ARG002  # nobody waits here
        # The store may be away: then sessions that were used last end a little earlier.
        with contextlib.suppress(WeftError):
            await self._table.keep_house()

    def rows_changed(self, kind: str) -> bool:
        if kind == KIND:
            self._table.rows_changed()
        elif kind == MOVES_KIND:
            self._table.forget()
        return False

    def fleet_moved(self) -> None:
        if self._moves.queues():
            self._hasten()

    async def keep_house(self, now_s: float) -> None:
        await self._table.keep_house()
        await self._moves.run_once(now_s)
