"""The context of a log line: which trace it belongs to, and which call is being handled; and who else looks at lines.

Nothing is done for a call that logs nothing: the values are read where they are anyway, when a line is made.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Mapping
from typing import Any

# Gives fields for a line that is logged here and now.
Source = Callable[[], Mapping[str, Any]]

_INVALID_TRACE, _INVALID_SPAN = "0" * 32, "0" * 16
_sources: list[Source] = []
# Take the level and the fields of each line that this process logs, complete and without secrets. From any thread.
Watcher = Callable[[str, Mapping[str, Any]], None]
_watchers: list[Watcher] = []


def add_source(source: Source) -> None:
    """Add a source of fields. A later one goes before an earlier one; the active span goes before all."""
    _sources.append(source)


def fields() -> dict[str, Any]:
    """The fields of a line that is logged here and now. Empty outside a handler and outside a span."""
    found: dict[str, Any] = {}
    for source in _sources:
        found |= source()
    return found | _active_span()


def watch(watcher: Watcher) -> None:
    """Call a function for each line that this process logs, from now on."""
    _watchers.append(watcher)


def unwatch(watcher: Watcher) -> None:
    """Do not call it any more. Harmless if it is not called."""
    if watcher in _watchers:
        _watchers.remove(watcher)


def tell_watchers(level: str, entry: Mapping[str, Any]) -> None:
    """Show a line to those that watch."""
    for watcher in _watchers:
        # A fault here must not reach the code that logs.
        with contextlib.suppress(Exception):
            watcher(level, entry)


def trace_fields(traceparent: str) -> dict[str, str]:
    """The ids of a W3C `traceparent`. Empty: there is none, or it is not valid."""
    parts = traceparent.split("-")
    if len(parts) < 4 or (len(parts[1]), len(parts[2])) != (32, 16):
        return {}
    if parts[1] == _INVALID_TRACE or parts[2] == _INVALID_SPAN:
        return {}
    return {"trace_id": parts[1], "span_id": parts[2]}


def _active_span() -> dict[str, str]:
    # A program that has not imported OpenTelemetry has no span.
    trace = sys.modules.get("opentelemetry.trace")
    if trace is None:
        return {}
    span = trace.get_current_span().get_span_context()
    if not span.is_valid:
        return {}
    return {"trace_id": f"{span.trace_id:032x}", "span_id": f"{span.span_id:016x}"}
