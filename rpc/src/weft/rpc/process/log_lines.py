"""Formats log events as lines: readable on a terminal, one JSON object a line elsewhere.

The steps have the interface of structlog's processors, so that a program's own logs by structlog look the same. JSON does not
need structlog, so it is not imported there: that took an eighth of a process' start.
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
# Methods of loggers whose names are not levels.
_LEVEL_OF_METHOD = {"warn": "warning", "exception": "error"}


def level_name(level: int) -> str:
    """The name of one of `logging`'s levels."""
    return _LEVELS.get(level, "error" if level > logging.ERROR else "info")


def as_line(text: object) -> bytes:
    """The text as the bytes of a line."""
    return f"{text}\n".encode(errors="backslashreplace")


class LogLines:
    """Formats events for a terminal, or for a log collector."""

    def __init__(self, *, terminal: bool) -> None:
        self.first: Sequence[Processor] = (_add_context, _add_level, _add_time)
        self.last: Sequence[Processor] = (
            (show_exception, _harmless, _for_a_terminal()) if terminal else (show_exception, _as_json)
        )

    def rendered(self, level: int, event: str, fields: Mapping[str, Any]) -> bytes:
        """The event as a line. If its fields cannot be shown, the line has the event alone."""
        try:
            return as_line(self._processed(level, {"event": event, **fields}))
        except BaseException as error:
            # Fields may be of a handler's own classes, whose `__str__` may raise.
            return as_line(self._processed(level, {"event": event, "not_shown": type(error).__name__}))

    def _processed(self, level: int, entry: Any) -> Any:
        for processor in (*self.first, *self.last):
            entry = processor(None, level_name(level), entry)
        return entry


class LineFormatter(logging.Formatter):
    """Formats the records of `logging` as lines."""

    def __init__(self, lines: LogLines) -> None:
        super().__init__()
        self._lines = lines

    def format(self, record: logging.LogRecord) -> str:
        # structlog's logger for `logging` passes a dictionary, and leaves the rest to the formatter.
        entry: Any = {**record.msg} if isinstance(record.msg, dict) else {"event": record.getMessage()}
        if record.exc_info:
            entry["exc_info"] = record.exc_info
        if record.stack_info:
            entry["stack"] = record.stack_info
        for processor in (*self._lines.first, *self._lines.last):
            entry = processor(None, record.levelname.lower(), entry)
        return str(entry)


def show_exception(_logger: Any, _method: str, event: Event) -> Event:
    """Replace `exc_info` by its text. It is an exception, a `sys.exc_info()` tuple, or true for the exception being handled."""
    given = event.pop("exc_info", None)
    if given is True or (given and not isinstance(given, (BaseException, tuple))):
        given = sys.exc_info()
    error = given[1] if isinstance(given, tuple) and len(given) == 3 else given
    if isinstance(error, BaseException):
        event["exception"] = "".join(traceback.format_exception(error)).rstrip("\n")
    return event


def _add_context(_logger: Any, _method: str, event: Event) -> Event:
    # A program binds context by structlog. If structlog is not imported, there is none.
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
    """Escape control characters: a terminal must not obey logged text, which may come from anybody. JSON has its own escapes."""
    return {visible(key): visible(value) if isinstance(value, str) else value for key, value in event.items()}


def _for_a_terminal() -> Processor:
    from structlog.dev import ConsoleRenderer

    return ConsoleRenderer(colors=True)
