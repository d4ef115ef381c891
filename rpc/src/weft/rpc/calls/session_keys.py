"""The metadata by which a call says its sticky session, and the bounds of it. Callers, coordinators and agents share them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

from weft.rpc import refusals
from weft.rpc.times import duration
from weft.v1 import task_pb2

SESSION_KEY = "weft-session"
SESSION_MODE_KEY = "weft-session-mode"
SESSION_TTL_KEY = "weft-session-ttl"
# Tells the app behind a sidecar the session of a call that it handles.
OF_SESSION_KEY = "weft-of-session"
SESSION_KEYS = (SESSION_KEY, SESSION_MODE_KEY, SESSION_TTL_KEY)
SOFT, HARD = "soft", "hard"
DEFAULT_IDLE_TTL_S = 600.0
LEAST_IDLE_TTL_S = 10.0
MAX_IDLE_TTL_S = 7 * 86400.0

# Spaces at an end would not survive as metadata.
is_session_key = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]{0,254}[\x21-\x7e])?").fullmatch


class StickyCall(NamedTuple):
    """The sticky session of a call: its key and mode, and how long it is kept without a call."""

    key: str
    hard: bool = False
    idle_ttl_s: float = DEFAULT_IDLE_TTL_S

    def message(self) -> task_pb2.StickySession:
        """As options have it."""
        mode = task_pb2.SESSION_MODE_HARD if self.hard else task_pb2.SESSION_MODE_SOFT
        return task_pb2.StickySession(key=self.key, mode=mode, idle_ttl=duration(self.idle_ttl_s))


def said_session(pairs: Iterable[tuple[str, str | bytes]]) -> StickyCall | None:
    """The session of a call. None: it says none.

    Raises:
        InvalidArgument: an entry is malformed, or says something of a session without a key; `field` is the entry's key.
    """
    said: dict[str, str] = {}
    for key, value in pairs:
        if key in SESSION_KEYS:
            said[key] = value if isinstance(value, str) else value.decode("latin-1")
    if not said:
        return None
    mode = said.get(SESSION_MODE_KEY, SOFT)
    if mode not in (SOFT, HARD):
        raise refusals.invalid_field(
            f"{SESSION_MODE_KEY} is {mode!r}; it must be soft or hard", field=SESSION_MODE_KEY
        )
    idle_ttl_s = _idle_ttl_s(said.get(SESSION_TTL_KEY))
    name = said.get(SESSION_KEY)
    if name is None or not is_session_key(name):
        raise refusals.invalid_field(
            f"{SESSION_KEY} must be the key of a sticky session: 1 to 256 printable ASCII characters, without a space at an end",
            field=SESSION_KEY,
        )
    return StickyCall(name, mode == HARD, idle_ttl_s)


def _idle_ttl_s(text: str | None) -> float:
    if text is None:
        return DEFAULT_IDLE_TTL_S
    try:
        found = float(text)
    except ValueError:
        found = -1.0
    # A NaN is refused too.
    if not LEAST_IDLE_TTL_S <= found <= MAX_IDLE_TTL_S:
        raise refusals.invalid_field(
            f"{SESSION_TTL_KEY} is {text!r}; it must be seconds from {LEAST_IDLE_TTL_S:g} to {MAX_IDLE_TTL_S:g}",
            field=SESSION_TTL_KEY,
        )
    return found
