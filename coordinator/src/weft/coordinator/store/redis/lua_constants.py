"""The constants of the scripts, rendered from the Python rules when scripts are loaded: nothing is typed twice. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from google.rpc import code_pb2

from weft.coordinator.store import stored_options
from weft.coordinator.store.history import MAX_ATTEMPTS
from weft.coordinator.store.rules import (
    BACKSTOP_S,
    FINAL_CODES,
    HIGHEST_PRIORITY,
    MAX_GROWTH,
    RECLAIM_ATTEMPTS,
    State,
)


def constants() -> str:
    """Lua that defines them as locals."""
    numbers: Mapping[str, float] = {
        **{state.name: int(state) for state in State},
        "OK": code_pb2.OK,
        "CODE_CANCELLED": code_pb2.CANCELLED,
        "DEADLINE_EXCEEDED": code_pb2.DEADLINE_EXCEEDED,
        "BACKSTOP_S": BACKSTOP_S,
        "HIGHEST_PRIORITY": HIGHEST_PRIORITY,
        "MAX_HISTORY": MAX_ATTEMPTS,
        "MAX_GROWTH": MAX_GROWTH,
        "RECLAIM_ATTEMPTS": RECLAIM_ATTEMPTS,
        # Indexes of the options.
        **{name.upper(): index for index, name in enumerate(stored_options.FIELDS, 1)},
    }
    tables = {
        "FINAL_CODES": (f"[{code}] = true" for code in sorted(FINAL_CODES)),
        "UNITS": (f"{unit} = {size}" for unit, size in stored_options.UNITS.items()),
    }
    lines = [f"local {name} = {value!r}" for name, value in numbers.items()]
    lines += [f"local {name} = {_table(items)}" for name, items in tables.items()]
    # The last option may be left out.
    words = ["(%S+)"] * (len(stored_options.FIELDS) - 1)
    lines.append(f"local OPTION_WORDS = '^{' '.join(words)} ?(%S*)$'")
    return "\n".join(lines) + "\n"


def _table(items: Iterable[str]) -> str:
    return f"{{{', '.join(items)}}}"
