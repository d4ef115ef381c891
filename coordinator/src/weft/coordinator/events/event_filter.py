"""Filters of events: expressions of CEL, compiled once a subscription against the topic's message type.

The library cel-expr-python (CEL's own C++ implementation) checks types, fields and functions when a filter is compiled, and evaluates in
some microseconds. It holds the interpreter meanwhile. Each function of CEL takes a time linear to its arguments, patterns too (RE2), so
that a filter without loops takes at worst some 100 ms for a message of 1 MiB; the macros that go through a list do not have such a bound and are
refused.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

from google.protobuf import empty_pb2, unknown_fields
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import DecodeError

from weft.coordinator.events.event_types import EventType
from weft.rpc import refusals
from weft.rpc.errors import DataLoss
from weft.rpc.process.extras import install_command
from weft.v1 import event_pb2

MAX_CHARS = 1024
EXTRA = "filters"
# Numbers of fields of cel.expr.Expr, by kind of expression: where expressions are in it.
_COMPREHENSION = 9
_WITHIN: Mapping[int, tuple[tuple[int, ...], ...]] = {
    5: ((1,),),  # select: operand
    6: ((1,), (3,)),  # call: target, arguments
    7: ((1,),),  # list: elements
    8: ((2, 3), (2, 4)),  # struct: keys and values of entries
}
# In google.protobuf.Any, and in cel.expr.CheckedExpr.
_VALUE, _EXPR = 2, 4
_PLACE = re.compile(r"<input>:(\d+):(\d+): ")


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
        from cel_expr_python import cel
    except ImportError:
        raise refusals.filter_unavailable(install_command(EXTRA)) from None
    try:
        compiled = cel.NewEnv(pool or DescriptorPool(), variables=variables(cel)).compile(text)
    except RuntimeError as error:
        raise refusals.filter_invalid(text, _told(str(error)), field) from None
    if compiled.return_type() not in (cel.Type.BOOL, cel.Type.DYN):
        what = compiled.return_type().name()
        raise refusals.filter_invalid(
            text, f"it gives {what}, and must be a condition (true or false)", field
        )
    if _has_loop(compiled.serialize()):
        raise refusals.filter_invalid(
            text,
            "it goes through a list (all, exists, exists_one, map, filter), which may cost too much",
            field,
        )
    evaluate: Callable[..., Any] = compiled.eval
    return evaluate


def _told(error: str) -> str:
    """The library's error as a part of a sentence."""
    first = error.removeprefix("INVALID_ARGUMENT: ").removeprefix("ERROR: ").split("\n")[0]
    first = first.removesuffix(" [INVALID_ARGUMENT]").removeprefix("CANCELLED: ").removesuffix(" [CANCELLED]")
    found = _PLACE.match(first)
    if found is None:
        return first
    return f"{first[found.end() :][:300]} (line {found[1]}, column {found[2]})"


def _has_loop(serialized: bytes) -> bool:
    """Whether a checked expression has a comprehension, to which CEL expands its macros."""
    waiting = [
        expression for checked in _fields(serialized, _VALUE) for expression in _fields(checked, _EXPR)
    ]
    while waiting:
        expression = waiting.pop()
        if any(True for _ in _fields(expression, _COMPREHENSION)):
            return True
        for kind, paths in _WITHIN.items():
            for inner in _fields(expression, kind):
                for path in paths:
                    waiting += _at(inner, path)
    return False


def _at(message: bytes, path: tuple[int, ...]) -> list[bytes]:
    found = [message]
    for number in path:
        found = [inner for each in found for inner in _fields(each, number)]
    return found


def _fields(message: bytes, number: int) -> Iterator[bytes]:
    """The messages in a field of a serialized message."""
    fields: Any = unknown_fields.UnknownFieldSet(empty_pb2.Empty.FromString(message))
    for each in fields:
        if each.field_number == number and isinstance(each.data, bytes):
            yield each.data
