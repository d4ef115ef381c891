"""Filters of incoming hooks: expressions of CEL over a request, by the same rules as those of events."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from weft.coordinator.events.event_filter import compiled_condition


class HookFilter:
    """A compiled filter.

    Raises:
        InvalidArgument: FILTER_INVALID.
        FailedPrecondition: FILTER_UNAVAILABLE: the library is not installed.
    """

    def __init__(self, text: str, field: str = "filter") -> None:
        self._evaluate = compiled_condition(text, field, _variables)

    def matches(self, body: Any, headers: Mapping[str, str], query: Mapping[str, str]) -> bool:
        """Whether a request matches. One for which the filter cannot be evaluated does not."""
        given = {"body": body, "headers": dict(headers), "query": dict(query)}
        try:
            return self._evaluate(data=given).value() is True
        except RuntimeError:
            # The library's error.
            return False


def filter_of(text: str, field: str = "filter") -> HookFilter | None:
    """The filter of a hook; None: all requests match.

    Raises:
        InvalidArgument, FailedPrecondition: as `HookFilter` says.
    """
    return HookFilter(text, field) if text else None


def _variables(cel: Any) -> dict[str, Any]:
    texts = cel.Type.Map(cel.Type.STRING, cel.Type.STRING)
    return {"body": cel.Type.DYN, "headers": texts, "query": texts}
