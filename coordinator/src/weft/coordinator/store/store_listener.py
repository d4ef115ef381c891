"""The listener's Protocol: what a store tells its coordinator, and what it asks of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from weft.coordinator.store.records import AttemptRef, Owner, ProgressRow, TaskRecord
from weft.coordinator.store.rules import QueueKey


class StoreListener(Protocol):
    """The events that a store tells its coordinator, on the event loop's thread and in a consistent state of the store.

    The methods must return at once.
    """

    def ready(self) -> None:
        """A task became ready, or a ready task is not held back any more."""
        ...

    def due(self, at: float) -> None:
        """Sweep at this time at the latest, by the store's clock: a change is due that the last sweep may not have
        known."""
        ...

    def fleet_changed(self) -> None:
        """Another coordinator changed agents, desired states or contracts: read them again."""
        ...

    def rows_changed(self, kind: str) -> None:
        """Rows of the table have changed, here or at another coordinator. May be told more often than that."""
        ...

    def posted(self, message: bytes) -> None:
        """Another coordinator has posted a message to all (`FleetStore.post`)."""
        ...

    def waits_for(self, queue: QueueKey, *, paused: bool) -> str:
        """What the ready tasks of a queue wait for, for the outcome of one that its time limit ends (`waited.queued`).

        Args:
            paused: the method is paused.
        """
        ...

    def has_room(self, queue: QueueKey) -> bool:
        """Whether an agent that is connected here can take a task of this queue now."""
        ...

    def has_subscriber(self, task_id: str, *, ended: bool) -> bool:
        """Whether the task has a subscriber: for its end (`ended`), or for its other changes and its progress.

        `changed` and `progressed` are called only for such tasks.
        """
        ...

    def subscribed_tasks(self) -> Sequence[str]:
        """The tasks for which `has_subscriber` is true."""
        ...

    def changed(self, record: TaskRecord) -> None:
        """A task with a subscriber changed its state. A terminal state is durable.

        The record holds the outcome and no payload.
        """
        ...

    def progressed(self, task_id: str, rows: Sequence[ProgressRow]) -> None:
        """Durable progress of a task with a subscriber."""
        ...

    def revoked(self, owner: Owner, ref: AttemptRef, reason: str, grace_s: float, *, lost: bool) -> None:
        """An owner must end an attempt: the task was cancelled, or (`lost`) the attempt is not the owner's any more."""
        ...
