"""Logging. Every logger of weft comes from here: it never raises, and never blocks its caller.

In a process of weft's own, `configure` sets logging up: lines on standard error, readable on a terminal and one JSON object a
line elsewhere, through a queue (`weft.rpc.process.steady_output`). A program's own set-up of structlog or logging does not
change that.

In an application's process, where weft is a library, the application's set-up is used: structlog if it is configured,
otherwise `logging`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import sys
from collections.abc import Callable, Mapping, MutableMapping
from typing import Any

from weft.rpc.process import log_context
from weft.rpc.process.after_import import after_import
from weft.rpc.process.log_lines import (
    LineFormatter,
    LogLines,
    as_line,
    complete,
    entry_of,
    level_name,
    level_of_method,
)
from weft.rpc.process.redaction import redacted, redacted_text
from weft.rpc.process.steady_output import SteadyWriter, make_steady

# Takes an event: level, logger's name, event, fields.
Sink = Callable[[int, str, str, Mapping[str, Any]], None]

# Libraries that log where an exception would do harm: in the event loop's callbacks, in gRPC's server.
_LIBRARIES = ("asyncio", "concurrent", "grpc", "redis", "opentelemetry")
# Others whose normal work is of no interest to those who run a program. httpx names each request.
_QUIET = (*_LIBRARIES, "httpx")
_LOST = "log.lines_lost"


class Logger:
    """A named logger. None of its methods ever raises."""

    __slots__ = ("_name",)

    def __init__(self, name: str) -> None:
        self._name = name

    def debug(self, event: str, /, **fields: Any) -> None:
        _emit(logging.DEBUG, self._name, event, fields)

    def info(self, event: str, /, **fields: Any) -> None:
        _emit(logging.INFO, self._name, event, fields)

    def warning(self, event: str, /, **fields: Any) -> None:
        _emit(logging.WARNING, self._name, event, fields)

    def error(self, event: str, /, **fields: Any) -> None:
        _emit(logging.ERROR, self._name, event, fields)

    def log(self, level: int, event: str, /, **fields: Any) -> None:
        """Log at one of `logging`'s levels."""
        _emit(level, self._name, event, fields)

    def exception(self, event: str, /, **fields: Any) -> None:
        """Log an error with the exception that is being handled."""
        _emit(logging.ERROR, self._name, event, {"exc_info": True, **fields})


def get_logger(name: str) -> Logger:
    """The logger of this name."""
    return Logger(name)


def tell_loop_failure(_loop: asyncio.AbstractEventLoop, context: Mapping[str, Any]) -> None:
    """An event loop's exception handler, for `loop.set_exception_handler`.

    The loop's default handler logs by `logging`. If the application's set-up of it raises, that would end the loop.
    """
    about = {key: value for key, value in context.items() if key not in ("message", "exception")}
    about["exc_info"] = context.get("exception", False)
    _emit(logging.ERROR, "weft.loop", "loop.failed", {"error": context.get("message", ""), **about})


def leave_out(name: str, unwanted: Callable[[BaseException | None], bool]) -> None:
    """Drop a library's log records about unwanted exceptions. A second call with the same function does nothing."""
    logger = logging.getLogger(name)
    if not any(isinstance(each, _LeavingOut) and each.unwanted is unwanted for each in logger.filters):
        logger.addFilter(_LeavingOut(unwanted))


def only_warnings(*names: str) -> None:
    """Let libraries log warnings and errors alone, whatever the level of this process: to be called after their import, which may set their own."""
    for name in names:
        logging.getLogger(name).setLevel(logging.WARNING)


class _LeavingOut(logging.Filter):
    def __init__(self, unwanted: Callable[[BaseException | None], bool]) -> None:
        super().__init__()
        self.unwanted = unwanted

    def filter(self, record: logging.LogRecord) -> bool:
        return not self.unwanted(record.exc_info[1] if record.exc_info else None)


def use(sink: Sink) -> None:
    """Send all log events of this process to `sink`."""
    _in_use.sink = sink


def _emit(level: int, name: str, event: str, fields: Mapping[str, Any]) -> None:
    # A log must not raise, and a failure to log can be logged nowhere.
    with contextlib.suppress(BaseException):
        _in_use.sink(level, name, event, fields)


def _to_the_application(level: int, name: str, event: str, fields: Mapping[str, Any]) -> None:
    # An application that configured structlog has imported it.
    structlog: Any = sys.modules.get("structlog")
    if structlog is not None and not structlog.is_configured():
        structlog = None
    logger = logging.getLogger(name)
    if structlog is None and not logger.isEnabledFor(level):
        return
    # The application's own lines are its own business; those of weft have no secrets here either.
    exception = {"exc_info": fields["exc_info"]} if "exc_info" in fields else {}
    event, told = redacted_text(event), redacted({key: fields[key] for key in fields if key != "exc_info"})
    log_context.tell_watchers(level_name(level), {"event": event, **told})
    if structlog is not None:
        getattr(structlog.get_logger(name), level_name(level))(event, **told, **exception)
        return
    text = " ".join((event, *(f"{key}={value!r}" for key, value in told.items())))
    logger.log(level, "%s", text, extra={"weft": told}, **exception)


class _InUse:
    """The sink in use."""

    def __init__(self) -> None:
        self.sink: Sink = _to_the_application
        # 0: the application's set-up decides.
        self.threshold = 0
        # The class of structlog's loggers, if weft has set them up.
        self.bound_logger: Any = None


_in_use = _InUse()


def configure(level: str = "info") -> None:
    """Set up logging for a process of weft's own. Not for a library: the application's set-up is used there."""
    threshold = _in_use.threshold = logging.getLevelNamesMapping()[level.upper()]
    writer = make_steady()
    lines = LogLines(terminal=os.isatty(2))
    writer.notice = lambda count: lines.rendered(
        logging.WARNING, _LOST, {"count": count, "effect": "the log could not be written"}
    )

    def sink(level: int, _name: str, event: str, fields: Mapping[str, Any]) -> None:
        if level >= _in_use.threshold:
            writer.write(lines.rendered(level, event, fields))

    use(sink)
    # Logs of programs and libraries take the same way, unless they have a set-up of their own.
    after_import("structlog", lambda: _configure_structlog(lines, writer))
    handler = _Handler(writer)
    handler.setFormatter(LineFormatter(lines))
    _take_logging(handler, threshold)


def threshold() -> int:
    """The lowest level that this process logs, for the processes that it starts."""
    return _in_use.threshold or logging.getLogger("weft.agent").getEffectiveLevel()


def forward(sink: Sink, level: int) -> None:
    """Send all log events of this process to `sink`, those of `logging` and of structlog too, each with its context."""

    def send(level: int, name: str, event: str, fields: Mapping[str, Any]) -> None:
        told = complete({"event": event, **fields})
        sink(level, name, told.pop("event", ""), told)

    use(send)
    _in_use.threshold = level
    after_import("structlog", lambda: _forward_structlog(send))
    _take_logging(_Forwarding(send), level)


def set_level(level: int) -> bool:
    """Log from another level on. False: the application's set-up decides that."""
    if not _in_use.threshold:
        return False
    _in_use.threshold = level
    _set_logging_level(level)
    if _in_use.bound_logger is not None:
        # Loggers that were used before know their class.
        import structlog

        for name, method in vars(structlog.make_filtering_bound_logger(level)).items():
            if not name.startswith("__"):
                setattr(_in_use.bound_logger, name, method)
    return True


def _take_logging(handler: logging.Handler, level: int) -> None:
    logging.basicConfig(handlers=[handler], force=True)
    _set_logging_level(level)
    for name in _LIBRARIES:
        library = logging.getLogger(name)
        library.handlers = [_LogGuard()]
        library.propagate = False


def _set_logging_level(level: int) -> None:
    logging.getLogger().setLevel(level)
    for name in _QUIET:
        logging.getLogger(name).setLevel(max(level, logging.WARNING))


def _bound_logger() -> Any:
    """A class of structlog's loggers whose level can be changed."""
    import structlog

    _in_use.bound_logger = type(
        "BoundLogger", (structlog.make_filtering_bound_logger(_in_use.threshold),), {}
    )
    return _in_use.bound_logger


def _forward_structlog(sink: Sink) -> None:
    import structlog

    def send(_logger: Any, method: str, entry: MutableMapping[str, Any]) -> Any:
        event = entry.pop("event", "")
        sink(level_of_method(method), "", event, entry)
        raise structlog.DropEvent

    structlog.configure(processors=[send], wrapper_class=_bound_logger())


def _configure_structlog(lines: LogLines, writer: SteadyWriter) -> None:
    import structlog

    structlog.configure(
        processors=[lines.step],
        wrapper_class=_bound_logger(),
        logger_factory=lambda *_: _Printer(writer),
        cache_logger_on_first_use=True,
    )


class _Printer:
    """The output of structlog's loggers."""

    def __init__(self, writer: SteadyWriter) -> None:
        self._writer = writer

    def msg(self, text: object) -> None:
        self._writer.write(as_line(text))

    log = debug = info = warn = warning = error = err = critical = exception = failure = fatal = msg


class _Handler(logging.Handler):
    """The output of `logging`."""

    def __init__(self, writer: SteadyWriter) -> None:
        super().__init__()
        self._writer = writer

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._writer.write(as_line(self.format(record)))
        except Exception:
            self.handleError(record)


class _Forwarding(logging.Handler):
    """Sends the records of `logging` to a sink."""

    def __init__(self, sink: Sink) -> None:
        super().__init__()
        self._sink = sink

    def emit(self, record: logging.LogRecord) -> None:
        try:
            entry = entry_of(record)
            self._sink(record.levelno, record.name, entry.pop("event", ""), entry)
        except Exception:
            self.handleError(record)


class _LogGuard(logging.Handler):
    """Passes a library's records to the root logger's handlers, and keeps their exceptions from the library."""

    def handle(self, record: logging.LogRecord) -> bool:
        try:
            logging.getLogger().callHandlers(record)
        except BaseException:
            return False
        return True

    def emit(self, record: logging.LogRecord) -> None:
        """Never called: `handle` replaces it."""
