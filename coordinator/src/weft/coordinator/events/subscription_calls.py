"""The calls of `weft.v1.EventService` that are about durable subscriptions."""

from __future__ import annotations

import secrets
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp
from grpc import aio

from weft.coordinator import guard
from weft.coordinator.contracts.contract_catalogue import Contracts
from weft.coordinator.events.event_codec import checked_sequence
from weft.coordinator.events.event_types import EventTypes
from weft.coordinator.events.subscription_codec import (
    check_known_name,
    check_listed_name,
    check_name,
    check_spec,
    shown,
)
from weft.coordinator.events.subscription_table import Found, SubscriptionTable
from weft.coordinator.identity.makers import maker_of
from weft.coordinator.request_checks import check_page_size, check_page_token, check_reason
from weft.coordinator.store.base import Store
from weft.rpc import refusals
from weft.rpc.identity.caller import Caller
from weft.rpc.identity.edge import Edge
from weft.rpc.times import checked_time, timestamp
from weft.v1 import event_pb2, event_pb2_grpc

Context = aio.ServicerContext[Any, Any]


class SubscriptionCalls(event_pb2_grpc.EventServiceServicer):
    """Each RPC's errors and guarantee are in the contract's comments."""

    def __init__(self, store: Store, contracts: Contracts, types: EventTypes, edge: Edge) -> None:
        self._store = store
        self._contracts = contracts
        self._types = types
        self._edge = edge
        self._table = SubscriptionTable(store)

    @guard.unary
    async def CreateSubscription(
        self, request: event_pb2.CreateSubscriptionRequest, context: Context
    ) -> event_pb2.CreateSubscriptionResponse:
        check_name(request.name)
        spec = request.spec
        check_spec(spec, self._types, self._contracts)
        for name in filter(None, (spec.topic, spec.delivery.method)):
            self._edge.check_method(context, name)
        made = event_pb2.Subscription(
            name=request.name,
            spec=spec,
            uid=secrets.token_hex(8),
            create_time=timestamp(self._store.now()),
            start_sequence=await self._start(spec.topic, request),
            maker=maker_of(self._edge.caller(context)),
        )
        known = await self._table.create(made)
        if known is None:
            return event_pb2.CreateSubscriptionResponse(subscription=shown(made, None))
        if known.spec != spec:
            # Also if the caller does not see it: a name is taken by all.
            raise refusals.subscription_exists(request.name)
        (state,) = await self._table.states([request.name])
        return event_pb2.CreateSubscriptionResponse(subscription=shown(known, state), existed=True)

    @guard.unary
    async def GetSubscription(
        self, request: event_pb2.GetSubscriptionRequest, context: Context
    ) -> event_pb2.GetSubscriptionResponse:
        return event_pb2.GetSubscriptionResponse(subscription=shown(*await self._seen(request.name, context)))

    @guard.unary
    async def ListSubscriptions(
        self, request: event_pb2.ListSubscriptionsRequest, context: Context
    ) -> event_pb2.ListSubscriptionsResponse:
        check_page_size(request.page_size)
        check_page_token(request.page_token, check_listed_name)
        found, cursor = await self._table.page(request.page_size or 100, request.page_token)
        caller = self._edge.caller(context)
        return event_pb2.ListSubscriptionsResponse(
            subscriptions=[shown(each, state, full=False) for each, state in found if _sees(caller, each)],
            next_page_token=cursor,
        )

    @guard.unary
    async def UpdateSubscription(
        self, request: event_pb2.UpdateSubscriptionRequest, context: Context
    ) -> event_pb2.UpdateSubscriptionResponse:
        known, _ = await self._seen(request.name, context)
        check_reason(request.pause_reason, "pause_reason")
        start = await self._start(known.spec.topic, request) if request.WhichOneof("start") else None

        def change(present: event_pb2.Subscription) -> bool:
            if request.HasField("paused"):
                present.paused = request.paused
                present.pause_reason = request.pause_reason if request.paused else ""
            if start is not None:
                # Its progress is that of another one now.
                present.start_sequence, present.uid = start, secrets.token_hex(8)
            return True

        changed = await self._table.change(request.name, change)
        (state,) = await self._table.states([request.name])
        return event_pb2.UpdateSubscriptionResponse(subscription=shown(changed, state))

    @guard.unary
    async def DeleteSubscription(
        self, request: event_pb2.DeleteSubscriptionRequest, context: Context
    ) -> event_pb2.DeleteSubscriptionResponse:
        await self._seen(request.name, context)
        await self._table.delete(request.name)
        return event_pb2.DeleteSubscriptionResponse()

    async def _seen(self, name: str, context: Context, field: str = "name") -> Found:
        """
        Raises:
            NotFound: SUBSCRIPTION_NOT_FOUND, also if it is out of the caller's scope.
        """
        found = await self._table.read(check_known_name(name, field))
        if not _sees(self._edge.caller(context), found[0]):
            raise refusals.subscription_not_found(name)
        return found

    async def _start(
        self, topic: str, request: event_pb2.CreateSubscriptionRequest | event_pb2.UpdateSubscriptionRequest
    ) -> int:
        """The sequence after which it begins."""
        kind = request.WhichOneof("start")
        if kind == "since":
            return await self._place_of(topic, request.since)
        after = checked_sequence(request.after)
        last = (await self._store.read_events(topic, after, limit=1)).last
        if kind is None:
            return last
        if after > last:
            raise refusals.cursor_ahead(topic, after, last)
        return after

    async def _place_of(self, topic: str, since: Timestamp) -> int:
        """The sequence after which all events were stored at a time or later."""
        # Events have times to the microsecond, which floats hold only nearly.
        return await self._store.event_before(topic, checked_time(since, "since") - 5e-7)


def _sees(caller: Caller, subscription: event_pb2.Subscription) -> bool:
    spec = subscription.spec
    return caller.sees(spec.topic) and (not spec.HasField("delivery") or caller.sees(spec.delivery.method))
