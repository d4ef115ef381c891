"""`weft-*` metadata by which a caller says how its call is to be made: which keys there are, and which a direct call may have.

Whoever makes direct calls refuses the rest, so that nobody believes in a priority, or an id, that nothing heeds.
"""

from __future__ import annotations

from collections.abc import Iterable

from weft.rpc import refusals
from weft.rpc.calls.call_context import PARENT_ID_KEY, ROOT_ID_KEY
from weft.rpc.calls.metadata import DIRECT, DURABLE, MODE_KEY, RETRY_MARK

PREFIX = "weft-"
MODES = (DURABLE, DIRECT)
LINEAGE = (ROOT_ID_KEY, PARENT_ID_KEY)
# That a call may be run twice; a durable one may be anyhow.
RETRY_KEY, _RETRY = RETRY_MARK
# Options of a task.
_FOR_TASKS = ("weft-request-id", "weft-priority", "weft-delay", "weft-require", "weft-detach")
_KNOWN = (*_FOR_TASKS, MODE_KEY, RETRY_KEY, *LINEAGE)


def check_direct(pairs: Iterable[tuple[str, str | bytes]]) -> None:
    """Refuse, of a direct call, what only a task can have. Ids of the tree of calls may be anything here: they are inherited.

    Raises:
        InvalidArgument: a `weft-*` entry that is unknown, malformed, or for tasks alone; `field` names it.
    """
    for key, value in pairs:
        if key.startswith(PREFIX) and key not in LINEAGE:
            _check_direct(key, text(value))


def _check_direct(key: str, value: str) -> None:
    if key in _FOR_TASKS or (key == MODE_KEY and value == DURABLE):
        given = key if key in _FOR_TASKS else f"{key}: {value}"
        raise refusals.invalid_field(
            f"{given} is for durable calls, which are stored first, and this one is direct: leave it out, or make the call durable",
            field=key,
        )
    check(key, value)


def check(key: str, value: str) -> None:
    """Refuse a key that there is not, and a value of one that says which kind of call it is.

    Raises:
        InvalidArgument: `field` names the key.
    """
    if key == MODE_KEY and value not in MODES:
        raise refusals.invalid_field(f"{key} is {value!r}; it must be {' or '.join(MODES)}", field=key)
    if key == RETRY_KEY and value != _RETRY:
        raise refusals.invalid_field(f"{key} is {value!r}; it must be {_RETRY}", field=key)
    if key not in _KNOWN:
        raise refusals.invalid_field(f"{key} is not known; there are {', '.join(_KNOWN)}", field=key)


def text(value: str | bytes) -> str:
    """An entry's value, as gRPC may give it either way."""
    return value if isinstance(value, str) else value.decode("latin-1")
