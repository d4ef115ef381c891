"""What a task demands beside an agent: a place in the fair order, the values of its run limits' keys, locks.

Few tasks have any. Tasks that were submitted alike share one object.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from weft.coordinator.store.records import Submission
from weft.coordinator.store.run_limits import LockClaim, takes_turn
from weft.coordinator.store.state_store import kept_by

# Different demands that are remembered. A forgotten one costs only the memory of an equal one made later.
_REMEMBERED = 8192
_LimitKeys = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True, eq=False)
class TaskDemand:
    """The demand, and its text in the file: a JSON list of the fields."""

    fairness_key: str
    fairness_weight: float
    limit_keys: _LimitKeys
    locks: tuple[LockClaim, ...]
    text: str

    @property
    def takes_turn(self) -> bool:
        """See `run_limits.takes_turn`."""
        return takes_turn(self.locks)

    @property
    def state(self) -> str:
        """The name of the state that one of the locks keeps. Empty: none does."""
        return kept_by(self.locks)

    def describe(self, submission: Submission) -> None:
        """Fill in the fields of a submission."""
        submission.fairness_key = self.fairness_key
        submission.fairness_weight = self.fairness_weight
        submission.limit_keys = self.limit_keys
        submission.locks = self.locks


class DemandTable:
    """Finds an equal demand again."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, float, _LimitKeys, tuple[LockClaim, ...]] | str, TaskDemand] = {}

    def of(self, submission: Submission) -> TaskDemand | None:
        """A submission's demand; None: it has none."""
        if not (submission.fairness_key or submission.limit_keys or submission.locks):
            return None
        key = (
            submission.fairness_key,
            submission.fairness_weight,
            submission.limit_keys,
            submission.locks,
        )
        found = self._known.get(key)
        if found is None:
            text = json.dumps(key, separators=(",", ":"))
            found = self._remember(TaskDemand(*key, text))
        return found

    def stored(self, text: str) -> TaskDemand:
        """The demand of a stored task."""
        return self._known.get(text) or self._remember(TaskDemand(*_decode(text), text))

    def _remember(self, demand: TaskDemand) -> TaskDemand:
        if len(self._known) >= 2 * _REMEMBERED:
            self._known.clear()
        key = (demand.fairness_key, demand.fairness_weight, demand.limit_keys, demand.locks)
        self._known[key] = self._known[demand.text] = demand
        return demand


def decode_demand(text: str) -> dict[str, Any]:
    """The keyword arguments of `Submission` behind a stored demand."""
    names = ("fairness_key", "fairness_weight", "limit_keys", "locks")
    return dict(zip(names, _decode(text), strict=True))


def _decode(text: str) -> tuple[str, float, _LimitKeys, tuple[LockClaim, ...]]:
    key, weight, limit_keys, locks = json.loads(text)
    return (
        key,
        weight,
        tuple((expression, value) for expression, value in limit_keys),
        tuple(LockClaim(*each) for each in locks),
    )
