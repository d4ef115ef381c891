"""Captures weft's log events in this process as dictionaries. structlog's own capture would count as a set-up of
structlog."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

from weft.rpc.process import logs


@contextlib.contextmanager
def captured() -> Iterator[list[dict[str, Any]]]:
    """The events of the `with` block, each with its fields, as they come."""
    events: list[dict[str, Any]] = []

    def sink(level: int, _name: str, event: str, fields: Mapping[str, Any]) -> None:
        events.append({"event": event, "level": level, **fields})

    before = logs._in_use.sink
    logs.use(sink)
    try:
        yield events
    finally:
        logs.use(before)
