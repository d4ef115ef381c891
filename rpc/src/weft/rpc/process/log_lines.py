"""Makes lines of events: readable on a terminal, one JSON object a line elsewhere.

The steps are processors as structlog has them, so that what a program logs by structlog looks the same. structlog itself
is not needed for JSON, and not imported: with what it imports for terminals it was an eighth of a process' start.
"""

from __future__ import annotations

import json
import logging
import sys
import traceback
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from datetime import UTC, datetime
from typing import Any

from weft.rpc.visible import visible

Event = MutableMapping[str, Any]
Processor = Callable[[Any, str, Event], Any]

_LEVELS = {
    logging.DEBUG: "debug",
    logging.INFO: "info",
    logging.WARNING: "warning",
    logging.ERROR: "error",
}
# Methods of loggers that are no levels.
_LEVEL_OF_METHOD = {"warn": "warning", "exception": "error"}


def level_name(level: int) -> str:
    """The name of one of `logging`'s levels."""
    return _LEVELS.get(level, "error" if level > logging.ERROR else "info")


def as_line(text: object) -> bytes:
    """The text as it is written."""
    return f"{text}\n".encode(errors="backslashreplace")


class LogLines:
    """Makes lines, for a terminal or for a collector of logs."""

    def __init__(self, *, terminal: bool) -> None:
        self.first: Sequence[Processor] = (_add_context, _add_level, _add_time)
        self.last: Sequence[Processor] = (
            (show_exception, _harmless, _for_a_terminal()) if terminal else (show_exception, _as_json)
        )

    def rendered(self, level: int, event: str, fields: Mapping[str, Any]) -> bytes:
        """The event as a line; without its fields if they cannot be shown."""
        try:
            return as_line(self._processed(level, {"event": event, **fields}))
        except BaseException as error:
            # Fields come from handlers too: an exception may raise when it is asked for its text.
            return as_line(self._processed(level, {"event": event, "not_shown": type(error).__name__}))

    def _processed(self, level: int, entry: Any) -> Any:
        for processor in (*self.first, *self.last):
            entry = processor(None, level_name(level), entry)
        return entry


class LineFormatter(logging.Formatter):
    """Lines of what is logged by `logging`."""

    def __init__(self, lines: LogLines) -> None:
        super().__init__()
        self._lines = lines

    def format(self, record: logging.LogRecord) -> str:
        # A dictionary comes by structlog's logger for `logging`, which leaves the rest to a formatter.
        entry: Any = {**record.msg} if isinstance(record.msg, dict) else {"event": record.getMessage()}
        if record.exc_info:
            entry["exc_info"] = record.exc_info
        if record.stack_info:
            entry["stack"] = record.stack_info
        for processor in (*self._lines.first, *self._lines.last):
            entry = processor(None, record.levelname.lower(), entry)
        return str(entry)


def show_exception(_logger: Any, _method: str, event: Event) -> Event:
    """Replace `exc_info` (an exception, what `sys.exc_info` gives, or true for the one that is handled) by its text."""
    given = event.pop("exc_info", None)
    if given is True or (given and not isinstance(given, (BaseException, tuple))):
        given = sys.exc_info()
    error = given[1] if isinstance(given, tuple) and len(given) == 3 else given
    if isinstance(error, BaseException):
        event["exception"] = "".join(traceback.format_exception(error)).rstrip("\n")
    return event


def _add_context(_logger: Any, _method: str, event: Event) -> Event:
    # What a program has bound, which it does by structlog.
    bound = sys.modules.get("structlog.contextvars")
    return event if bound is None else bound.merge_contextvars(None, "", event)


def _add_level(_logger: Any, method: str, event: Event) -> Event:
    event["level"] = _LEVEL_OF_METHOD.get(method, method)
    return event


def _add_time(_logger: Any, _method: str, event: Event) -> Event:
    event["timestamp"] = datetime.now(tz=UTC).isoformat().replace("+00:00", "Z")
    return event


def _as_json(_logger: Any, _method: str, event: Event) -> str:
    return json.dumps(event, default=repr)


def _harmless(_logger: Any, _method: str, event: Event) -> Event:
    """What is logged may come from anybody: a terminal must not obey it. JSON has escapes of its own."""
    return {visible(key): visible(value) if isinstance(value, str) else value for key, value in event.items()}


def _for_a_terminal() -> Processor:
    from structlog.dev import ConsoleRenderer

    return ConsoleRenderer(colors=True)
