"""Filters of events: expressions of CEL, compiled once a subscription against the topic's message type.

The macros that go through a list are refused: they may cost too much (`weft.rpc.contracts.cel_expressions`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import DecodeError

from weft.coordinator.events.event_types import EventType
from weft.rpc import refusals
from weft.rpc.contracts.cel_expressions import MAX_CHARS, ExpressionFault, ExpressionTypes, is_condition
from weft.rpc.errors import DataLoss
from weft.rpc.process.extras import install_command
from weft.v1 import event_pb2

EXTRA = "filters"


class EventFilter:
    """A compiled filter of one topic.

    Raises:
        InvalidArgument: FILTER_INVALID.
        FailedPrecondition: FILTER_UNAVAILABLE: the library is not installed.
    """

    def __init__(self, text: str, kind: EventType, field: str = "filter") -> None:
        self._kind = kind
        # Else a coded event can be judged, too. A text that has the word by chance costs no more than that.
        self._reads_message = bool(re.search(r"\bevent\b", text))
        self._evaluate = compiled_condition(text, field, partial(_variables, kind), kind.descriptor.file.pool)

    def matches(self, body: bytes) -> bool:
        """Whether a stored event matches. One for which the filter cannot be evaluated does not.

        Args:
            body: as the store keeps events.
        """
        event = event_pb2.Event.FromString(body)
        try:
            message = self._kind.decoded(event.payload)
        except (DecodeError, DataLoss):
            # Of an incompatible contract.
            return False
        if message is None:
            if self._reads_message:
                return False
            message = self._kind.message_class()
        given = {"event": message, "key": event.key, "attributes": dict(event.attributes)}
        try:
            return self._evaluate(data=given).value() is True
        except RuntimeError:
            # The library's error.
            return False


def filter_of(text: str, kind: EventType, field: str = "filter") -> EventFilter | None:
    """The filter of a request; None: all events match.

    Raises:
        InvalidArgument, FailedPrecondition: as `EventFilter` says.
    """
    return EventFilter(text, kind, field) if text else None


def _variables(kind: EventType, cel: Any) -> dict[str, Any]:
    string = cel.Type.STRING
    return {"event": cel.Type(kind.name), "key": string, "attributes": cel.Type.Map(string, string)}


def compiled_condition(
    text: str, field: str, variables: Callable[[Any], Mapping[str, Any]], pool: DescriptorPool | None = None
) -> Callable[..., Any]:
    """A condition, which is evaluated by `data=`.

    Args:
        variables: the types of its variables, by the library.
        pool: the message types that it may name; None: those of protobuf alone.

    Raises:
        InvalidArgument: FILTER_INVALID.
        FailedPrecondition: FILTER_UNAVAILABLE: the library is not installed.
    """
    if len(text) > MAX_CHARS:
        raise refusals.filter_invalid(text, f"it has more than {MAX_CHARS} characters", field)
    try:
        types = ExpressionTypes(variables, pool)
    except ImportError:
        raise refusals.filter_unavailable(install_command(EXTRA)) from None
    try:
        compiled = types.compiled(text)
    except ExpressionFault as fault:
        raise refusals.filter_invalid(text, str(fault), field) from None
    if not is_condition(compiled.result):
        what = compiled.result.name()
        raise refusals.filter_invalid(
            text, f"it gives {what}, and must be a condition (true or false)", field
        )
    if compiled.has_loop:
        raise refusals.filter_invalid(
            text,
            "it goes through a list (all, exists, exists_one, map, filter), which may cost too much",
            field,
        )
    return compiled.evaluate
