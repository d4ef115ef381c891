"""The remembered calls of a cancelled task are cancelled, too: its handler may not run, and cannot do it then."""

from __future__ import annotations

from google.protobuf.message import DecodeError

from weft.coordinator.store.base import Store
from weft.coordinator.store.paging import ListFilter
from weft.coordinator.store.records import TaskRecord
from weft.coordinator.store.remembered import parent_of
from weft.coordinator.store.rules import State
from weft.v1 import task_pb2

_UNFINISHED = frozenset(state for state in State if not state.terminal)
_PAGE = 200
# Pages that are read: a task has at most 10,000 steps, and others stand between.
_MOST_PAGES = 200


async def cancel_children(store: Store, parent: TaskRecord, grace_s: float) -> None:
    """Cancel the unfinished tasks that a task's handler has made as remembered calls.

    Args:
        parent: read with its context.
    """
    where = ListFilter(states=_UNFINISHED, created_from=parent.created_at, root_id=_root_of(parent))
    cursor = ""
    for _ in range(_MOST_PAGES):
        page = await store.list_tasks(where, limit=_PAGE, cursor=cursor)
        found = [
            each.task_id
            for each in page.records
            if parent_of(each.submission.request_id or "") == parent.task_id
        ]
        if found:
            await store.cancel(found, f"task {parent.task_id}, which called it, was cancelled", grace_s)
        cursor = page.cursor
        if not cursor:
            return


def _root_of(parent: TaskRecord) -> str:
    try:
        return task_pb2.CallContext.FromString(parent.submission.context).root_id or parent.task_id
    except DecodeError:
        return parent.task_id
