"""The task on the lines of a handler's own log, where the application has set up logging itself.

In a process of weft's own (`weft agent`, `weft up`) every line has these fields already.
"""

from __future__ import annotations

import logging
from typing import Any

from weft.rpc.process import log_context

_FIELDS = ("task_id", "attempt", "method", "agent_id", "trace_id", "span_id")


def log_fields() -> dict[str, Any]:
    """The fields of a line that is logged here and now: task_id, attempt, method, agent_id, and within a trace trace_id and span_id.

    Empty outside a handler and outside a trace. As a processor of structlog:

        lambda _logger, _method, event: {**log_fields(), **event}
    """
    return log_context.fields()


class TaskLogFilter(logging.Filter):
    """Adds these fields to records of `logging`, for formats such as "%(task_id)s %(message)s". Outside a handler they are empty.

        handler.addFilter(TaskLogFilter())

    At a handler, so that it sees the records of all loggers.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        found = log_context.fields()
        for name in _FIELDS:
            if not hasattr(record, name):
                setattr(record, name, found.get(name, ""))
        return True
