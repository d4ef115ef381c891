"""Refusals of keyed states."""

from __future__ import annotations

from weft.rpc.errors import Aborted, NotFound, TooLarge
from weft.v1 import errors_pb2 as pb

_SHOWN = 128


def state_too_large(name: str, size_bytes: int, limit_bytes: int, *, task_id: str = "") -> TooLarge:
    """A state is larger than the coordinator keeps; `task_id`: whose state it is, where its name is not known."""
    state = f"state of task {task_id[:_SHOWN]}" if task_id else f"state {name[:_SHOWN]!r}"
    return TooLarge(
        f"the {state} would have {size_bytes} bytes; the limit is {limit_bytes} (the coordinator's setting max_state_bytes): keep less, or"
        " keep it elsewhere and its place here",
        reason=pb.ERROR_REASON_STATE_TOO_LARGE,
        metadata={
            **({"task_id": task_id[:_SHOWN]} if task_id else {"state": name[:_SHOWN]}),
            "size_bytes": str(size_bytes),
            "limit_bytes": str(limit_bytes),
        },
    )


def state_not_found(name: str) -> NotFound:
    """There is no state of the name."""
    return NotFound(
        f"there is no state {name[:_SHOWN]!r}; `weft state list` shows those that there are",
        reason=pb.ERROR_REASON_STATE_NOT_FOUND,
        metadata={"state": name[:_SHOWN]},
    )


def state_conflict(why: str, *, name: str = "", task_id: str = "") -> Aborted:
    """A state cannot be changed: others have changed it, or hold its lock.

    Args:
        why: a sentence that says what to do.
        name: of the state; else `task_id`: of the task that was to change it.
    """
    return Aborted(
        why,
        reason=pb.ERROR_REASON_STATE_CONFLICT,
        metadata={"task_id": task_id[:_SHOWN]} if task_id else {"state": name[:_SHOWN]},
    )
