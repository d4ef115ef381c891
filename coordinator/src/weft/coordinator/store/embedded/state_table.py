"""The states that locks keep: rows of the file, and in memory those that the file does not have yet.

A state is read when an attempt starts, and when it ends, on the event loop: one small row. Its changes are decided in memory and written with
what else the move writes, in one transaction.
"""

from __future__ import annotations

from collections.abc import Mapping

from weft.coordinator.store.embedded.journal import Journal
from weft.coordinator.store.embedded.reader import Reader
from weft.coordinator.store.state_store import StateWrite, StoredState, written

# Counting reads an index of all.
_COUNT_AGAIN_S = 5.0


class StateTable:
    """The states of an embedded store."""

    def __init__(self, journal: Journal, reader: Reader) -> None:
        self._journal = journal
        self._reader = reader
        # The newest of those that are not in the file; of version 0: it is deleted.
        self._unwritten: dict[str, StoredState] = {}
        # How many there are, about; None: nobody has asked.
        self._count: int | None = None
        self._count_again_at = 0.0

    def get(self, name: str, now: float) -> StoredState:
        """The state of a lock; of version 0: there is none."""
        found = self._unwritten.get(name) or self._reader.state(name)
        return StoredState(name) if found is None else found.at(now)

    def durable(self, name: str, now: float) -> StoredState | None:
        """The state as the file has it."""
        found = self._reader.state(name)
        return None if found is None or not found.at(now).version else found

    def write(self, write: StateWrite, before: StoredState, now: float, task_id: str = "") -> StoredState:
        """Change a state, which is `before` now; returns what it is then. Durable with the changes beside it."""
        state = self._unwritten[before.name] = written(before, write, now, task_id)
        self._journal.add_state(state)
        if self._count is not None:
            self._count += bool(state.version) - bool(before.version)
        return state

    def is_full(self, name: str, now: float, most: int) -> bool:
        """Whether this state would be one too many. Those that have ended are counted for some seconds more."""
        if self._count is None or (self._count >= most and now >= self._count_again_at):
            self._count, self._count_again_at = self._reader.count_states(now), now + _COUNT_AGAIN_S
        return self._count >= most and not self.get(name, now).version

    def committed(self, states: Mapping[str, StoredState]) -> None:
        """The file has these now."""
        for name, state in states.items():
            if self._unwritten.get(name) is state:
                del self._unwritten[name]

    def refused(self, left: Mapping[str, StoredState]) -> None:
        """Some tasks could not be stored, nor what they have changed. `left`: all that is still to be written."""
        self._unwritten = dict(left)
