"""Logging: structlog, readable on a terminal, one JSON object a line elsewhere; always to standard error."""

from __future__ import annotations

import logging
import sys

import structlog

from weft.rpc.visible import visible


def _harmless(_logger: object, _level: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """What is logged may come from anybody: a terminal must not obey it. JSON has escapes of its own."""
    return {visible(key): visible(value) if isinstance(value, str) else value for key, value in event.items()}


def configure(level: str = "info") -> None:
    """Set up logging of a weft process. Libraries do not call this: an application's own set-up stands."""
    threshold = logging.getLevelNamesMapping()[level.upper()]
    terminal = sys.stderr.isatty()
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    end: list[structlog.typing.Processor] = (
        [structlog.processors.format_exc_info, _harmless, structlog.dev.ConsoleRenderer(colors=True)]
        if terminal
        else [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    )
    structlog.configure(
        processors=[*shared, *end],
        wrapper_class=structlog.make_filtering_bound_logger(threshold),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    # What libraries log goes the same way.
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *end],
        )
    )
    logging.basicConfig(level=max(threshold, logging.WARNING), handlers=[handler], force=True)
