"""The options of a transparent call: its `weft-*` metadata, checked, as options of the task API."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from weft.rpc import refusals
from weft.rpc.calls import call_keys, metadata
from weft.rpc.calls.call_context import MAX_ID_CHARS, ROOT_ID_KEY
from weft.rpc.calls.metadata import DIRECT, MODE_KEY
from weft.rpc.times import MAX_DURATION_S, duration
from weft.v1 import options_pb2, task_pb2

_REQUIREMENT = re.compile(r"\s*([^=<>,\s]+)\s*(>=|=)\s*([^,]*?)\s*")
_ID = re.compile(rf"[\x21-\x7e]{{1,{MAX_ID_CHARS}}}")
_TRUE = ("true", "1", "yes")
_FALSE = ("false", "0", "no")


@dataclass(slots=True)
class CallOptions:
    """The options of one call."""

    request_id: str = ""
    detach: bool = False
    options: task_pb2.TaskOptions = field(default_factory=task_pb2.TaskOptions)


def from_metadata(pairs: Iterable[tuple[str, str | bytes]]) -> CallOptions:
    """Read a call's metadata.

    Raises:
        InvalidArgument: a `weft-*` entry that is unknown or malformed; `field` names it.
    """
    call = CallOptions()
    options = call.options
    for key, value in pairs:
        if key.startswith(call_keys.PREFIX):
            _read(call, key, call_keys.text(value))
        elif key == "traceparent":
            options.context.traceparent = str(value)
        elif key == "tracestate":
            options.context.tracestate = str(value)
        elif metadata.belongs_to_caller(key):
            raw = value if isinstance(value, bytes) else value.encode()
            options.context.metadata.add(key=key, value=raw)
    return call


def asks_direct(pairs: Iterable[tuple[str, str | bytes]]) -> bool:
    """Whether a call is to go straight to an agent. `from_metadata` and `check_direct` refuse unknown modes."""
    return any(key == MODE_KEY and value == DIRECT for key, value in pairs)


def check_direct(pairs: Iterable[tuple[str, str | bytes]]) -> None:
    """Refuse options that only a task can have on a direct call.

    Raises:
        InvalidArgument: a `weft-*` entry that is unknown, malformed, or for tasks alone; `field` names it.
    """
    given = tuple(pairs)
    call_keys.check_direct(given)
    for key, value in given:
        if key in call_keys.LINEAGE:
            _check_id(key, call_keys.text(value))


def check_mode(pairs: Iterable[tuple[str, str | bytes]]) -> None:
    """Refuse an unknown mode.

    Raises:
        InvalidArgument: `field` names the key.
    """
    for key, value in pairs:
        if key == MODE_KEY:
            call_keys.check(key, str(value))


def _read(call: CallOptions, key: str, value: str) -> None:
    if key == "weft-request-id":
        call.request_id = value
    elif key == "weft-priority":
        if not value.isdecimal() or len(value) > 1:
            raise refusals.invalid_field(f"weft-priority is {value!r}; it must be 0 to 9", field=key)
        call.options.priority = int(value)
    elif key == "weft-delay":
        call.options.delay.CopyFrom(duration(_delay_s(key, value)))
    elif key == "weft-require":
        for part in value.split(","):
            _require(call.options.requirements, key, part)
    elif key == "weft-detach":
        if value.lower() not in _TRUE + _FALSE:
            raise refusals.invalid_field(f"weft-detach is {value!r}; it must be true or false", field=key)
        call.detach = value.lower() in _TRUE
    elif key in call_keys.LINEAGE:
        _check_id(key, value)
        name = "root_id" if key == ROOT_ID_KEY else "parent_id"
        setattr(call.options.context, name, value)
    else:
        call_keys.check(key, value)


def _check_id(key: str, value: str) -> None:
    if not _ID.fullmatch(value):
        raise refusals.invalid_field(
            f"{key} must be 1 to {MAX_ID_CHARS} printable ASCII characters without spaces", field=key
        )


def _delay_s(key: str, value: str) -> float:
    try:
        delay_s = float(value.removesuffix("s"))
    except ValueError:
        delay_s = -1.0
    if not 0 <= delay_s <= MAX_DURATION_S:
        raise refusals.invalid_field(
            f"weft-delay is {value!r}; it must be seconds from 0 to {MAX_DURATION_S:g}, such as 1.5",
            field=key,
        )
    return delay_s


def _require(requirements: options_pb2.Requirements, key: str, part: str) -> None:
    match = _REQUIREMENT.fullmatch(part)
    if match is None:
        raise refusals.invalid_field(
            f"weft-require has {part!r}; write label=value or resource>=amount", field=key
        )
    name, relation, value = match.groups()
    if relation == "=":
        requirements.labels[name] = value
        return
    try:
        requirements.resources[name] = float(value)
    except ValueError as error:
        raise refusals.invalid_field(f"weft-require: {value!r} is no amount of {name}", field=key) from error
