"""Subscriptions, exported and imported: they go on where they were, if the events of their topics come along."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator

from weft.coordinator.contracts.contract_catalogue import Contracts
from weft.coordinator.events.event_codec import checked_sequence
from weft.coordinator.events.event_types import EventTypes
from weft.coordinator.events.subscription_codec import DECLARED, check_known_name, check_spec, shown
from weft.coordinator.events.subscription_table import SubscriptionTable
from weft.coordinator.request_checks import check_reason
from weft.coordinator.state.event_copy import EventImport
from weft.coordinator.store.base import Store
from weft.rpc import refusals
from weft.rpc.times import seconds, timestamp
from weft.v1 import event_pb2, security_pb2

_PAGE = 100
# A sequence that no topic reaches.
_FAR = 2**62
_KEPT = ("name", "spec", "paused", "pause_reason", "declared", "maker")


async def exported(store: Store) -> AsyncIterator[tuple[event_pb2.Subscription, int]]:
    """The subscriptions, each with the number of kept events that it has not given."""
    table, cursor = SubscriptionTable(store), ""
    while True:
        found, cursor = await table.page(_PAGE, cursor)
        for subscription, state in found:
            made = shown(subscription, state)
            if state is not None and state.uid == made.uid and state.partitions:
                made.cursor = min(each.cursor for each in state.partitions)
            for name in ("error", "submitted_count", "refused_count", "missed_count"):
                made.ClearField(name)
            page = await store.read_events(made.spec.topic, made.cursor, limit=1)
            yield made, max(0, page.last - max(made.cursor, page.first - 1))
        if not cursor:
            return


class SubscriptionImport:
    """Takes the subscriptions of one import, after its events.

    Args:
        maker: who imports. None: the coordinator does not ask who calls.
    """

    def __init__(
        self, store: Store, contracts: Contracts, events: EventImport, maker: security_pb2.Maker | None
    ) -> None:
        self._store, self._contracts, self._events, self._maker = store, contracts, events, maker
        self._types = EventTypes(contracts)
        self._table = SubscriptionTable(store)
        self._began_at = store.now()

    async def take(self, given: event_pb2.Subscription) -> bool:
        """Store a subscription; False: it was there.

        Raises:
            WeftError: as `CreateSubscription` says.
        """
        made = event_pb2.Subscription()
        made.CopyFrom(given)
        for field, _ in given.ListFields():
            if field.name not in _KEPT:
                made.ClearField(field.name)
        check_known_name(made.name, "subscription.name")
        check_reason(made.pause_reason, "subscription.pause_reason")
        if made.declared != made.name.startswith(DECLARED):
            raise refusals.invalid_field(
                f"names that begin with {DECLARED!r} are those of subscriptions that a contract declares",
                field="subscription.name",
            )
        check_spec(made.spec, self._types, self._contracts)
        checked_sequence(given.cursor)
        if not made.declared:
            set_maker(made.maker, self._maker)
        # Its tasks are others than those of before: sequences begin anew.
        made.uid = secrets.token_hex(8)
        made.create_time.CopyFrom(timestamp(self._store.now()))
        place = await self._events.place_of(made.spec.topic, given.cursor)
        made.start_sequence = await self._last(made.spec.topic) if place is None else place
        known = await self._table.create(made)
        if known is None:
            return True
        if known.spec != made.spec:
            raise refusals.subscription_exists(made.name)
        return place is not None and await self._moved_back(known, place)

    async def _moved_back(self, known: event_pb2.Subscription, place: int) -> bool:
        """One that the contract declares may have been made during this import, before its events came."""
        if not known.declared or seconds(known.create_time) < self._began_at:
            return False

        def change(present: event_pb2.Subscription) -> bool:
            if present.uid != known.uid or present.start_sequence <= place:
                return False
            present.start_sequence, present.uid = place, secrets.token_hex(8)
            return True

        return (await self._table.change(known.name, change)).start_sequence == place

    async def _last(self, topic: str) -> int:
        return (await self._store.read_events(topic, _FAR, limit=1)).last


def set_maker(given: security_pb2.Maker, importer: security_pb2.Maker | None) -> None:
    """Who answers for an imported order: a token of another mesh is none here, so the one who imports takes its place."""
    if given.token_id or not given.subject:
        given.Clear()
        if importer is not None:
            given.CopyFrom(importer)
