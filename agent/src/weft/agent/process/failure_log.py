"""Logs the exceptions of user code. Never raises itself, even if the exception raises when it is asked for its text."""

from __future__ import annotations

from weft.rpc.process.logs import get_logger
from weft.rpc.raised import UNTOLD, handler_error
from weft.v1 import task_pb2

_log = get_logger("weft.agent")


def log_raised(event: str, error: BaseException, **facts: object) -> task_pb2.HandlerError:
    """Log one line at level error, with the traceback. Returns the error as it was logged."""
    told = handler_error(error)
    if told.stack and told.message != UNTOLD:
        _log.error(event, exc_info=error, **facts)
    else:
        # Lone surrogates: the log could not write them.
        _log.error(event, error_type=told.type, error=told.message, stack=told.stack, **facts)
    return told


def log_late(event: str, error: BaseException, **facts: object) -> None:
    """Log one line at level info, without the traceback: the handler's call has ended already."""
    told = handler_error(error)
    _log.info(event, error_type=told.type, error=told.message, **facts)
