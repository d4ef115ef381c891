"""The states' part of an embedded store."""

from __future__ import annotations

from collections.abc import Callable

from weft.coordinator.store.embedded.core import ReaderPool
from weft.coordinator.store.embedded.journal import Journal
from weft.coordinator.store.embedded.recovery import RecoveryBarrier
from weft.coordinator.store.embedded.state_table import StateTable
from weft.coordinator.store.embedded.task_table import TaskTable
from weft.coordinator.store.rules import State
from weft.coordinator.store.state_store import (
    MAX_STATES,
    StaleAttempt,
    StateConflict,
    StatePage,
    StateWrite,
    StoredState,
    TooManyStates,
    is_repeat,
)
from weft.coordinator.store.task_ids import parse_id
from weft.rpc import refusals

# Agents dial again within about so long.
_ADOPTED_SOON_S = 0.2


class EmbeddedStates:
    """The states' part of an embedded store; `EmbeddedStore` makes the parts."""

    _clock: Callable[[], float]
    _table: TaskTable
    _journal: Journal
    _readers: ReaderPool
    _states: StateTable
    _barrier: RecoveryBarrier
    max_states = MAX_STATES

    async def get_state(self, name: str) -> StoredState | None:
        return self._states.durable(name, self._clock())

    async def list_states(self, prefix: str, *, limit: int, cursor: str = "") -> StatePage:
        now = self._clock()
        return await self._readers.read(
            lambda reader: reader.states_after(prefix, cursor, now, limit), rows=limit
        )

    async def put_state(self, name: str, write: StateWrite) -> StoredState | StateConflict | TooManyStates:
        self._journal.check_writable()
        now = self._clock()
        before = self._states.get(name, now)
        # While agents of before come back, any lock may be held.
        if not self._barrier.over(now) or any(each.holders for each in self._table.gates.locks(name)):
            return StateConflict(before.version, held=True)
        if write.base_version not in (None, before.version):
            return StateConflict(before.version)
        if (
            write.value is not None
            and not before.version
            and self._states.is_full(name, now, self.max_states)
        ):
            return TooManyStates(name, self.max_states)
        state = self._states.write(write, before, now)
        await self._journal.settled()
        return state

    async def save_state(
        self, agent_id: str, task_id: str, attempt: int, write: StateWrite
    ) -> int | StateConflict | StaleAttempt:
        self._journal.check_writable()
        now, number = self._clock(), parse_id(task_id)
        task = None if number is None else self._table.tasks.get(number)
        name = "" if task is None or task.demand is None else task.demand.state
        if task is not None and name and task.held_back and attempt > task.attempt:
            # Its agent has not named it yet.
            raise refusals.store_unavailable(
                "the coordinator has started again, and waits for its agents", retry_after_s=_ADOPTED_SOON_S
            )
        if (
            task is None
            or not name
            or task.state is not State.RUNNING
            or task.attempt != attempt
            or task.owner is None
            or task.owner.agent_id != agent_id
        ):
            return StaleAttempt(task_id)
        before = self._states.get(name, now)
        if write.base_version != before.version:
            if not is_repeat(before, write, task_id):
                return StateConflict(before.version)
            await self._journal.settled()
            return before.version
        state = self._states.write(write, before, now, task_id)
        await self._journal.settled()
        return state.version
