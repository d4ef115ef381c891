"""One consumer of a subscription: gives it the events of the parts that it has, in order, and keeps what it acknowledges.

    feed ─► events after the position ─► those of its parts ─► consumer ─► acknowledged ─► cursor of the part (a row, compare-and-set)

A part's cursor is the event before its first unacknowledged one. When the consumer gets a part, it reads again from the part's cursor on, and
leaves out what it has had of others.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import AsyncGenerator, Iterable

from weft.coordinator.events.consumer_rules import leave, partition_of, prepare, take_part
from weft.coordinator.events.event_codec import SentEvent
from weft.coordinator.events.event_filter import EventFilter
from weft.coordinator.events.subscription_codec import STATE_KIND
from weft.coordinator.events.topic_feed import TopicFeed
from weft.coordinator.store.base import Store
from weft.coordinator.store.table_store import RowPut
from weft.rpc import refusals
from weft.rpc.errors import WeftError
from weft.v1 import event_pb2

# A consumer's parts are given to others so long after its coordinator has last renewed them, which it does so often.
HOLD_S = 5.0
RENEW_S = 1.0
# What it has been given of a part that it is to release must be acknowledged within this time.
RELEASE_S = 10.0
_TRIES = 16
DEFAULT_UNACKNOWLEDGED, MAX_UNACKNOWLEDGED = 256, 10_000


class _Part:
    """A part that this consumer has."""

    def __init__(self, cursor: int) -> None:
        # The last event that was looked at, and those that are not acknowledged, in order.
        self.seen = cursor
        self.unacknowledged: dict[int, None] = {}
        # When it must be released, by the loop's clock; None: it is kept.
        self.release_at_s: float | None = None

    @property
    def cursor(self) -> int:
        first = next(iter(self.unacknowledged), None)
        return self.seen if first is None else first - 1


class Consumer:
    """A consumer's stream."""

    def __init__(
        self,
        store: Store,
        subscription: event_pb2.Subscription,
        feed: TopicFeed,
        matching: EventFilter | None,
        max_unacknowledged: int,
    ) -> None:
        self._store = store
        self._subscription = subscription
        self._feed = feed
        self._matching = matching
        self._most = max_unacknowledged
        self._id = secrets.token_hex(8)
        self._parts: dict[int, _Part] = {}
        self._count = 0
        self._position = 0
        self._unacknowledged = 0
        self._renew_at_s = 0.0
        self._held_until_s = 0.0
        # Something was acknowledged, or the state has changed.
        self._moved = asyncio.Event()
        self._finished = False
        # The wait of `run` for something to do.
        self._waiting: asyncio.Timeout | None = None

    # -- what the consumer and the store say --------------------------------------------------------------------------

    def acknowledge(self, sequences: Iterable[int]) -> None:
        """Events were dealt with. Others than those that it has are ignored: they were given to another one meanwhile."""
        for sequence in sequences:
            for part in self._parts.values():
                if sequence in part.unacknowledged:
                    del part.unacknowledged[sequence]
                    self._unacknowledged -= 1
                    break
        self._moved.set()

    def finish(self) -> None:
        """The consumer goes: let `run` end at once, and others have its parts. From the same loop."""
        self._finished = True
        if self._waiting is not None and not self._waiting.expired():
            self._waiting.reschedule(0.0)

    # -- its stream ---------------------------------------------------------------------------------------------------

    async def run(self) -> AsyncGenerator[tuple[list[SentEvent], int]]:
        """Portions of events, and how many parts it has; the first one when it takes part.

        Raises:
            WeftError: the subscription is gone, or the store was away for too long.
        """
        try:
            await self._renew()
            told = len(self._parts)
            yield [], told
            while not self._finished:
                loop_s = asyncio.get_running_loop().time()
                if loop_s >= self._renew_at_s:
                    await self._renew()
                self._moved.clear()
                events = await self._next()
                if events or told != len(self._parts):
                    told = len(self._parts)
                    yield events, told
        finally:
            await self._leave()

    async def _next(self) -> list[SentEvent]:
        """The next events for this consumer; none, if there are none before it is time to renew."""
        wait_s = max(0.0, self._renew_at_s - asyncio.get_running_loop().time())
        with contextlib.suppress(TimeoutError):
            try:
                async with asyncio.timeout(wait_s) as self._waiting:
                    if not self._parts or self._unacknowledged >= self._most:
                        await self._moved.wait()
                    else:
                        portion = await self._feed.after(self._position, keep_up=False)
                        return self._own(portion.events, portion.position)
            finally:
                self._waiting = None
        return []

    def _own(self, events: list[SentEvent], position: int) -> list[SentEvent]:
        """Those among events that are for this consumer now."""
        found: list[SentEvent] = []
        for event in events:
            if self._unacknowledged >= self._most:
                return found
            message = event_pb2.Event.FromString(event.body)
            part = self._parts.get(partition_of(message.key, message.id, self._count))
            if part is not None and event.sequence > part.seen and part.release_at_s is None:
                part.seen = event.sequence
                if self._matching is None or self._matching.matches(event.body):
                    part.unacknowledged[event.sequence] = None
                    self._unacknowledged += 1
                    found.append(event)
            self._position = event.sequence
        self._position = position
        for part in self._parts.values():
            if part.release_at_s is None:
                part.seen = max(part.seen, position)
        return found

    # -- its parts ----------------------------------------------------------------------------------------------------

    async def _renew(self) -> None:
        """Note the progress, and take or release parts."""
        loop = asyncio.get_running_loop()
        for _ in range(_TRIES):
            (row,) = await self._store.get_rows(STATE_KIND, [self._subscription.name])
            state = event_pb2.SubscriptionState() if row is None else _state_of(row.value)
            if row is not None and self._parts and state.uid != self._subscription.uid:
                raise refusals.subscription_not_found(self._subscription.name)
            prepare(state, self._subscription)
            now_s = loop.time()
            if self._held_until_s and now_s > self._held_until_s:
                # Others may have its parts.
                raise refusals.store_unavailable(
                    "the consumer's place was not renewed in time", retry_after_s=0.1
                )
            cursors = {number: part.cursor for number, part in self._parts.items()}
            released = [
                number
                for number, part in self._parts.items()
                if part.release_at_s is not None and (not part.unacknowledged or now_s >= part.release_at_s)
            ]
            owned, leaving = take_part(state, self._id, self._store.now(), HOLD_S, cursors, released)
            put = RowPut(
                STATE_KIND,
                self._subscription.name,
                state.SerializeToString(),
                None,
                0 if row is None else row.revision,
            )
            (result,) = await self._store.put_rows([put])
            if isinstance(result, int):
                self._held_until_s = now_s + HOLD_S * 0.8
                self._renew_at_s = now_s + RENEW_S
                self._count = len(state.partitions)
                self._take(owned, leaving, now_s)
                return
        raise refusals.overloaded(
            f"others change subscription {self._subscription.name!r} at the same time; try again",
            retry_after_s=0.5,
        )

    def _take(self, owned: dict[int, int], leaving: set[int], now_s: float) -> None:
        for number in [each for each in self._parts if each not in owned]:
            self._unacknowledged -= len(self._parts.pop(number).unacknowledged)
        for number, cursor in owned.items():
            part = self._parts.get(number)
            if part is None:
                part = self._parts[number] = _Part(cursor)
                self._position = cursor if len(self._parts) == 1 else min(self._position, cursor)
            if number in leaving and part.release_at_s is None:
                part.release_at_s = now_s + RELEASE_S
            elif number not in leaving and part.release_at_s is not None:
                part.release_at_s = None
                self._position = min(self._position, part.seen)
        if any(part.release_at_s is not None for part in self._parts.values()):
            # They are waited for.
            self._renew_at_s = min(self._renew_at_s, now_s + RENEW_S / 5)

    async def _leave(self) -> None:
        """Let others have its parts at once. If that fails, they get them when its time is over."""
        with contextlib.suppress(WeftError, TimeoutError):
            async with asyncio.timeout(HOLD_S / 2):
                for _ in range(_TRIES):
                    (row,) = await self._store.get_rows(STATE_KIND, [self._subscription.name])
                    if row is None:
                        return
                    state = _state_of(row.value)
                    if state.uid != self._subscription.uid:
                        return
                    leave(state, self._id, {number: part.cursor for number, part in self._parts.items()})
                    put = RowPut(
                        STATE_KIND, self._subscription.name, state.SerializeToString(), None, row.revision
                    )
                    if isinstance((await self._store.put_rows([put]))[0], int):
                        return


def _state_of(value: bytes) -> event_pb2.SubscriptionState:
    return event_pb2.SubscriptionState.FromString(value)
