"""The API of durable subscriptions: events that become tasks, or that consumers share."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from datetime import datetime
from typing import Any, TypeVar, Unpack, overload

import grpc.aio
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from weft.client.api import Api, Patience
from weft.client.consumer_stream import ConsumerStream
from weft.client.event_snapshot import ConsumedEvent, Subscription, topic_of
from weft.client.methods import AnyMethod, Method, as_method
from weft.client.options import SubmitOptions, task_options
from weft.client.schedule_snapshot import aware
from weft.rpc import refusals
from weft.rpc.times import timestamp
from weft.v1 import event_pb2 as pb

__all__ = ["ConsumedEvent", "Subscription", "Subscriptions"]

Msg = TypeVar("Msg", bound=Message)

_SERVICE = "weft.v1.EventService"
_CREATE = Method.of(
    f"{_SERVICE}/CreateSubscription", pb.CreateSubscriptionRequest, pb.CreateSubscriptionResponse
)
_GET = Method.of(f"{_SERVICE}/GetSubscription", pb.GetSubscriptionRequest, pb.GetSubscriptionResponse)
_LIST = Method.of(f"{_SERVICE}/ListSubscriptions", pb.ListSubscriptionsRequest, pb.ListSubscriptionsResponse)
_UPDATE = Method.of(
    f"{_SERVICE}/UpdateSubscription", pb.UpdateSubscriptionRequest, pb.UpdateSubscriptionResponse
)
_CONSUME = Method.of(f"{_SERVICE}/ConsumeEvents", pb.ConsumeEventsRequest, pb.ConsumeEventsResponse)
_DELETE = Method.of(
    f"{_SERVICE}/DeleteSubscription", pb.DeleteSubscriptionRequest, pb.DeleteSubscriptionResponse
)
_PAGE = 500


class Subscriptions:
    """Durable subscriptions; `Mesh.subscriptions` gives it. Every method raises `WeftError`, and `Unreachable` when the coordinator was away
    for too long."""

    def __init__(self, api: Api, patience_s: float) -> None:
        self._api = api
        self._patience_s = patience_s

    async def create(
        self,
        name: str,
        kind: type[Message] | str,
        method: AnyMethod[Any, Any] | str,
        *,
        filter: str = "",  # noqa: A002  # as events have it
        after: int | None = None,
        since: datetime | None = None,
        **options: Unpack[SubmitOptions],
    ) -> Subscription:
        """Let each event of a topic become a task of a method. With the same name and the same arguments it may be repeated.

        Args:
            name: 1 to 128 letters, digits, '.', '_', '-' and '/', not beginning with "on/".
            kind: the message type, or its full name.
            method: a hosted method whose request has this type.
            filter: only events for which this expression of CEL is true: `event` is the message, `key` the event's key.
            after: begin after the event of this sequence; 0: with the oldest kept one. Unset: with events from now on.
            since: begin with the first kept event of this time or later.
            options: of each task, see `SubmitOptions`.

        Raises:
            AlreadyExists: a subscription of this name has another spec.
            InvalidArgument: the message names the field, or says why the filter cannot be used.
            NotFound: no contract has the message type, or the method.
        """
        called = as_method(method)
        delivery = pb.EventDelivery(method=called.name, options=task_options(options, inherits=False))
        spec = pb.SubscriptionSpec(topic=topic_of(kind), filter=filter, delivery=delivery)
        asked = pb.CreateSubscriptionRequest(name=name, spec=spec, after=after, since=_moment(since))
        return Subscription.of((await self._api.call(_CREATE, asked)).subscription)

    @overload
    def consume(
        self,
        name: str,
        kind: type[Msg],
        *,
        filter: str = "",  # as events have it
        after: int | None = None,
        since: datetime | None = None,
        partitions: int = 0,
        max_unacknowledged: int = 0,
    ) -> AsyncGenerator[ConsumedEvent[Msg]]: ...
    @overload
    def consume(
        self,
        name: str,
        kind: str,
        *,
        filter: str = "",  # as events have it
        after: int | None = None,
        since: datetime | None = None,
        partitions: int = 0,
        max_unacknowledged: int = 0,
    ) -> AsyncGenerator[ConsumedEvent[bytes]]: ...
    async def consume(
        self,
        name: str,
        kind: type[Any] | str,
        *,
        filter: str = "",  # noqa: A002  # as events have it
        after: int | None = None,
        since: datetime | None = None,
        partitions: int = 0,
        max_unacknowledged: int = 0,
    ) -> AsyncGenerator[ConsumedEvent[Any]]:
        """Take the events of a topic by a subscription of this name, which is made if there is none. It keeps the place: each event reaches
        some consumer of the name at least once, in order by key.

            async with aclosing(mesh.subscriptions.consume("mailer", OrderPlaced)) as events:
                async for event in events:
                    await send_mail(event.message)

        All consumers of a name share its events by key. An event is acknowledged when the next one is asked for: what is not, goes to another
        consumer when this one ends. `event.acknowledge()` does it earlier. Close it when done.

        Args:
            name: as for `create`.
            kind: the message type, or its full name: then messages are bytes.
            filter: as for `create`.
            after, since: where a new subscription begins; unset: with events from now on.
            partitions: of a new subscription: most consumers that can share it, up to 64. 0: 16.
            max_unacknowledged: most events that are sent ahead, up to 10,000. 0: 256.

        Raises:
            AlreadyExists: a subscription of this name has another spec.
            InvalidArgument, NotFound: as for `create`.
        """
        spec = pb.SubscriptionSpec(topic=topic_of(kind), filter=filter, partitions=partitions)
        asked = pb.CreateSubscriptionRequest(name=name, spec=spec, after=after, since=_moment(since))
        await self._api.call(_CREATE, asked)
        message_class = None if isinstance(kind, str) else kind
        first = pb.ConsumeEventsRequest(subscription=name, max_unacknowledged=max_unacknowledged)
        patience = Patience(self._api, self._patience_s)
        while True:
            stream = ConsumerStream(self._api, _CONSUME, first)
            try:
                async for response in stream.responses():
                    patience.renew()
                    for event in response.events:
                        fault = await self._api.event_fault(event)
                        consumed = ConsumedEvent[Any](event, message_class, stream.acknowledge, fault)
                        yield consumed
                        consumed.acknowledge()
                await patience.wait_after(refusals.unreachable(f"the stream of subscription {name} ended"))
            except asyncio.CancelledError:
                self._api.home.check_cut_off()
                raise
            except grpc.aio.AioRpcError as error:
                await patience.wait(error)
            finally:
                await stream.close()

    async def get(self, name: str) -> Subscription:
        """The subscription as it is now.

        Raises:
            NotFound: no subscription has this name.
        """
        return Subscription.of(
            (await self._api.call(_GET, pb.GetSubscriptionRequest(name=name))).subscription
        )

    async def list(self) -> AsyncGenerator[Subscription]:
        """All subscriptions by name, without options; page by page as they are taken."""
        asked = pb.ListSubscriptionsRequest(page_size=_PAGE)
        while True:
            page = await self._api.call(_LIST, asked)
            for each in page.subscriptions:
                yield Subscription.of(each)
            asked.page_token = page.next_page_token
            if not page.next_page_token:
                return

    async def pause(self, name: str, reason: str = "") -> Subscription:
        """No tasks until `resume`."""
        return await self._update(pb.UpdateSubscriptionRequest(name=name, paused=True, pause_reason=reason))

    async def resume(self, name: str) -> Subscription:
        """Tasks again, from where it stopped."""
        return await self._update(pb.UpdateSubscriptionRequest(name=name, paused=False))

    async def seek(
        self, name: str, *, after: int | None = None, since: datetime | None = None
    ) -> Subscription:
        """Go on at another place: after the event of a sequence, or with the first kept event of a time. Events become tasks once more.

        Raises:
            FailedPrecondition: `after` is ahead of the topic.
        """
        asked = pb.UpdateSubscriptionRequest(name=name, after=after, since=_moment(since))
        return await self._update(asked)

    async def delete(self, name: str) -> None:
        """Delete a subscription. Its tasks stay.

        Raises:
            NotFound: no subscription has this name.
        """
        # Not repeated: a repeat would not find what the first call has deleted.
        await self._api.call(_DELETE, pb.DeleteSubscriptionRequest(name=name), repeatable=False)

    async def _update(self, asked: pb.UpdateSubscriptionRequest) -> Subscription:
        return Subscription.of((await self._api.call(_UPDATE, asked)).subscription)


def _moment(since: datetime | None) -> Timestamp | None:
    return None if since is None else timestamp(aware(since, "since").timestamp())
