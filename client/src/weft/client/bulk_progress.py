"""How far a bulk has come, for progress bars."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from weft.client.bulk_source import BulkItem, BulkSource
from weft.rpc.errors import WeftError


class BulkProgress(NamedTuple):
    """Counts of one `run_many`.

    Args:
        taken: requests that were taken from the source.
        stored: of these, tasks that are stored.
        ended: of these, tasks that have ended, and requests that were refused.
        failed: of these, all that did not succeed.
        source_ended: the source has no more: `taken` is the whole.
    """

    taken: int
    stored: int
    ended: int
    failed: int
    source_ended: bool


class BulkListener:
    """Tells a program what happens to its bulk. Its functions are called on the client's event loop.

    Args:
        stored: called with a request's index and its task's id when the task is stored.
        progress: called after each answer of the coordinator that changed the counts.
    """

    def __init__(
        self,
        stored: Callable[[int, str], None] | None = None,
        progress: Callable[[BulkProgress], None] | None = None,
    ) -> None:
        self._tell_stored = stored
        self._tell = progress
        self._stored = self._ended = self._failed = 0
        self._told: BulkProgress | None = None

    def stored(self, item: BulkItem) -> None:
        self._stored += 1
        if self._tell_stored is not None:
            self._tell_stored(item.index, item.task_id)

    def ended(self, item: BulkItem, error: WeftError | None) -> None:
        self._ended += 1
        self._failed += error is not None or item.task is None or not item.task.succeeded

    def tell(self, source: BulkSource[Any]) -> None:
        """Call `progress`, if something has changed."""
        if self._tell is None:
            return
        now = BulkProgress(source.taken, self._stored, self._ended, self._failed, source.at_end)
        if now != self._told:
            self._told = now
            self._tell(now)
