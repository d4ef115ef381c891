"""Formats log events as lines: readable on a terminal, one JSON object a line elsewhere.

Every line has its context (`log_context`) and no secrets (`redaction`), whether it comes from weft, from a program's structlog or from
its `logging`. JSON does not need structlog, so it is not imported there: that took an eighth of a process' start.
"""

from __future__ import annotations

import json
import logging
import sys
import traceback
from collections.abc import Callable, Mapping, MutableMapping
from datetime import UTC, datetime
from typing import Any

from weft.rpc.process import log_context
from weft.rpc.process.redaction import redacted
from weft.rpc.visible import visible

Event = MutableMapping[str, Any]

_LEVELS = {
    logging.DEBUG: "debug",
    logging.INFO: "info",
    logging.WARNING: "warning",
    logging.ERROR: "error",
}
# Methods of loggers whose names are not levels.
_LEVEL_OF_METHOD = {"warn": "warning", "exception": "error"}
# Attributes of a record that are no fields. `weft`: the fields of weft's own lines, which have them in their text already.
_OF_EVERY_RECORD = frozenset(
    [*vars(logging.LogRecord("", 0, "", 0, "", (), None)), "message", "asctime", "taskName", "weft"]
)


def level_name(level: int) -> str:
    """The name of one of `logging`'s levels."""
    return _LEVELS.get(level, "error" if level > logging.ERROR else "info")


def level_of_method(method: str) -> int:
    """One of `logging`'s levels, by the name of a logger's method."""
    name = _LEVEL_OF_METHOD.get(method, method)
    return logging.getLevelNamesMapping().get(name.upper(), logging.INFO)


def as_line(text: object) -> bytes:
    """The text as the bytes of a line."""
    return f"{text}\n".encode(errors="backslashreplace")


class LogLines:
    """Formats events for a terminal, or for a log collector."""

    def __init__(self, *, terminal: bool) -> None:
        self._render = _for_a_terminal() if terminal else _as_json

    def rendered(self, level: int, event: str, fields: Mapping[str, Any]) -> bytes:
        """The event as a line. If its fields cannot be shown, the line has the event alone."""
        return as_line(self.text(level_name(level), {"event": event, **fields}))

    def text(self, level: str, entry: Event) -> str:
        """The event as text: its message is in `event`. Never raises."""
        told = complete(entry)
        log_context.tell_watchers(level, told)
        told["level"] = level
        told["timestamp"] = datetime.now(tz=UTC).isoformat().replace("+00:00", "Z")
        return self._render(told)

    def step(self, _logger: Any, method: str, entry: Event) -> str:
        """The event as text, with the interface of a processor of structlog."""
        return self.text(_LEVEL_OF_METHOD.get(method, method), entry)


class LineFormatter(logging.Formatter):
    """Formats the records of `logging` as lines."""

    def __init__(self, lines: LogLines) -> None:
        super().__init__()
        self._lines = lines

    def format(self, record: logging.LogRecord) -> str:
        return self._lines.text(record.levelname.lower(), entry_of(record))


def entry_of(record: logging.LogRecord) -> Event:
    """A record of `logging` as an event: its message, the name of its logger, the fields of `extra`, exception and stack."""
    # structlog's logger for `logging` passes a dictionary, and leaves the rest to the formatter.
    entry: Event = {**record.msg} if isinstance(record.msg, dict) else {"event": record.getMessage()}
    entry["logger"] = record.name
    for key, value in record.__dict__.items():
        if key not in _OF_EVERY_RECORD:
            entry.setdefault(key, value)
    if record.exc_info:
        entry["exc_info"] = record.exc_info
    if record.stack_info:
        entry["stack"] = record.stack_info
    return entry


def complete(entry: Event) -> Event:
    """The event with its context, the exception as text, and without secrets. Its values are plain. Never raises."""
    try:
        return _completed(entry)
    except BaseException as error:
        # Fields may be of a handler's own classes, whose `__str__` may raise.
        event = entry.get("event", "")
        return _completed(
            {
                "event": event if type(event) is str else type(event).__name__,
                "not_shown": type(error).__name__,
            }
        )


def _completed(entry: Event) -> Event:
    # A program binds context by structlog. If structlog is not imported, there is none.
    bound = sys.modules.get("structlog.contextvars")
    first = {"event": entry.get("event", "")}
    entry = {**first, **entry} if bound is None else {**first, **bound.merge_contextvars(None, "", {**entry})}
    for key, value in log_context.fields().items():
        entry.setdefault(key, value)
    _show_exception(entry)
    return redacted(entry)


def _show_exception(event: Event) -> None:
    """Replace `exc_info` by its text. It is an exception, a `sys.exc_info()` tuple, or true for the exception being handled."""
    given = event.pop("exc_info", None)
    if given is True or (given and not isinstance(given, (BaseException, tuple))):
        given = sys.exc_info()
    error = given[1] if isinstance(given, tuple) and len(given) == 3 else given
    if isinstance(error, BaseException):
        event["exception"] = "".join(traceback.format_exception(error)).rstrip("\n")


def _as_json(event: Event) -> str:
    return json.dumps(event, default=repr)


def _for_a_terminal() -> Callable[[Event], str]:
    from structlog.dev import ConsoleRenderer

    # Fields of the line first, those of its context after them.
    renderer = ConsoleRenderer(colors=True, sort_keys=False)

    def render(event: Event) -> str:
        # A terminal must not obey logged text, which may come from anybody. JSON has its own escapes.
        harmless = {
            visible(key): visible(value) if isinstance(value, str) else value for key, value in event.items()
        }
        return str(renderer(None, "", harmless))

    return render
