"""The constants of the scripts, rendered from the Python rules when scripts are loaded: nothing is typed twice. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import cache

from google.rpc import code_pb2

from weft.coordinator.store import stored_options
from weft.coordinator.store.event_store import EVENT_BYTES, IDS_S
from weft.coordinator.store.fairness import MAX_TAG, MAX_WEIGHT, MIN_WEIGHT, MOST_KEYS, TAG_UNIT
from weft.coordinator.store.group_store import ENDED_KEPT_S, OPEN_KEPT_S
from weft.coordinator.store.history import MAX_ATTEMPTS
from weft.coordinator.store.redis.ready_depths import LONG_QUEUE
from weft.coordinator.store.remembered import MOST_CALLS
from weft.coordinator.store.rules import (
    BACKSTOP_S,
    CALLERS_CODES,
    FINAL_CODES,
    HIGHEST_PRIORITY,
    MAX_GROWTH,
    RECLAIM_ATTEMPTS,
    State,
)
from weft.coordinator.store.run_limits import MAX_PARKED, LimitAction
from weft.coordinator.store.state_store import REMOVED_AT_ONCE
from weft.coordinator.store.step_store import CHILD_KEPT_S, LONGEST_WAIT_S
from weft.coordinator.store.task_figures import END_OF_STATE, TaskEvent
from weft.coordinator.store.task_ids import DIGEST_BYTES
from weft.rpc.task_policy.option_checks import EVENT_ID

# Events that a script reads together: each may have a large body.
EVENT_STEP = 32
# Records of steps, likewise.
STEPS_READ = 16
# Comments and strings stay as they are.
_TOKEN = re.compile(r"--[^\n]*|'[^'\n]*'|\b[A-Z][A-Z_]+\b")


def with_constants(script: str) -> str:
    """A script with its constants: numbers in place of their names, tables as locals.

    A local costs each function that uses it some time at each run of the script; a number costs nothing.
    """
    values = _values()
    return _tables() + _TOKEN.sub(lambda found: values.get(found[0], found[0]), script)


@cache
def _values() -> Mapping[str, str]:
    # The last option may be left out.
    words = ["(%S+)"] * (len(stored_options.FIELDS) - 1)
    numbers: Mapping[str, float] = {
        **{state.name: int(state) for state in State},
        **{f"EVENT_{event.name}": int(event) for event in TaskEvent},
        "END_OF_STATE": END_OF_STATE,
        "OK": code_pb2.OK,
        "CODE_CANCELLED": code_pb2.CANCELLED,
        "DEADLINE_EXCEEDED": code_pb2.DEADLINE_EXCEEDED,
        "ABORTED": code_pb2.ABORTED,
        "UNAVAILABLE": code_pb2.UNAVAILABLE,
        "BACKSTOP_S": BACKSTOP_S,
        "HIGHEST_PRIORITY": HIGHEST_PRIORITY,
        "LONG_QUEUE": LONG_QUEUE,
        "MAX_HISTORY": MAX_ATTEMPTS,
        "MAX_GROWTH": MAX_GROWTH,
        "RECLAIM_ATTEMPTS": RECLAIM_ATTEMPTS,
        "MAX_PARKED": MAX_PARKED,
        **{f"LIMIT_{action.name}": int(action) for action in LimitAction},
        "GROUP_OPEN_KEPT_S": OPEN_KEPT_S,
        "GROUP_ENDED_KEPT_S": ENDED_KEPT_S,
        "EVENT_IDS_S": int(IDS_S),
        "EVENT_BYTES": EVENT_BYTES,
        "EVENT_STEP": EVENT_STEP,
        "REMOVED_AT_ONCE": REMOVED_AT_ONCE,
        "STEPS_READ": STEPS_READ,
        "DIGEST_BYTES": DIGEST_BYTES,
        "LONGEST_WAIT_S": LONGEST_WAIT_S,
        "CHILD_KEPT_S": CHILD_KEPT_S,
        "MOST_CALLS": MOST_CALLS,
        "TAG_UNIT": TAG_UNIT,
        "MAX_TAG": MAX_TAG,
        "MIN_WEIGHT": MIN_WEIGHT,
        "MAX_WEIGHT": MAX_WEIGHT,
        "MOST_KEYS": MOST_KEYS,
        # Indexes of the options.
        **{name.upper(): index for index, name in enumerate(stored_options.FIELDS, 1)},
    }
    return {
        **{name: repr(value) for name, value in numbers.items()},
        "TURN_LOCK": f"'{EVENT_ID}'",
        "CALLERS_CODES": f"',{','.join(map(str, sorted(CALLERS_CODES)))},'",
        "OPTION_WORDS": f"'^{' '.join(words)} ?(%S*)$'",
    }


def _tables() -> str:
    tables = {
        "FINAL_CODES": (f"[{code}] = true" for code in sorted(FINAL_CODES)),
        "UNITS": (f"{unit} = {size}" for unit, size in stored_options.UNITS.items()),
    }
    return "".join(f"local {name} = {_table(items)}\n" for name, items in tables.items())


def _table(items: Iterable[str]) -> str:
    return f"{{{', '.join(items)}}}"
