"""Subscriptions that contracts declare by the option `on_event` of a method: made when a contract comes into force, deleted when a newer one
does not have the option."""

from __future__ import annotations

import secrets

from weft.coordinator.contracts.contract_catalogue import Contracts
from weft.coordinator.events.subscription_codec import DECLARED
from weft.coordinator.events.subscription_table import SubscriptionTable
from weft.coordinator.policy.method_policy import MethodPolicy
from weft.coordinator.store.base import Store
from weft.rpc.errors import NotFound
from weft.rpc.process.logs import get_logger
from weft.rpc.times import timestamp
from weft.v1 import event_pb2

log = get_logger(__name__)

# A sequence that no topic reaches.
_FAR = 2**62


class DeclaredSubscriptions:
    """Keeps the subscriptions that contracts declare."""

    def __init__(self, store: Store, contracts: Contracts) -> None:
        self._store = store
        self._contracts = contracts
        self._table = SubscriptionTable(store)
        # The changes of contracts up to which it has looked; and whether one of the methods has had the option.
        self._seen = -1
        self._declares = True

    @property
    def _wanted(self) -> dict[str, MethodPolicy]:
        policies = self._contracts.policies.all()
        return {policy.method: policy for policy in policies if policy.on_event is not None}

    async def run_once(self) -> None:
        """Make and delete what is to be. Does nothing unless contracts have changed."""
        changes = self._contracts.changes
        if changes == self._seen:
            return
        wanted = self._wanted
        if not wanted and not self._declares:
            self._seen = changes
            return
        # Not those of outgoing hooks, which follow their hooks.
        known = {name: each for name, each in (await self._table.all()).items() if name.startswith(DECLARED)}
        self._declares = bool(wanted) or bool(known)
        for method, policy in wanted.items():
            await self._declare(policy, known.get(f"{DECLARED}{method}"))
        for name, subscription in known.items():
            method = subscription.spec.delivery.method
            # An unknown method may come again with the option.
            if method not in wanted and self._contracts.find(method) is not None:
                log.info("subscription.ended", subscription=name)
                try:
                    await self._table.delete(name)
                except NotFound:
                    continue
        self._seen = changes

    async def _declare(self, policy: MethodPolicy, known: event_pb2.Subscription | None) -> None:
        info = self._contracts.find(policy.method)
        if info is None or not info.durable:
            return
        topic, text = info.descriptor.input_type.full_name, policy.on_event or ""
        if known is None:
            last = (await self._store.read_events(topic, _FAR, limit=1)).last
            made = event_pb2.Subscription(
                name=f"{DECLARED}{policy.method}",
                spec=event_pb2.SubscriptionSpec(
                    topic=topic, filter=text, delivery=event_pb2.EventDelivery(method=policy.method)
                ),
                uid=secrets.token_hex(8),
                create_time=timestamp(self._store.now()),
                start_sequence=last,
                declared=True,
            )
            await self._table.create(made)
            log.info("subscription.declared", subscription=made.name, topic=topic)
        elif known.spec.filter != text or known.spec.topic != topic:

            def change(present: event_pb2.Subscription) -> bool:
                present.spec.filter, present.spec.topic = text, topic
                return True

            await self._table.change(known.name, change)
