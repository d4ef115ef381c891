"""Events as a part of a mesh: their service, the feeds of subscribers, and what drops old events."""

from __future__ import annotations

from typing import Any

from weft.coordinator.contracts.contract_catalogue import Contracts
from weft.coordinator.events.event_retention import EventRetention
from weft.coordinator.events.event_service import EventService
from weft.coordinator.events.event_types import EventTypes
from weft.coordinator.events.topic_feed import TopicFeeds
from weft.coordinator.mesh_part import MeshPart
from weft.coordinator.settings import CoordinatorSettings
from weft.coordinator.store.base import Store
from weft.rpc import refusals
from weft.rpc.errors import WeftError
from weft.rpc.identity.edge import Edge


class EventPart(MeshPart):
    """The events of a mesh."""

    def __init__(self, store: Store, contracts: Contracts, settings: CoordinatorSettings, edge: Edge) -> None:
        self.feeds = self._feeds = TopicFeeds(store, settings.max_watchers)
        self._retention = EventRetention(store, settings.event_keep_s)
        types = EventTypes(contracts)
        self._service = EventService(store, types, self._feeds, edge, settings.stalled_stream_s)

    def add_to(self, server: Any) -> None:
        self._service.add_to(server)

    async def stop(self, why: WeftError | None) -> None:
        self._feeds.close(
            why
            or refusals.stopping(
                "the coordinator is stopping; subscribe again after the last cursor", retry_after_s=0.5
            )
        )

    def rows_changed(self, kind: str) -> bool:
        self._feeds.rows_changed(kind)
        self._retention.rows_changed(kind)
        return False

    async def keep_house(self, now_s: float) -> None:
        await self._retention.run_once(now_s)
