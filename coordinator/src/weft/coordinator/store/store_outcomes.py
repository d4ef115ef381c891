"""The store's own outcomes, serialized: a limit passed, too many crashes, cancelled."""

from __future__ import annotations

from weft.rpc.errors import Aborted, Cancelled, DataLoss, DeadlineExceeded, WeftError
from weft.v1 import task_pb2


def time_limit(limit: str) -> bytes:
    """The outcome of a task or an attempt that outlived `limit`, one of the names in `weft.v1.TimeLimits`."""
    return _outcome(DeadlineExceeded(f"the time limit {limit} passed", metadata={"limit": limit}))


def crash_loop(crashes: int) -> bytes:
    message = f"given up: {crashes} attempts were lost with their agents"
    return _outcome(Aborted(message, metadata={"crashes": str(crashes)}))


def cancelled(reason: str) -> bytes:
    return _outcome(Cancelled("cancelled on request", metadata={"reason": reason} if reason else None))


def not_stored(error: WeftError) -> bytes:
    """The outcome of an accepted task that could not be stored."""
    return _outcome(error)


def lost(task_id: str) -> bytes:
    """The outcome of a stored task that is not there any more."""
    return _outcome(DataLoss("the store does not know this task any more", metadata={"task_id": task_id}))


def _outcome(error: WeftError) -> bytes:
    return task_pb2.Outcome(status=error.status()).SerializeToString()
