"""Events as a part of a mesh: their service, the feeds of subscribers, the passes that deliver, and what drops old events."""

from __future__ import annotations

from typing import Any

from weft.coordinator.calls.submission import SubmissionService
from weft.coordinator.contracts.contract_catalogue import Contracts
from weft.coordinator.events.declared_subscriptions import DeclaredSubscriptions
from weft.coordinator.events.delivery_pass import DeliveryPass, OfHook
from weft.coordinator.events.event_codec import MAX_WITH_TASK, new_rows
from weft.coordinator.events.event_retention import EventRetention
from weft.coordinator.events.event_service import EventService
from weft.coordinator.events.event_types import EventTypes
from weft.coordinator.events.subscription_codec import KIND
from weft.coordinator.events.subscription_table import SubscriptionTable
from weft.coordinator.events.topic_feed import TopicFeeds
from weft.coordinator.identity.makers import Makers
from weft.coordinator.mesh_part import MeshPart
from weft.coordinator.pass_runner import PassRunner
from weft.coordinator.settings import CoordinatorSettings
from weft.coordinator.store.base import Store
from weft.coordinator.store.event_store import topic_of
from weft.rpc import refusals
from weft.rpc.errors import WeftError
from weft.rpc.identity.edge import Edge


class EventPart(MeshPart):
    """The events of a mesh."""

    def __init__(
        self,
        store: Store,
        contracts: Contracts,
        submissions: SubmissionService,
        settings: CoordinatorSettings,
        edge: Edge,
        makers: Makers,
    ) -> None:
        self.feeds = TopicFeeds(store, settings.max_watchers)
        self._retention = EventRetention(store, settings.event_keep_s)
        types = EventTypes(contracts)
        self._service = EventService(store, contracts, types, self.feeds, edge, settings.stalled_stream_s)
        submissions.event_rows = lambda events: new_rows(events, types, most=MAX_WITH_TASK)
        self._table = SubscriptionTable(store)
        self._declared = DeclaredSubscriptions(store, contracts)
        self._delivery = DeliveryPass(store, submissions, types, settings.process_name, makers, self._begin)
        self.feeds.delivered = self._delivery.topics
        self._passes = PassRunner(store, self._delivery.run, "deliveries")

    def deliver_of_hooks(self, of_hook: OfHook) -> None:
        """Let subscriptions of outgoing hooks make their tasks so."""
        self._delivery.of_hook = of_hook

    async def _begin(self, topic: str) -> None:
        await self.feeds.on_subscriber(topic)

    def add_to(self, server: Any) -> None:
        self._service.add_to(server)

    def start(self) -> None:
        self._passes.start()

    async def stop(self, why: WeftError | None) -> None:
        self.feeds.close(
            why
            or refusals.stopping(
                "the coordinator is stopping; subscribe again after the last cursor", retry_after_s=0.5
            )
        )
        await self._passes.stop()

    def rows_changed(self, kind: str) -> bool:
        self.feeds.rows_changed(kind)
        self._retention.rows_changed(kind)
        if kind == KIND:
            self._delivery.subscriptions_changed()
            self._passes.changed()
        elif (topic := topic_of(kind)) and self._delivery.events_published(topic):
            self._passes.changed()
        return False

    async def keep_house(self, now_s: float) -> None:
        await self._retention.run_once(now_s)
        await self._declared.run_once()
        if self._delivery.contracts_changed():
            self._passes.changed()

    async def methods(self) -> set[str]:
        found = await self._table.all()
        return {each.spec.delivery.method for each in found.values() if not each.declared}

    @property
    def next_at(self) -> float | None:
        return self._passes.next_at

    async def run_due(self) -> None:
        await self._passes.run_due()
