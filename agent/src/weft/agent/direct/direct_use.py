"""Counts what direct calls use, by method and tree, until the next report to the coordinator takes it. Bounded; from any thread."""

from __future__ import annotations

import threading
import time
from typing import Any

from weft.agent.handlers.used_units import used_of
from weft.rpc.times import duration
from weft.rpc.usage_units import MAX_UNITS
from weft.v1 import session_pb2, task_pb2

# Methods and trees of one report that are counted apart. Beyond it, calls count for their method alone, and then not at all.
MAX_ENTRIES = 256


# The root of a tree of calls (empty: none), and the tasks whose budgets bound it.
Tree = tuple[str, tuple[str, ...]]
NO_TREE: Tree = "", ()


def budget_ids(call: task_pb2.CallContext) -> tuple[str, ...]:
    return tuple(each.task_id for each in call.budgets)


def tree_of(call: task_pb2.CallContext) -> Tree:
    """The tree of a call, by its context."""
    return (call.root_id, budget_ids(call)) if call.root_id else NO_TREE


class _Counted:
    """What the calls of one method, in one tree, have used."""

    __slots__ = ("active_s", "calls", "request_bytes", "response_bytes", "slot_s", "units")

    def __init__(self) -> None:
        self.calls = self.request_bytes = self.response_bytes = 0
        self.active_s = self.slot_s = 0.0
        self.units: dict[str, float] = {}


class DirectUse:
    """What direct calls have used since it was last taken."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counted: dict[tuple[str, Tree], _Counted] = {}

    def count(self, run: Any, tree: Tree, began_s: float, request: object) -> None:
        """Count a call whose handler has ended.

        Args:
            run: its handler run.
            tree: that it belongs to.
            began_s: when it began, by `time.perf_counter`.
            request: its serialized request. Anything else, such as a stream of requests, counts no bytes.
        """
        took_s, name = time.perf_counter() - began_s, run.hosted.name
        outcome = getattr(run, "outcome", None)
        with self._lock:
            # Without a call, where there is one: each direct call comes by here.
            entry = self._counted.get((name, tree)) or self._entry(name, tree)
            if entry is None:
                return
            entry.calls += 1
            entry.active_s += took_s
            entry.slot_s += took_s * run.hosted.slot_cost
            if type(request) is bytes:
                entry.request_bytes += len(request)
            if outcome is None:
                return
            entry.response_bytes += len(outcome.response)
            if outcome.trailers or outcome.used or run.context.used_units:
                for unit, amount in used_of(outcome, run.context).items():
                    if unit in entry.units or len(entry.units) < MAX_UNITS:
                        entry.units[unit] = entry.units.get(unit, 0.0) + amount

    def _entry(self, name: str, tree: Tree) -> _Counted | None:
        if len(self._counted) >= MAX_ENTRIES:
            return self._counted.get((name, NO_TREE))
        found = self._counted[name, tree] = _Counted()
        return found

    def take(self) -> list[session_pb2.DirectUsage]:
        """What was counted, and begin anew."""
        if not self._counted:
            return []
        with self._lock:
            counted, self._counted = self._counted, {}
        return [
            session_pb2.DirectUsage(
                method=name,
                root_id=root_id,
                calls=each.calls,
                active=duration(each.active_s),
                slot_time=duration(each.slot_s),
                request_bytes=each.request_bytes,
                response_bytes=each.response_bytes,
                units=each.units,
                budget_task_ids=budgets,
            )
            for (name, (root_id, budgets)), each in counted.items()
        ]
