"""One pass over the groups that have ended: submit their callbacks.

    due notes ─► pending since now (compare-and-set) ─► submit, by the group's request id ─► note: the task, or why there is none
                 one pass goes on                       repeats are one task

A coordinator that dies between these steps leaves the callback pending, and so does one whose store does not take the task now. The
note is due again soon: any coordinator goes on from there. The request id is kept for longer than pending callbacks are submitted
again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from google.protobuf.message import DecodeError

from weft.coordinator.calls.submission import SubmissionService, accepted
from weft.coordinator.events.event_codec import row_of
from weft.coordinator.groups.group_codec import callback_request, group_message, packed_note
from weft.coordinator.identity.makers import Makers
from weft.coordinator.lifecycle.lifecycle_event import LifecycleEvent, event_of
from weft.coordinator.store.base import Store
from weft.coordinator.store.group_store import GroupChange, GroupRecord
from weft.coordinator.store.records import Submission
from weft.rpc.errors import AlreadyExists, RetryLater, Unavailable, WeftError
from weft.rpc.process.logs import get_logger
from weft.rpc.times import seconds, timestamp
from weft.v1 import group_pb2, lifecycle_pb2

log = get_logger(__name__)

# Groups of one pass.
PASS_GROUPS = 64
# After so long, a callback that is not known to be submitted is taken up by any coordinator.
TAKEN_UP_S = 2.0
# How long a callback may be refused for a passing reason, and how long its request id is kept.
PENDING_S = 86400.0
REQUEST_ID_S = 8 * 86400.0
# A pending callback is given up so long before its request id may be forgotten.
_MARGIN_S = 3600.0
# A note that cannot be read is left alone for so long.
_UNREADABLE_S = 3600.0


@dataclass(slots=True)
class PendingCallback:
    """A callback that is to be submitted: the group as it is in the store, and its message."""

    record: GroupRecord
    group: group_pb2.Group
    # An earlier pass may have submitted it.
    taken_up: bool
    settled: bool = False

    def late_s(self, now: float) -> float:
        return now - seconds(self.group.callback_pending_time)

    def refuse(self, reason: str) -> None:
        log.warning("group.callback_refused", group=self.record.name, error=reason)
        self.group.callback_error, self.settled = reason, True

    def submitted(self, task_id: str) -> None:
        self.group.callback_task_id, self.settled = task_id, True


class CallbackPass:
    """Runs passes over the groups of a store.

    Args:
        makers: judges who set callbacks. None: nobody asks.
    """

    def __init__(self, store: Store, submissions: SubmissionService, makers: Makers | None = None) -> None:
        self._makers = makers
        self._store = store
        self._submissions = submissions

    async def run(self) -> float | None:
        """One pass; returns when the next one is due, by the store's clock. None: not until groups change."""
        due = await self._store.due_groups(PASS_GROUPS)
        if not due.groups:
            return due.next_at
        await self._tell(due.groups)
        pending = await self._take_up(due.groups, due.now)
        await self._submit(pending, due.now)
        settled = [callback for callback in pending if callback.settled]
        for callback in settled:
            callback.group.ClearField("callback_pending_time")
        # If another pass was quicker, it has noted the same.
        await self._store.change_groups(
            [GroupChange(callback.record, packed_note(callback.group), None) for callback in settled]
        )
        return due.now

    async def _tell(self, records: Sequence[GroupRecord]) -> None:
        """Publish the ends that are to be told. An end that an earlier pass has published is the same event."""
        events = [event for record in records if (event := _end_of(record)) is not None]
        if events:
            await self._store.append_events(
                [row_of(each.topic, each.message.SerializeToString(), each.id, each.key) for each in events]
            )

    async def _take_up(self, records: Sequence[GroupRecord], now: float) -> list[PendingCallback]:
        """Mark callbacks as pending. Returns those that no other pass has."""
        marked = [_marked(record, now) for record in records]
        taken = await self._store.change_groups([change for change, _ in marked])
        pending = [
            callback for (_, callback), own in zip(marked, taken, strict=True) if own and callback is not None
        ]
        for callback in pending:
            callback.record = replace(callback.record, note=packed_note(callback.group))
        return pending

    async def _submit(self, pending: Sequence[PendingCallback], now: float) -> None:
        """Submit pending callbacks, and note what became of each."""
        checked: list[tuple[PendingCallback, Submission]] = []
        for callback in pending:
            if callback.taken_up and callback.late_s(now) > REQUEST_ID_S - _MARGIN_S:
                callback.refuse(
                    "no coordinator ran for so long that it is not known whether its task was submitted"
                )
                continue
            name, uid = callback.record.name, callback.record.uid
            try:
                if self._makers is not None:
                    await self._makers.check(callback.group.callback_maker, callback.group.callback.method)
                submission = self._submissions.check(
                    callback_request(name, uid, callback.group.callback), own_id=True
                )
            except WeftError as error:
                _refused(callback, error, now)
            else:
                submission.request_id_ttl_s = REQUEST_ID_S
                checked.append((callback, submission))
        if not checked:
            return
        try:
            results = await self._submissions.store([submission for _, submission in checked])
        except WeftError as error:
            for callback, _ in checked:
                _refused(callback, error, now)
            return
        for (callback, submission), result in zip(checked, results, strict=True):
            try:
                callback.submitted(accepted(result, submission.request_id).task_id)
            except AlreadyExists as error:
                # Its method has another contract since an earlier pass submitted it: the digest is another one.
                callback.submitted(error.metadata["task_id"])
            except WeftError as error:
                _refused(callback, error, now)


def _marked(record: GroupRecord, now: float) -> tuple[GroupChange, PendingCallback | None]:
    """A due group as pending, with its callback; None: there is none to submit."""
    try:
        group = group_message(record)
    except DecodeError:
        log.error("group.unreadable", group=record.name)  # noqa: TRY400
        return GroupChange(record, record.note, now + _UNREADABLE_S), None
    # It is told by now.
    group.end_untold = False
    if not group.HasField("callback") or group.callback_task_id or group.callback_error:
        return GroupChange(record, packed_note(group), None), None
    taken_up = group.HasField("callback_pending_time")
    if not taken_up:
        group.callback_pending_time.CopyFrom(timestamp(now))
    return GroupChange(record, packed_note(group), now + TAKEN_UP_S), PendingCallback(record, group, taken_up)


def _end_of(record: GroupRecord) -> LifecycleEvent | None:
    """The end of a group as an event; None: it is not to be told."""
    try:
        group = group_message(record)
    except DecodeError:
        return None
    if not group.end_untold or record.ended_at is None:
        return None
    message = lifecycle_pb2.GroupEnded(
        group=record.name, uid=record.uid, counts=group.counts, end_time=group.end_time
    )
    return event_of(message, record.name, record.uid, record.ended_at)


def _refused(callback: PendingCallback, error: WeftError, now: float) -> None:
    """A callback's task was refused: for good, or for a while. If the store is unavailable, it may have the task."""
    passing = isinstance(error, RetryLater) and callback.late_s(now) <= PENDING_S
    if not passing and not isinstance(error, Unavailable):
        callback.refuse(error.message)


async def callback_methods(store: Store) -> set[str]:
    """The methods of callbacks."""
    found: set[str] = set()
    cursor = ""
    while True:
        page = await store.list_groups(limit=1000, cursor=cursor)
        for record in page.groups:
            if record.note and record.due_at is not None:
                found.add(group_message(record).callback.method)
        if not (cursor := page.cursor):
            return found
