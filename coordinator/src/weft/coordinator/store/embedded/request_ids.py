"""Request ids, and the tasks that they belong to.

The file has the request ids of stored tasks. Those of tasks that are being written are kept here.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from weft.coordinator.store.embedded.reader import KnownRequest, Reader
from weft.coordinator.store.embedded.unfinished_task import UnfinishedTask
from weft.coordinator.store.records import Enqueued, RequestIdReused, Submission
from weft.coordinator.store.rules import State
from weft.coordinator.store.task_ids import digest_of, format_id, request_key

# A task has no request id any more: another one takes it over.
GIVE_AWAY = "UPDATE tasks SET request_key = NULL, request_id = NULL, request_digest = NULL WHERE id = ?"


class RequestIds:
    """Finds the tasks of request ids. A lookup takes a few microseconds, on the event loop."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._pending: dict[str, KnownRequest] = {}
        # The keys of the last lookup: the rows of its tasks need them too.
        self.keys: dict[str, int] = {}

    def look_up(self, submissions: Sequence[Submission]) -> dict[str, KnownRequest]:
        """The known request ids of these submissions; `admit` adds to them."""
        self.keys = {each.request_id: request_key(each.request_id) for each in submissions if each.request_id}
        if not self.keys:
            return {}
        known = {found.request_id: found for found in self._reader.requests(list(set(self.keys.values())))}
        for request_id in self.keys:
            if (pending := self._pending.get(request_id)) is not None:
                known[request_id] = pending
        return known

    def numbers(self, request_ids: Sequence[str]) -> dict[str, int]:
        """The tasks that have these request ids."""
        found = self._reader.requests([request_key(each) for each in request_ids])
        known = {each.request_id: each.number for each in found}
        for request_id in request_ids:
            if (pending := self._pending.get(request_id)) is not None:
                known[request_id] = pending.number
        return known

    def admit(
        self, submission: Submission, number: int, known: dict[str, KnownRequest]
    ) -> KnownRequest | Enqueued | RequestIdReused:
        """Give the request id to the task `number`, or return the task that has it."""
        request_id = submission.request_id
        digest = digest_of(submission)
        earlier = known.get(request_id)
        if earlier is None:
            mine = known[request_id] = self._pending[request_id] = KnownRequest(number, request_id, digest)
            return mine
        task_id = format_id(earlier.number)
        return Enqueued(task_id, existed=True) if earlier.digest == digest else RequestIdReused(task_id)

    def answers(self, submission: Submission, earlier: KnownRequest, now: float) -> bool | None:
        """Whether the result of an ended task answers a cached request. None: it is the answer to another request."""
        end = self._reader.end_of(earlier.number)
        if end is None:
            return False
        state, finished_at, expires_at = end
        if state is State.SUCCEEDED and earlier.digest != digest_of(submission):
            return None
        return state is State.SUCCEEDED and now < min(finished_at + submission.cache_ttl_s, expires_at)

    def settled(self, tasks: Iterable[UnfinishedTask]) -> None:
        """These tasks are stored, or were refused."""
        for task in tasks:
            if task.request_id:
                self._pending.pop(task.request_id, None)
