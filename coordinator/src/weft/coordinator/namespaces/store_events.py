"""The events that the store tells its mesh (`StoreListener`), passed on to the parts that handle them."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Protocol, Self

from google.protobuf.message import DecodeError

from weft.coordinator.calls.task_subscriptions import TaskSubscriptions
from weft.coordinator.dispatch.dispatcher import Dispatcher
from weft.coordinator.dispatch.session_index import SessionIndex
from weft.coordinator.dispatch.sweeper import Sweeper
from weft.coordinator.fleet.queue_explainer import QueueExplainer
from weft.coordinator.mesh_part import MeshPart
from weft.coordinator.policy.policy_rows import PolicyRows
from weft.coordinator.sessions.sessions import Sessions
from weft.coordinator.store.records import AttemptRef, Owner, ProgressRow, TaskRecord
from weft.coordinator.store.rules import QueueKey
from weft.v1 import post_pb2


class Upkeep(Protocol):
    """Things of the coordinator itself that are in the store of a mesh."""

    def rows_changed(self, kind: str) -> bool:
        """Some coordinator has changed rows of a kind. True: `keep_house` is to look at them soon."""
        ...

    async def keep_house(self, now_s: float) -> None:
        """A part of each pass of the sweeper."""
        ...


class NoUpkeep:
    """Nothing is kept there."""

    def rows_changed(self, kind: str) -> bool:  # noqa: ARG002
        return False

    async def keep_house(self, now_s: float) -> None: ...


class StoreEvents:
    """A mesh as the store's listener. The mesh makes the parts."""

    _dispatcher: Dispatcher
    _sweeper: Sweeper
    _parts: tuple[MeshPart, ...]
    _overrides: PolicyRows
    _operator_limits: PolicyRows
    _explainer: QueueExplainer
    _upkeep: Upkeep
    _index: SessionIndex
    _subscriptions: TaskSubscriptions
    _sessions: Sessions

    def _bound(self) -> Self:
        """The parts' own methods are in place of those that only pass on: each task comes by here several times."""
        vars(self).update(
            ready=self._dispatcher.wake,
            has_subscriber=self._subscriptions.has_subscriber,
            changed=self._subscriptions.changed,
        )
        return self

    def follow_ends(self, ended: Callable[[TaskRecord], None] | None) -> None:
        """Tell of the end of each task, wherever it was; None: not any more. Then tasks cost nothing for it."""
        inner = self._subscriptions
        if ended is None:
            self._bound()
            return

        def has_subscriber(task_id: str, *, ended: bool) -> bool:
            return ended or inner.has_subscriber(task_id, ended=False)

        def changed(record: TaskRecord) -> None:
            inner.changed(record)
            if record.state.terminal and record.finished_at is not None:
                ended(record)

        vars(self).update(has_subscriber=has_subscriber, changed=changed)

    def ready(self) -> None:
        self._dispatcher.wake()

    def has_subscriber(self, task_id: str, *, ended: bool) -> bool:
        return self._subscriptions.has_subscriber(task_id, ended=ended)

    def changed(self, record: TaskRecord) -> None:
        self._subscriptions.changed(record)

    def due(self, at: float) -> None:
        self._sweeper.due(at)

    def fleet_changed(self) -> None:
        self._sweeper.hasten()

    def rows_changed(self, kind: str) -> None:
        if self._upkeep.rows_changed(kind):
            self._sweeper.hasten()
        for part in self._parts:
            if part.rows_changed(kind):
                self._sweeper.hasten()
        for rows in (self._overrides, self._operator_limits):
            if kind == rows.kind:
                rows.rows_changed()
                self._sweeper.hasten()

    def posted(self, message: bytes) -> None:
        try:
            post = post_pb2.CoordinatorPost.FromString(message)
        except DecodeError:
            # Of a later version.
            return
        for part in self._parts:
            part.posted(post)

    def waits_for(self, queue: QueueKey, *, paused: bool) -> str:
        return self._explainer.queue_now(queue, paused=paused).text

    def has_room(self, queue: QueueKey) -> bool:
        return self._index.has_room(queue, time.monotonic())

    def subscribed_tasks(self) -> Sequence[str]:
        return self._subscriptions.subscribed()

    def progressed(self, task_id: str, rows: Sequence[ProgressRow]) -> None:
        self._subscriptions.progressed(task_id, rows)

    def revoked(self, owner: Owner, ref: AttemptRef, reason: str, grace_s: float, *, lost: bool) -> None:
        self._sessions.revoke(owner, ref, reason, grace_s, lost=lost)
