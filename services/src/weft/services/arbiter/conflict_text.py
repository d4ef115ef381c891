"""Says in a sentence why a reservation does not fit."""

from __future__ import annotations

from collections.abc import Sequence

from google.protobuf.timestamp_pb2 import Timestamp

from weft.services.arbiter import book_rules as rules
from weft.services.arbiter.v1 import arbiter_pb2

# Reservations that a sentence names.
_NAMED = 3


def conflict_text(
    resource: str,
    book: Sequence[arbiter_pb2.Reservation],
    claims: Sequence[rules.Claim],
    short: rules.Shortage,
    first_s: float | None,
    now_s: float,
) -> str:
    """Who has it until when, and when it would fit.

    Args:
        first_s: when it would fit; None: that is not known, or never.
    """
    labels = {f"{name}={value}" for each in short.selectors for name, value in each}
    whose = f" at agents with {', '.join(sorted(labels))}" if labels else ""
    when = "now" if short.at_s <= now_s else f"at {_clock(short.at_s)}"
    holders = {each.id: each.holder for each in book}
    blockers = rules.in_the_way(claims, short)
    named = [
        f"{holders.get(each.id, each.id)!r} has {each.amount:g} until {_clock(each.end_s)}"
        for each in blockers[:_NAMED]
    ]
    if len(blockers) > _NAMED:
        named.append(f"and {len(blockers) - _NAMED} more")
    has = f"; {', '.join(named)}" if named else ""
    then = f"; it fits from {_clock(first_s)} on" if first_s is not None else ""
    return f"{short.wanted:g} {resource} would be reserved {when} of {short.there:g}{whose}{has}{then}"


def _clock(at_s: float) -> str:
    return Timestamp(seconds=int(at_s)).ToJsonString()
