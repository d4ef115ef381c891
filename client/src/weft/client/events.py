"""The events API: messages that are published to all who subscribe."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, TypeVar, overload

import grpc.aio
from google.protobuf.message import Message

from weft.client.api import Api, Patience
from weft.client.event_snapshot import Event, NewEvent, Published, Topic, topic_of
from weft.client.methods import Method
from weft.client.schedule_snapshot import aware
from weft.rpc import refusals
from weft.rpc.times import timestamp
from weft.v1 import event_pb2 as pb

__all__ = ["Event", "Events", "NewEvent", "Published", "Topic"]

Msg = TypeVar("Msg", bound=Message)

_SERVICE = "weft.v1.EventService"
_PUBLISH = Method.of(f"{_SERVICE}/PublishEvents", pb.PublishEventsRequest, pb.PublishEventsResponse)
_SUBSCRIBE = Method.of(f"{_SERVICE}/SubscribeEvents", pb.SubscribeEventsRequest, pb.SubscribeEventsResponse)
_LIST = Method.of(f"{_SERVICE}/ListEvents", pb.ListEventsRequest, pb.ListEventsResponse)
_TOPICS = Method.of(f"{_SERVICE}/ListTopics", pb.ListTopicsRequest, pb.ListTopicsResponse)
_PAGE = 500
# A coordinator remembers ids for two minutes: a later repeat could be another event.
_REPEATED_S = 100.0


class Events:
    """Events; `Mesh.events` gives it. Every method raises `WeftError`, and `Unreachable` when the coordinator was away for
    too long."""

    def __init__(self, api: Api, patience_s: float) -> None:
        self._api = api
        self._patience_s = patience_s

    async def publish(
        self,
        message: Message,
        *,
        key: str = "",
        event_id: str = "",
        attributes: Mapping[str, str] | None = None,
    ) -> Published:
        """Publish an event. When this returns, it is kept, and every subscriber gets it.

        Args:
            message: its type is the topic.
            key: what it is about, such as an order's number: events of one key stay in order wherever events are spread.
            event_id: unique in the topic: within two minutes, an event with the same id is the same event. Unset: generated.
            attributes: those of CloudEvents and others.

        Raises:
            NotFound: no contract that an agent has registered has the message's type.
            InvalidArgument: the message names the field.
        """
        (published,) = await self.publish_all([NewEvent(message, key, event_id, attributes or {})])
        return published

    async def publish_all(self, events: Sequence[NewEvent | Message]) -> Sequence[Published]:
        """Publish up to 1000 events, of one topic or several: all of them or none, in this order.

        Raises:
            NotFound, InvalidArgument: as `publish`.
            TooLarge: they have more than 4 MiB together.
        """
        asked = pb.PublishEventsRequest(events=await self._api.new_events(events))
        if not asked.events:
            return []
        answer = await self._api.call(_PUBLISH, asked, repeated_s=_REPEATED_S)
        return [
            Published(stored.sequence, event.id, stored.existed)
            for event, stored in zip(asked.events, answer.events, strict=True)
        ]

    @overload
    def subscribe(
        self,
        kind: type[Msg],
        *,
        after: int | None = None,
        since: datetime | None = None,
        filter: str = "",  # as events have it
        keep_up: bool | None = None,
        on_start: Callable[[int], object] | None = None,
    ) -> AsyncGenerator[Event[Msg]]: ...
    @overload
    def subscribe(
        self,
        kind: str,
        *,
        after: int | None = None,
        since: datetime | None = None,
        filter: str = "",  # as events have it
        keep_up: bool | None = None,
        on_start: Callable[[int], object] | None = None,
    ) -> AsyncGenerator[Event[bytes]]: ...
    async def subscribe(
        self,
        kind: type[Any] | str,
        *,
        after: int | None = None,
        since: datetime | None = None,
        filter: str = "",  # noqa: A002  # as events have it
        keep_up: bool | None = None,
        on_start: Callable[[int], object] | None = None,
    ) -> AsyncGenerator[Event[Any]]:
        """Follow a topic: each event once, in order. It goes on at another coordinator when the connection is lost, after the last event
        that it has got.

        Close it when done: `async with contextlib.aclosing(mesh.events.subscribe(OrderPlaced)) as events`.

        Args:
            kind: a message type, or its full name: then messages are bytes.
            after: begin after the event of this sequence; 0: with the oldest kept one. Unset: with events from now on.
            since: begin with the first kept event of this time or later.
            filter: only events for which this expression of CEL is true, such as "event.total > 100": `event` is the message, `key` the
                event's key, `attributes` its attributes.
            keep_up: if this reader is slow, leave out events rather than fall behind: `Event.missed` says how many. Unset: if neither
                `after` nor `since` is given.
            on_start: called once, with the sequence after which it begins: from then on, no event is missed.

        Raises:
            NotFound: no contract that an agent has registered has this message type.
            FailedPrecondition: `after` is ahead of the topic.
            InvalidArgument: the filter cannot be used; the message says why.
        """
        topic, message_class = topic_of(kind), None if isinstance(kind, str) else kind
        asked = pb.SubscribeEventsRequest(topic=topic, after=after, filter=filter)
        if since is not None:
            asked.since.CopyFrom(timestamp(aware(since, "since").timestamp()))
        asked.keep_up = after is None and since is None if keep_up is None else keep_up
        patience = Patience(self._api, self._patience_s)
        missed = 0
        while True:
            call = self._api.open(_SUBSCRIBE, asked)
            try:
                async for response in call:
                    patience.renew()
                    if on_start is not None:
                        on_start(response.cursor)
                        on_start = None
                    missed += response.missed
                    for event in response.events:
                        asked.after = event.sequence
                        yield Event(event, message_class, missed, await self._api.event_fault(event))
                        missed = 0
                    asked.after = response.cursor
                await patience.wait_after(refusals.unreachable(f"the stream of {topic} ended"))
            except asyncio.CancelledError:
                self._api.home.check_cut_off()
                raise
            except grpc.aio.AioRpcError as error:
                await patience.wait(error)
            finally:
                call.cancel()

    @overload
    def list(self, kind: type[Msg], *, after: int = 0) -> AsyncGenerator[Event[Msg]]: ...
    @overload
    def list(self, kind: str, *, after: int = 0) -> AsyncGenerator[Event[bytes]]: ...
    async def list(self, kind: type[Any] | str, *, after: int = 0) -> AsyncGenerator[Event[Any]]:
        """The kept events of a topic, oldest first; page by page as they are taken.

        Args:
            kind: a message type, or its full name: then messages are bytes.
            after: only those after the event of this sequence.

        Raises:
            NotFound, FailedPrecondition: as `subscribe`.
        """
        message_class = None if isinstance(kind, str) else kind
        asked = pb.ListEventsRequest(topic=topic_of(kind), after=after, page_size=_PAGE)
        while True:
            page = await self._api.call(_LIST, asked)
            for event in page.events:
                yield Event(event, message_class, fault=await self._api.event_fault(event))
            asked.after = page.next_after
            if not page.next_after:
                return

    async def topics(self) -> AsyncGenerator[Topic]:
        """The topics that have had events, by name; page by page as they are taken."""
        asked = pb.ListTopicsRequest(page_size=_PAGE)
        while True:
            page = await self._api.call(_TOPICS, asked)
            for topic in page.topics:
                yield Topic.of(topic)
            asked.page_token = page.next_page_token
            if not page.next_page_token:
                return
