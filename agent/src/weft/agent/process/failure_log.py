"""Tells the log what user code raised. Never raises itself, whatever the exception does when it is asked for its text."""

from __future__ import annotations

from weft.rpc.process.logs import get_logger
from weft.rpc.raised import UNTOLD, handler_error
from weft.v1 import task_pb2

_log = get_logger("weft.agent")


def log_raised(event: str, error: BaseException, **facts: object) -> task_pb2.HandlerError:
    """One line at level error, with the traceback. Gives what was told."""
    told = handler_error(error)
    if told.stack and told.message != UNTOLD:
        _log.error(event, exc_info=error, **facts)
    else:
        # The log would lose it.
        _log.error(event, raised=told.type, says=told.message, stack=told.stack, **facts)
    return told


def log_late(event: str, error: BaseException, **facts: object) -> None:
    """One line at level info, without the traceback: of a handler that nobody waits for any more."""
    told = handler_error(error)
    _log.info(event, raised=told.type, says=told.message, **facts)
