"""Call keys: the `weft-*` metadata keys by which a caller says how its call is to be made.

This module says which keys exist, and which of them a direct call may have. A direct call with any other one is refused:
otherwise a caller would believe in a priority, or a request id, that has no effect.
"""

from __future__ import annotations

from collections.abc import Iterable

from weft.rpc import refusals
from weft.rpc.calls.call_context import PARENT_ID_KEY, ROOT_ID_KEY, TREE_BUDGET_KEY
from weft.rpc.calls.metadata import (
    AGENT_KEY,
    DIRECT,
    DURABLE,
    MODE_KEY,
    NO_WAIT_KEY,
    RETRY_MARK,
    STEP_ANEW_KEY,
    STEP_KEY,
)
from weft.rpc.calls.session_keys import SESSION_KEYS, said_session
from weft.rpc.calls.tree_budgets import BUDGET_KEY
from weft.rpc.security.namespace_names import NAMESPACE_KEY
from weft.rpc.security.token_metadata import TOKEN_KEY

PREFIX = "weft-"
MODES = (DURABLE, DIRECT)
LINEAGE = (ROOT_ID_KEY, PARENT_ID_KEY, TREE_BUDGET_KEY)
# Says that a direct call may be run twice, with the value below; or when a durable call is retried. A durable call may be run
# twice anyway.
RETRY_KEY, MARK = RETRY_MARK
# Options that only tasks have.
FOR_TASKS = (
    "weft-request-id",
    "weft-priority",
    "weft-delay",
    "weft-require",
    "weft-detach",
    "weft-start-to-close",
    "weft-schedule-to-start",
    "weft-result-ttl",
    "weft-fairness-key",
    "weft-group",
    STEP_KEY,
    STEP_ANEW_KEY,
    # To an agent, a balancer sends the same key with its direct calls: refuse it if no slot is free.
    NO_WAIT_KEY,
    "weft-cache",
    "weft-lock",
    "weft-shared-lock",
    "weft-state-lock",
    "weft-consume",
    BUDGET_KEY,
    AGENT_KEY,
)
# What else a direct call may do in place of such an option.
_INSTEAD = {
    AGENT_KEY: "call the agent at its own address, which `weft agents show ID` has",
}
KNOWN = (*FOR_TASKS, *SESSION_KEYS, MODE_KEY, RETRY_KEY, *LINEAGE, TOKEN_KEY, NAMESPACE_KEY)


def check_direct(pairs: Iterable[tuple[str, str | bytes]]) -> None:
    """Refuse call keys that a direct call cannot have. Ids and budgets of the tasks above are not checked: they are inherited.

    Raises:
        InvalidArgument: a `weft-*` entry is unknown, malformed, or for tasks alone; `field` names its key.
    """
    given = tuple(pairs)
    for key, value in given:
        if key in SESSION_KEYS:
            said_session(given)
        elif key.startswith(PREFIX) and key not in LINEAGE:
            _check_direct(key, text(value))


def _check_direct(key: str, value: str) -> None:
    if key in FOR_TASKS or (key == MODE_KEY and value == DURABLE):
        given = key if key in FOR_TASKS else f"{key}: {value}"
        other = f", or {_INSTEAD[key]}" if key in _INSTEAD else ""
        raise refusals.invalid_field(
            f"{given} is for durable calls, which are stored first, and this one is direct: leave it out, or make the call durable{other}",
            field=key,
        )
    if key == RETRY_KEY and value != MARK:
        raise refusals.invalid_field(
            f"{key} is {value!r}; for a direct call it must be {MARK}, and says that the call may be run twice."
            " A retry policy is for durable calls",
            field=key,
        )
    check(key, value)


def check(key: str, value: str) -> None:
    """Refuse an unknown call key, and an unknown mode.

    Raises:
        InvalidArgument: the key or its value is unknown; `field` names the key.
    """
    if key == MODE_KEY and value not in MODES:
        raise refusals.invalid_field(f"{key} is {value!r}; it must be {' or '.join(MODES)}", field=key)
    if key not in KNOWN:
        raise refusals.invalid_field(f"{key} is not known; there are {', '.join(KNOWN)}", field=key)


def text(value: str | bytes) -> str:
    """An entry's value as text. gRPC may give text or bytes."""
    return value if isinstance(value, str) else value.decode("latin-1")
