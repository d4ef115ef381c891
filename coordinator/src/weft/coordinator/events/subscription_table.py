"""Subscriptions as rows of the store's table: read, and changed by compare-and-set."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from weft.coordinator.events.subscription_codec import KIND, STATE_KIND
from weft.coordinator.store.base import Store
from weft.coordinator.store.table_store import RowConflict, RowDelete, RowPut, TooManyRows, every_row
from weft.rpc import refusals
from weft.v1 import event_pb2

# How often a change is tried when others change the subscription at the same time.
_TRIES = 8

Found = tuple[event_pb2.Subscription, event_pb2.SubscriptionState | None]


class SubscriptionTable:
    """The subscriptions of a store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def read(self, name: str) -> Found:
        """A subscription and its progress.

        Raises:
            NotFound: SUBSCRIPTION_NOT_FOUND.
        """
        (row,) = await self._store.get_rows(KIND, [name])
        if row is None:
            raise refusals.subscription_not_found(name)
        return event_pb2.Subscription.FromString(row.value), (await self.states([name]))[0]

    async def states(self, names: Sequence[str]) -> list[event_pb2.SubscriptionState | None]:
        return [
            None if row is None else event_pb2.SubscriptionState.FromString(row.value)
            for row in await self._store.get_rows(STATE_KIND, names)
        ]

    async def create(self, subscription: event_pb2.Subscription) -> event_pb2.Subscription | None:
        """Store a new subscription; returns the one that has its name already, if there is one.

        Raises:
            Overloaded: there are too many.
        """
        for _ in range(_TRIES):
            put = RowPut(KIND, subscription.name, subscription.SerializeToString(), None, 0)
            (result,) = await self._store.put_rows([put])
            if isinstance(result, TooManyRows):
                raise refusals.overloaded(
                    f"there are {result.limit} subscriptions, the most that are allowed: delete some"
                )
            if not isinstance(result, RowConflict):
                return None
            (row,) = await self._store.get_rows(KIND, [subscription.name])
            if row is not None:
                return event_pb2.Subscription.FromString(row.value)
        raise _contended(subscription.name)

    async def change(
        self, name: str, change: Callable[[event_pb2.Subscription], bool]
    ) -> event_pb2.Subscription:
        """Change a subscription; returns it as it is then.

        Args:
            change: changes the given one; false: nothing is to be changed. May be called several times.

        Raises:
            NotFound: SUBSCRIPTION_NOT_FOUND.
            Overloaded: others change it at the same time, again and again.
        """
        for _ in range(_TRIES):
            (row,) = await self._store.get_rows(KIND, [name])
            if row is None:
                raise refusals.subscription_not_found(name)
            subscription = event_pb2.Subscription.FromString(row.value)
            if not change(subscription):
                return subscription
            put = RowPut(KIND, name, subscription.SerializeToString(), None, row.revision)
            (result,) = await self._store.put_rows([put])
            if not isinstance(result, RowConflict | TooManyRows):
                return subscription
        raise _contended(name)

    async def delete(self, name: str) -> None:
        """
        Raises:
            NotFound: SUBSCRIPTION_NOT_FOUND.
        """
        gone, _ = await self._store.delete_rows([RowDelete(KIND, name), RowDelete(STATE_KIND, name)])
        if gone is not True:
            raise refusals.subscription_not_found(name)

    async def page(self, limit: int, cursor: str) -> tuple[list[Found], str]:
        """Some subscriptions by name, and the cursor of the next page."""
        page = await self._store.list_rows(KIND, limit=limit, cursor=cursor)
        found = [event_pb2.Subscription.FromString(row.value) for row in page.rows]
        return list(zip(found, await self.states([each.name for each in found]), strict=True)), page.cursor

    async def all(self) -> dict[str, event_pb2.Subscription]:
        """All subscriptions, by name."""
        found = [event_pb2.Subscription.FromString(row.value) async for row in every_row(self._store, KIND)]
        return {each.name: each for each in found}


def _contended(name: str) -> Exception:
    return refusals.overloaded(
        f"others change subscription {name!r} at the same time; try again", retry_after_s=0.5
    )
