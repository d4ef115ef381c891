"""One pass over subscriptions whose events become tasks.

    news of a topic ─► events after the cursor ─► those that match ─► submit, by the event's request id ─► cursor (compare-and-set)
                                                                     repeats are one task

A coordinator that dies before the cursor has moved leaves the same events to be submitted again: as the same tasks, for as long as their
request ids are kept. Where several coordinators share a store, one is at a subscription at a time: it notes itself with the cursor, and another
one takes over some seconds after its last portion. That saves work only: two at once submit the same tasks.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from weft.coordinator.calls.submission import SubmissionService, accepted
from weft.coordinator.events.event_codec import event_of
from weft.coordinator.events.event_filter import EventFilter, filter_of
from weft.coordinator.events.event_types import EventTypes
from weft.coordinator.events.subscription_codec import OF_HOOK, STATE_KIND, judged, task_request
from weft.coordinator.events.subscription_table import SubscriptionTable
from weft.coordinator.identity.makers import Makers
from weft.coordinator.store.base import Store
from weft.coordinator.store.event_store import EventPage, EventRow
from weft.coordinator.store.records import Submission
from weft.coordinator.store.table_store import RowPut
from weft.rpc.errors import AlreadyExists, InvalidArgument, RetryLater, TooLarge, WeftError
from weft.rpc.process.logs import get_logger
from weft.rpc.times import seconds, timestamp
from weft.v1 import coordinator_pb2, event_pb2, lifecycle_pb2

log = get_logger(__name__)

_TASK_ENDED = lifecycle_pb2.TaskEnded.DESCRIPTOR.full_name
# Events of one portion.
PORTION = 256
# Another coordinator takes over so long after the last portion.
HOLD_S = 3.0
# A subscription that cannot go on is tried again after so long.
RETRY_S, STUCK_S = 0.5, 5.0
# Request ids are kept for so long.
REQUEST_ID_S = 600.0
MAX_ERROR_CHARS = 512


@dataclass(slots=True)
class _Delivery:
    """A subscription with its progress here."""

    subscription: event_pb2.Subscription
    # None: not read yet.
    state: event_pb2.SubscriptionState | None = None
    revision: int = 0
    # There may be new events.
    behind: bool = True
    # Not before this time, by the store's clock.
    wait_until: float = 0.0
    # The changes of contracts at which it could not go on. None: it can.
    stuck_at: int | None = None
    # Made for these contracts.
    filters: tuple[int, EventFilter | None] = field(default=(-1, None))


OfHook: TypeAlias = (
    "Callable[[event_pb2.Subscription, event_pb2.Event], coordinator_pb2.SubmitTaskRequest | None]"
)


def _watchers(topic: str, deliveries: Iterable[_Delivery]) -> set[str]:
    """The methods whose tasks are made of the ends of tasks. Their own ends make none: that would never end."""
    if topic != _TASK_ENDED:
        return set()
    specs = (each.subscription.spec for each in deliveries)
    return {spec.delivery.method for spec in specs if spec.topic == topic}


class DeliveryPass:
    """Runs passes over the subscriptions of a store.

    Args:
        holder: the name of this coordinator.
        makers: judges who made them. None: nobody asks.
        begin: awaited before it goes on with the subscriptions of a topic that had none.
    """

    def __init__(
        self,
        store: Store,
        submissions: SubmissionService,
        types: EventTypes,
        holder: str,
        makers: Makers | None = None,
        begin: Callable[[str], Awaitable[None]] | None = None,
    ) -> None:
        self._store = store
        self._submissions = submissions
        self._types = types
        self._holder = holder
        self._makers = makers
        self._table = SubscriptionTable(store)
        self._stale = True
        self._deliveries: dict[str, _Delivery] = {}
        self._begin = begin
        # The delivery of an event by a hook's subscription; None: the hook is not for it. Set where there are hooks.
        self.of_hook: OfHook | None = None

    # -- news -------------------------------------------------------------------------------------------------------

    def subscriptions_changed(self) -> None:
        self._stale = True

    def events_published(self, topic: str) -> bool:
        """There are new events; whether a subscription waits for them."""
        found = False
        for delivery in self._deliveries.values():
            if delivery.subscription.spec.topic == topic:
                delivery.behind = found = True
        return found

    # -- a pass -----------------------------------------------------------------------------------------------------

    async def run(self) -> float | None:
        """One pass; returns when the next one is due, by the store's clock. None: not until there is news."""
        if self._stale:
            await self._load()
        next_at: float | None = None
        for delivery in list(self._deliveries.values()):
            if not delivery.behind:
                continue
            now = self._store.now()
            if delivery.wait_until <= now or self._may_go_on(delivery):
                await self._deliver(delivery, now)
            if delivery.behind:
                at = max(delivery.wait_until, now)
                next_at = at if next_at is None else min(at, next_at)
        return next_at

    def contracts_changed(self) -> bool:
        """Whether one is stuck since before the contracts have changed: its method may be known now."""
        return any(map(self._may_go_on, self._deliveries.values()))

    def _may_go_on(self, delivery: _Delivery) -> bool:
        return delivery.stuck_at not in (None, self._types.changes)

    async def _load(self) -> None:
        self._stale = False
        try:
            await self._load_all()
        except BaseException:
            self._stale = True
            raise

    async def _load_all(self) -> None:
        found = await self._table.all()
        kept: dict[str, _Delivery] = {}
        for name, subscription in found.items():
            if not subscription.spec.HasField("delivery") or subscription.paused:
                continue
            known = self._deliveries.get(name)
            same = known is not None and known.subscription == subscription
            kept[name] = known if same and known is not None else _Delivery(subscription)
        topics = {each.subscription.spec.topic for each in kept.values()}
        if self._begin is not None:
            for topic in topics - self.topics():
                await self._begin(topic)
        self._deliveries = kept

    def topics(self) -> set[str]:
        """The topics of its subscriptions."""
        return {each.subscription.spec.topic for each in self._deliveries.values()}

    async def _deliver(self, delivery: _Delivery, now: float) -> None:
        """One portion of a subscription."""
        if delivery.state is None:
            await self._read_state(delivery)
        state = delivery.state
        assert state is not None
        if self._store.shared and state.holder not in {"", self._holder} and seconds(state.hold_time) > now:
            # Another coordinator is at it. If it dies, this one goes on.
            delivery.wait_until, delivery.state = seconds(state.hold_time), None
            return
        delivery.behind = False
        page = await self._store.read_events(delivery.subscription.spec.topic, state.cursor, limit=PORTION)
        if not page.rows and page.last >= state.cursor:
            return
        delivery.behind, delivery.stuck_at = True, None
        after = event_pb2.SubscriptionState()
        after.CopyFrom(state)
        try:
            self._skip_missed(after, page)
            await self._submit(delivery, page.rows, after)
        except WeftError as error:
            passing = isinstance(error, RetryLater)
            delivery.wait_until = now + (RETRY_S if passing else STUCK_S)
            delivery.stuck_at = None if passing else self._types.changes
            if passing or after.error == error.message[:MAX_ERROR_CHARS]:
                return
            log.warning("subscription.stuck", subscription=delivery.subscription.name, error=error.message)
            after.CopyFrom(state)
            after.error = error.message[:MAX_ERROR_CHARS]
        else:
            after.error = ""
        await self._save(delivery, after)

    async def _read_state(self, delivery: _Delivery) -> None:
        subscription = delivery.subscription
        (row,) = await self._store.get_rows(STATE_KIND, [subscription.name])
        state = None if row is None else event_pb2.SubscriptionState.FromString(row.value)
        if state is None or state.uid != subscription.uid:
            state = event_pb2.SubscriptionState(uid=subscription.uid, cursor=subscription.start_sequence)
        delivery.state, delivery.revision = state, 0 if row is None else row.revision

    async def _save(self, delivery: _Delivery, state: event_pb2.SubscriptionState) -> None:
        """Note the progress. If another coordinator was quicker, or the subscription is another one now, look again."""
        state.holder = self._holder
        state.hold_time.CopyFrom(timestamp(self._store.now() + HOLD_S))
        put = RowPut(
            STATE_KIND, delivery.subscription.name, state.SerializeToString(), None, delivery.revision
        )
        (result,) = await self._store.put_rows([put])
        if isinstance(result, int):
            delivery.state, delivery.revision = state, result
        else:
            delivery.state = None

    def _skip_missed(self, state: event_pb2.SubscriptionState, page: EventPage) -> None:
        if page.last < state.cursor:
            log.error("subscription.events_lost", topic_last=page.last, cursor=state.cursor)
            state.cursor = page.last
            return
        first = page.rows[0].sequence
        state.missed_count += first - 1 - state.cursor

    async def _submit(
        self, delivery: _Delivery, rows: Sequence[EventRow], state: event_pb2.SubscriptionState
    ) -> None:
        """Submit the tasks of a portion, and note that in its state.

        Raises:
            WeftError: it cannot be submitted now.
        """
        subscription, spec = delivery.subscription, delivery.subscription.spec
        if self._makers is not None:
            for name in judged(subscription):
                await self._makers.check(subscription.maker, name)
        matching, watchers = self._filter(delivery), _watchers(spec.topic, self._deliveries.values())
        submissions: list[Submission] = []
        for row in rows:
            if matching is not None and not matching.matches(row.body):
                continue
            event = event_of(spec.topic, row)
            if watchers and lifecycle_pb2.TaskEnded.FromString(event.payload).method in watchers:
                continue
            request = self._request(subscription, event)
            if request is None:
                continue
            try:
                submission = self._submissions.check(request, own_id=True)
            except (InvalidArgument, TooLarge) as error:
                # Of this event: the others go on.
                state.refused_count += 1
                log.warning(
                    "event.refused",
                    subscription=subscription.name,
                    sequence=row.sequence,
                    error=error.message,
                )
                continue
            submission.request_id_ttl_s = REQUEST_ID_S
            submissions.append(submission)
        results = await self._submissions.store(submissions) if submissions else ()
        for submission, result in zip(submissions, results, strict=True):
            try:
                stored = accepted(result, submission.request_id)
            except AlreadyExists:
                # An earlier pass submitted it, by another contract.
                continue
            state.submitted_count += not stored.existed
        if rows:
            state.cursor = rows[-1].sequence

    def _request(
        self, subscription: event_pb2.Subscription, event: event_pb2.Event
    ) -> coordinator_pb2.SubmitTaskRequest | None:
        """The task of an event; None: it becomes none."""
        if self.of_hook is not None and subscription.name.startswith(OF_HOOK):
            return self.of_hook(subscription, event)
        return task_request(subscription, event)

    def _filter(self, delivery: _Delivery) -> EventFilter | None:
        """The compiled filter, by the present contracts.

        Raises:
            WeftError: it does not compile any more, or cannot be evaluated here.
        """
        spec = delivery.subscription.spec
        if not spec.filter:
            return None
        changes = self._types.changes
        if delivery.filters[0] != changes:
            delivery.filters = changes, filter_of(spec.filter, self._types.get(spec.topic))
        return delivery.filters[1]
