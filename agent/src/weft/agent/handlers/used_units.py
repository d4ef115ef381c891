"""Units that a handler says it has used, such as tokens: by `current_task().use`, or by trailing metadata of any server."""

from __future__ import annotations

import contextlib
import math
import threading
from typing import Protocol

from weft.rpc.usage_units import BUILT_IN, MAX_UNITS, is_unit
from weft.v1 import task_pb2

# Trailing metadata "x-weft-used-tokens: 42" says the same as `use("tokens", 42)`, in lower case as gRPC has it.
TRAILER_PREFIX = "x-weft-used-"
_adding = threading.Lock()


def checked_unit(name: str, amount: float) -> None:
    """
    Raises:
        ValueError: the name cannot be a unit's, or the amount is none.
    """
    if not is_unit(name):
        raise ValueError(
            f"{name[:64]!r} cannot be the name of a unit: it has 1 to 64 letters, digits, '.', '_' and '-', and is not"
            f" {', '.join(BUILT_IN)}"
        )
    if not (amount >= 0 and math.isfinite(amount)):
        raise ValueError(f"the amount of {name} must be a number, 0 or above; it is {amount!r}")


class UnitsUser(Protocol):
    """What uses units: the context of a handler."""

    # None: nothing so far.
    used_units: dict[str, float] | None


def add_unit(user: UnitsUser, name: str, amount: float) -> None:
    """Count units. From any thread.

    Raises:
        ValueError: as `checked_unit`; or it would be one unit more than an attempt may name.
    """
    checked_unit(name, amount)
    with _adding:
        units = {} if user.used_units is None else user.used_units
        if name not in units and len(units) >= MAX_UNITS:
            raise ValueError(f"an attempt names at most {MAX_UNITS} units; it has {', '.join(sorted(units))}")
        units[name] = units.get(name, 0.0) + amount
        user.used_units = units


def put_units(outcome: task_pb2.Outcome, user: UnitsUser) -> None:
    """Put into an outcome what its handler has said it used."""
    if user.used_units:
        with _adding:
            outcome.used.update(user.used_units)


def used_of(outcome: task_pb2.Outcome, user: UnitsUser) -> dict[str, float]:
    """What a call has used, said in any way. Its outcome stays as it is."""
    told = task_pb2.Outcome(trailers=outcome.trailers, used=outcome.used)
    put_units(told, user)
    take_trailers(told)
    return dict(told.used)


def take_trailers(outcome: task_pb2.Outcome) -> None:
    """Put into an outcome what its trailing metadata say was used."""
    for entry in outcome.trailers:
        if not entry.key.startswith(TRAILER_PREFIX):
            continue
        # A server may send anything: what is no amount is not counted.
        with contextlib.suppress(ValueError, UnicodeDecodeError):
            name, amount = entry.key.removeprefix(TRAILER_PREFIX), float(entry.value.decode())
            checked_unit(name, amount)
            if name in outcome.used or len(outcome.used) < MAX_UNITS:
                outcome.used[name] = outcome.used.get(name, 0.0) + amount
