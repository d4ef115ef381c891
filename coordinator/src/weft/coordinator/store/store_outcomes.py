"""The store's own outcomes, serialized: a limit passed, too many crashes, cancelled."""

from __future__ import annotations

from weft.rpc import refusals
from weft.rpc.errors import WeftError
from weft.v1 import task_pb2


def time_limit(limit: str, what: str = "") -> bytes:
    """The outcome of a task or an attempt that outlived `limit`, one of the names in `weft.v1.TimeLimits`.

    Args:
        what: what it did until then (`waited`).
    """
    return _outcome(refusals.time_limit(f"the time limit {limit} passed{what and ': '}{what}", limit=limit))


def no_agent(what: str) -> bytes:
    """Why a task went on at its fallback although no attempt failed. `what`: what it waited for (`waited.queued`)."""
    return _outcome(refusals.no_agent(f"no connected agent could run this method: {what}"))


def crash_loop(crashes: int) -> bytes:
    return _outcome(refusals.crash_loop(crashes))


def cancelled(reason: str) -> bytes:
    return _outcome(refusals.cancelled("cancelled on request", reason))


def not_stored(error: WeftError) -> bytes:
    """The outcome of an accepted task that could not be stored."""
    return _outcome(error)


def lost(task_id: str) -> bytes:
    """The outcome of a stored task that is not there any more."""
    return _outcome(refusals.task_not_found(task_id, was_stored=True))


def _outcome(error: WeftError) -> bytes:
    return task_pb2.Outcome(status=error.status()).SerializeToString()
