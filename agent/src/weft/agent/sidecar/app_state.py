"""The state of a task's lock as metadata: to an app, and back from it.

weft-state-name, weft-state-version   the lock, percent-encoded beyond printable ASCII, and the version; 0: there is no state
weft-state-bin, weft-state-type       the value, and what it is; trailing: the new ones
weft-state-ttl                        trailing: the seconds that the new value is kept
weft-state-delete: true               trailing: delete the state
"""

from __future__ import annotations

from urllib.parse import quote

from weft.agent.handlers.handler_context import HandlerContext
from weft.agent.handlers.keyed_state import LEAST_TTL_S, StateLeft
from weft.rpc import refusals
from weft.rpc.calls import metadata
from weft.rpc.times import MAX_DURATION_S, duration
from weft.v1 import keyed_state_pb2

_NAME, _VERSION, _VALUE, _TYPE = "weft-state-name", "weft-state-version", "weft-state-bin", "weft-state-type"
_TTL, _DELETE = "weft-state-ttl", "weft-state-delete"
# What an app may pass on to its egress, although it is of its own call alone.
STATE_KEYS = (_NAME, _VERSION, _VALUE, _TYPE, _TTL, _DELETE)
# Printable ASCII without the percent sign.
_PLAIN = "".join(chr(code) for code in range(0x20, 0x7F) if chr(code) != "%")


def to_app(state: keyed_state_pb2.KeyedState) -> metadata.Pairs:
    """A state as metadata of the call."""
    named: metadata.Pairs = (
        (_NAME, quote(state.name, safe=_PLAIN)),
        (_VERSION, str(state.version)),
    )
    if not state.version:
        return named
    return (*named, (_VALUE, state.value), (_TYPE, quote(state.type, safe=_PLAIN)))


def take_change(context: HandlerContext) -> None:
    """Take what the app's trailing metadata say of the state. Those of a call without a state are left alone.

    Raises:
        InvalidArgument: the time is none; `field` is the key.
        TooLarge: STATE_TOO_LARGE.
    """
    assignment = context.assignment
    if not assignment.HasField("state"):
        return
    # Of a key that is there twice, the last entry counts.
    given = dict(context.trailing_metadata())
    if _VALUE not in given and _DELETE not in given:
        return
    write = keyed_state_pb2.StateWrite(base_version=assignment.state.version)
    if _DELETE in given:
        write.delete = True
    else:
        write.value, write.type = given[_VALUE], given.get(_TYPE, "")
        limit_bytes = context.state_limit_bytes
        if limit_bytes and len(write.value) > limit_bytes:
            raise refusals.state_too_large(assignment.state.name, len(write.value), limit_bytes)
        if _TTL in given:
            write.ttl.CopyFrom(duration(_seconds(given[_TTL])))
    context.keyed_state = StateLeft(write)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    # A NaN is refused too.
    if not LEAST_TTL_S <= seconds <= MAX_DURATION_S:
        raise refusals.invalid_field(
            f"the app has answered {_TTL}: {text[:64]!r}; it must be seconds from {LEAST_TTL_S:g} to {MAX_DURATION_S:g}",
            field=_TTL,
        )
    return seconds
