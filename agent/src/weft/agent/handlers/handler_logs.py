"""The task on the lines of a handler's own log, where the application has set up logging itself.

In a process of weft's own (`weft agent`, `weft up`) every line has these fields already.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, MutableMapping
from typing import Any

from weft.rpc.process import log_context
from weft.rpc.process.log_lines import complete, entry_of, level_name, level_of_method

_FIELDS = ("task_id", "attempt", "method", "agent_id", "trace_id", "span_id")


def log_fields() -> dict[str, Any]:
    """The fields of a line that is logged here and now: task_id, attempt, method, agent_id, and within a trace trace_id and span_id.

    Empty outside a handler and outside a trace.
    """
    return log_context.fields()


def task_log_processor(_logger: Any, method: str, event: MutableMapping[str, Any]) -> Mapping[str, Any]:
    """A processor of structlog: adds these fields, and keeps the line for `weft tasks logs`. Place it after those that add fields."""
    found = log_context.fields()
    if "task_id" in found:
        log_context.tell_watchers(level_name(level_of_method(method)), complete(event))
    return {**event, **found}


class TaskLogFilter(logging.Filter):
    """For `logging`: adds these fields to records, for formats such as "%(task_id)s %(message)s", and keeps the lines for
    `weft tasks logs`. Outside a handler the fields are empty.

        handler.addFilter(TaskLogFilter())

    At a handler, so that it sees the records of all loggers.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        found = log_context.fields()
        # A second handler with such a filter, or a line of weft, which is kept already.
        if "task_id" in found and not hasattr(record, _FIELDS[0]) and not hasattr(record, "weft"):
            log_context.tell_watchers(level_name(record.levelno), complete(entry_of(record)))
        for name in _FIELDS:
            if not hasattr(record, name):
                setattr(record, name, found.get(name, ""))
        return True
