"""The servicer of `weft.v1.EventService`: publishes events, and gives them to those who ask."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from typing import Any

from grpc import aio

from weft.coordinator import guard
from weft.coordinator.contracts.contract_catalogue import Contracts
from weft.coordinator.events.consumer import DEFAULT_UNACKNOWLEDGED, MAX_UNACKNOWLEDGED, Consumer
from weft.coordinator.events.event_codec import (
    check_topic,
    checked_sequence,
    event_of,
    new_rows,
    topic_message,
)
from weft.coordinator.events.event_filter import filter_of
from weft.coordinator.events.event_types import EventTypes
from weft.coordinator.events.subscription_calls import SubscriptionCalls
from weft.coordinator.events.topic_feed import EventBatch, Portion, TopicFeed, TopicFeeds
from weft.coordinator.request_checks import check_page_size, check_page_token
from weft.coordinator.store.base import Store
from weft.coordinator.store.event_store import TooManyTopics
from weft.rpc import refusals
from weft.rpc.identity.edge import Edge
from weft.v1 import event_pb2, event_pb2_grpc

Context = aio.ServicerContext[Any, Any]

# A subscriber's first event goes out at once; those that follow it within this time go together. With many subscribers of a topic it is
# longer: a response costs the same with one event or a hundred.
PACE_S = 0.002
PACE_EACH_S = 0.001
MOST_PACE_S = 0.25
# Their responses are serialized already.
_SERIALIZED = ("SubscribeEvents", "ConsumeEvents")


class EventService(SubscriptionCalls):
    """Each RPC's errors and guarantee are in the contract's comments.

    Args:
        stalled_stream_s: a subscriber that does not read for so long is ended.
    """

    def __init__(
        self,
        store: Store,
        contracts: Contracts,
        types: EventTypes,
        feeds: TopicFeeds,
        edge: Edge,
        stalled_stream_s: float,
    ) -> None:
        super().__init__(store, contracts, types, edge)
        self._feeds = feeds
        self.stalled_stream_s = stalled_stream_s

    def add_to(self, server: Any) -> None:
        """Serve it, with responses of subscriptions that are serialized already."""
        event_pb2_grpc.add_EventServiceServicer_to_server(self, _Serialized(server))

    @guard.unary
    async def PublishEvents(
        self, request: event_pb2.PublishEventsRequest, context: Context
    ) -> event_pb2.PublishEventsResponse:
        for topic in {event.topic for event in request.events}:
            self._edge.check_method(context, topic)
        rows = new_rows(request.events, self._types)
        results = await self._store.append_events(rows)
        if isinstance(results, TooManyTopics):
            raise refusals.overloaded(f"there are {results.limit} topics, the most that are allowed")
        return event_pb2.PublishEventsResponse(
            events=[
                event_pb2.PublishedEvent(sequence=each.sequence, existed=each.existed) for each in results
            ]
        )

    @guard.stream
    async def SubscribeEvents(
        self, request: event_pb2.SubscribeEventsRequest, context: Context
    ) -> AsyncGenerator[bytes]:
        topic = self._checked(request.topic, context)
        matching = filter_of(request.filter, self._types.get(topic))
        async with self._feeds.subscribed(topic) as feed:
            position = await self._position(request, feed)
            # Up to here it is a replay, which leaves nothing out.
            replayed = feed.last
            yield _response(Portion(EventBatch(), position, 0))
            while True:
                portion = await feed.after(position, keep_up=request.keep_up and position >= replayed)
                position = portion.position
                if matching is not None:
                    matched = (event for event in portion.events if matching.matches(event.body))
                    portion = portion._replace(events=EventBatch(matched))
                yield _response(portion)
                await asyncio.sleep(pause_s(feed.subscribers, asyncio.get_running_loop().time()))

    @guard.unary
    async def ConsumeEvents(
        self, request_iterator: AsyncIterator[event_pb2.ConsumeEventsRequest], context: Context
    ) -> None:
        asked = aiter(guard.parsed(request_iterator))
        try:
            async with asyncio.timeout(self.stalled_stream_s):
                first = await anext(asked, event_pb2.ConsumeEventsRequest())
        except TimeoutError:
            raise refusals.invalid_field(
                "the first request did not come in time", field="subscription"
            ) from None
        most = first.max_unacknowledged or DEFAULT_UNACKNOWLEDGED
        if most > MAX_UNACKNOWLEDGED:
            raise refusals.invalid_field(
                f"max_unacknowledged is {most}; the most are {MAX_UNACKNOWLEDGED}", field="max_unacknowledged"
            )
        subscription, _ = await self._seen(first.subscription, context, "subscription")
        if subscription.spec.HasField("delivery"):
            raise refusals.invalid_field(
                f"subscription {subscription.name!r} makes tasks of its events: it has no consumers",
                field="subscription",
            )
        matching = filter_of(subscription.spec.filter, self._types.get(subscription.spec.topic))
        async with self._feeds.subscribed(subscription.spec.topic) as feed:
            consumer = Consumer(self._store, subscription, feed, matching, most)
            await self._consume(consumer, asked, context)

    async def _consume(
        self, consumer: Consumer, asked: AsyncIterator[event_pb2.ConsumeEventsRequest], context: Context
    ) -> None:
        async def acknowledge() -> None:
            # Its last word, or a wrong one, ends the stream.
            try:
                async for request in asked:
                    consumer.acknowledge(request.acknowledged)
            finally:
                consumer.finish()

        headers: tuple[tuple[str, str], ...] | None = ()
        responses = consumer.run()
        acknowledging = asyncio.get_running_loop().create_task(acknowledge(), name="acknowledgements")
        try:
            async for events, count in responses:
                if acknowledging.done():
                    break
                rest = event_pb2.ConsumeEventsResponse(partitions=count).SerializeToString()
                wire = b"".join([*(event.wire for event in events), rest])
                await guard.write(context, wire, self.stalled_stream_s, headers=headers)
                headers = None
            await acknowledging
        finally:
            acknowledging.cancel()
            await asyncio.gather(acknowledging, return_exceptions=True)
            await responses.aclose()

    @guard.unary
    async def ListEvents(
        self, request: event_pb2.ListEventsRequest, context: Context
    ) -> event_pb2.ListEventsResponse:
        check_page_size(request.page_size)
        topic, after = self._checked(request.topic, context), checked_sequence(request.after)
        page = await self._store.read_events(topic, after, limit=request.page_size or 100)
        if after > page.last:
            raise refusals.cursor_ahead(topic, after, page.last)
        more = page.rows and page.rows[-1].sequence < page.last
        return event_pb2.ListEventsResponse(
            events=[event_of(topic, row) for row in page.rows],
            next_after=page.rows[-1].sequence if more else 0,
        )

    @guard.unary
    async def ListTopics(
        self, request: event_pb2.ListTopicsRequest, context: Context
    ) -> event_pb2.ListTopicsResponse:
        check_page_size(request.page_size)
        check_page_token(request.page_token, check_topic)
        page = await self._store.list_topics(limit=request.page_size or 100, cursor=request.page_token)
        caller = self._edge.caller(context)
        return event_pb2.ListTopicsResponse(
            topics=[topic_message(each) for each in page.topics if caller.sees(each.name)],
            next_page_token=page.cursor,
        )

    def _checked(self, topic: str, context: Context) -> str:
        """A topic that the caller may read.

        Raises:
            InvalidArgument, NotFound, PermissionDenied
        """
        check_topic(topic)
        self._edge.check_method(context, topic)
        self._types.get(topic)
        return topic

    async def _position(self, request: event_pb2.SubscribeEventsRequest, feed: TopicFeed) -> int:
        """The sequence after which a subscriber begins."""
        kind = request.WhichOneof("start")
        if kind == "since":
            return await self._place_of(feed.topic, request.since)
        if kind is None:
            return feed.last
        after = checked_sequence(request.after)
        if after > feed.last:
            # News of the last events may be on its way here.
            last = (await self._store.read_events(feed.topic, after, limit=1)).last
            if after > last:
                raise refusals.cursor_ahead(feed.topic, after, last)
        return after


def _response(portion: Portion) -> bytes:
    """A `SubscribeEventsResponse`, serialized: its events are serialized already, once for all subscribers."""
    rest = event_pb2.SubscribeEventsResponse(cursor=portion.position, missed=portion.missed)
    return portion.events.wire + rest.SerializeToString()


def pause_s(subscribers: int, now_s: float) -> float:
    """How long a subscriber of a topic waits after a response: until the next beat, which is the same for all of them. So they are at the same
    position, and share what is made of it."""
    beat_s = min(MOST_PACE_S, max(PACE_S, PACE_EACH_S * subscribers))
    return beat_s - now_s % beat_s


class _Serialized:
    """A server for generated code that sends the responses of subscriptions as they are."""

    def __init__(self, server: Any) -> None:
        self._server = server

    def add_registered_method_handlers(self, service: str, handlers: Mapping[str, Any]) -> None:
        own = {name: handlers[name]._replace(response_serializer=None) for name in _SERIALIZED}
        self._server.add_registered_method_handlers(service, {**handlers, **own})

    def add_generic_rpc_handlers(self, handlers: object) -> None:
        """Generated code calls this with the same handlers; nothing to do."""
