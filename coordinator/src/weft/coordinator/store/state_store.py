"""The states' part of a store: small values that locks keep, each changed by the one task that holds its lock.

- A state has the name of its lock. A claimed attempt has the state in it (`Claimed.state`); the end of an attempt that succeeds stores
  what its handler has changed in the same move (`AttemptReport.state`): both or none.
- A change is made on the version that its writer has read. A lock admits one holder, and a valid attempt holds it; the version is the second
  fence, which holds also where a store has lost its last moments, and attempts of before go on.
- Versions grow with each change of a state, and a state that was deleted begins with a larger one than it had: they begin at the time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, Protocol

from weft.coordinator.store.run_limits import LockClaim

# Default bound on the states of a store.
MAX_STATES = 1_000_000
# Default bound on the bytes of one, and the largest that can be set: it rides in assignments and results.
STATE_BYTES = 64 * 1024
MOST_STATE_BYTES = 1024 * 1024
# Characters of the word for what a value is.
MAX_TYPE = 256
# Values in one page of a listing, and states that ended which one change removes.
PAGE_BYTES = 1024 * 1024
REMOVED_AT_ONCE = 16


@dataclass(frozen=True, slots=True)
class StoredState:
    """A state as stored. Version 0: there is none."""

    name: str
    version: int = 0
    value: bytes = b""
    # The full name of a message type, "json", or empty.
    type: str = ""
    updated_at: float = 0.0
    # None: never.
    expires_at: float | None = None
    # The task that changed it last, or deleted it; empty: an operator did.
    task_id: str = ""

    def at(self, now: float) -> StoredState:
        """The state now: one that is deleted or has ended is none."""
        ended = not self.version or (self.expires_at is not None and self.expires_at <= now)
        return StoredState(self.name) if ended else self


class StateWrite(NamedTuple):
    """A change. `base_version`: the version that the writer has; None: any. `value` None: delete it. `ttl_s` None: it does not end."""

    base_version: int | None
    value: bytes | None
    type: str = ""
    ttl_s: float | None = None


class StateConflict(NamedTuple):
    """A refused change: the state has another version; or, with `held`, a running task holds the lock."""

    version: int
    held: bool = False


class StaleAttempt(NamedTuple):
    """A refused change: the attempt is not the current one of its task, or its task has no state."""

    task_id: str


class TooManyStates(NamedTuple):
    """A refused submission or change: there are as many states as there may be."""

    name: str
    limit: int


@dataclass(frozen=True, slots=True)
class StatePage:
    """States in the order of their names, and the cursor of the next page; empty: this is the last page."""

    states: Sequence[StoredState]
    cursor: str = ""


class StateStore(Protocol):
    """Keyed states. Changes raise `weft.rpc.errors.Unavailable` (reason STORE_UNAVAILABLE) if the store cannot be written."""

    async def get_state(self, name: str) -> StoredState | None:
        """A state, as it is durable; None: there is none."""
        ...

    async def list_states(self, prefix: str, *, limit: int, cursor: str = "") -> StatePage:
        """A page of the states whose names begin with a prefix. A short page may have a next one."""
        ...

    async def put_state(self, name: str, write: StateWrite) -> StoredState | StateConflict | TooManyStates:
        """Change a state from outside, while no task holds its lock; returns what it is now, of version 0 if it is deleted."""
        ...

    async def save_state(
        self, agent_id: str, task_id: str, attempt: int, write: StateWrite
    ) -> int | StateConflict | StaleAttempt:
        """Change the state of a running attempt before its end; returns its version now. A repeat changes nothing.

        A store that forgets claims raises Unavailable after a restart, until the agent has adopted the attempt."""
        ...


def written(before: StoredState, write: StateWrite, now: float, task_id: str) -> StoredState:
    """A state after a change; of version 0: it is deleted."""
    if write.value is None:
        return StoredState(before.name, task_id=task_id)
    return replace(
        before,
        version=next_version(before.version, now),
        value=write.value,
        type=write.type,
        updated_at=now,
        expires_at=None if write.ttl_s is None else now + write.ttl_s,
        task_id=task_id,
    )


def is_repeat(now: StoredState, write: StateWrite, task_id: str) -> bool:
    """Whether a task has made this change already: it repeats a call whose answer was lost."""
    if write.value is None:
        return not now.version
    return now.task_id == task_id and (now.value, now.type) == (write.value, write.type)


def next_version(version: int, now: float) -> int:
    """The version after a change: microseconds since the epoch, or one more than the one before."""
    return max(version + 1, int(now * 1e6))


def kept_by(locks: Sequence[LockClaim]) -> str:
    """The name of the state that one of these locks keeps. Empty: none keeps one."""
    return next((lock.name for lock in locks if lock.state), "")
