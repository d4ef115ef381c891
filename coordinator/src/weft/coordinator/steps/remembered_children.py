"""The remembered calls of a cancelled task are cancelled, too, with all that these have called: handlers that do not run cannot do it."""

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
    """Cancel the unfinished tasks that a task's handler, and the handlers of these, have made as remembered calls.

    Args:
        parent: read with its context.
    """
    calls = await _unfinished_calls(store, parent)
    waiting = [parent.task_id]
    while waiting:
        task_id = waiting.pop()
        found = calls.pop(task_id, [])
        reason = f"task {task_id}, which called it, was cancelled"
        for at in range(0, len(found), _PAGE):
            await store.cancel(found[at : at + _PAGE], reason, grace_s)
        waiting += found


async def _unfinished_calls(store: Store, parent: TaskRecord) -> dict[str, list[str]]:
    """The unfinished remembered calls of a task's tree since its creation, by who has called."""
    where = ListFilter(states=_UNFINISHED, created_from=parent.created_at, root_id=_root_of(parent))
    calls: dict[str, list[str]] = {}
    cursor = ""
    for _ in range(_MOST_PAGES):
        page = await store.list_tasks(where, limit=_PAGE, cursor=cursor)
        for each in page.records:
            if caller := parent_of(each.submission.request_id or ""):
                calls.setdefault(caller, []).append(each.task_id)
        cursor = page.cursor
        if not cursor:
            break
    return calls


def _root_of(parent: TaskRecord) -> str:
    try:
        return task_pb2.CallContext.FromString(parent.submission.context).root_id or parent.task_id
    except DecodeError:
        return parent.task_id
