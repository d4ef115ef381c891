"""Counts what attempts use, when their agents report them. Each task comes by here: no I/O, nothing that grows with tasks."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Mapping

from weft.coordinator.sessions.assignments import Held
from weft.coordinator.usage.tree_use import TreeUses
from weft.coordinator.usage.usage_table import Totals, UsageTable, entry_of
from weft.rpc.calls.call_context import MAX_ID_CHARS
from weft.rpc.calls.tree_budgets import MAX_TREE_BUDGETS
from weft.v1 import session_pb2


class UsageMeter:
    """What was counted here since it was last taken.

    Args:
        trees: gets what belongs to trees of tasks with budgets.
    """

    def __init__(self, trees: TreeUses) -> None:
        self._trees = trees
        self._table = UsageTable()
        # Called after each attempt. None: there are no budgets.
        self.changed: Callable[[], None] | None = None
        # Tasks below which others were run, or that have a budget: what they use themselves counts too.
        self.roots: Mapping[str, object] = {}

    def attempt(self, agent_id: str, held: Held, item: session_pb2.AttemptResult, took_s: float) -> None:
        """Count an attempt that has been reported.

        Args:
            held: as its session held it.
            took_s: 0: not known.
        """
        slots, method, _, _, tree, request_bytes = held
        outcome, table, slot_s = item.outcome, self._table, took_s * slots
        sizes = request_bytes, len(outcome.response)
        of_method = table.methods.get(method) or entry_of(table.methods, method)
        of_agent = table.agents.get(agent_id) or entry_of(table.agents, agent_id)
        of_method.add(took_s, slot_s, *sizes)
        of_agent.add(took_s, slot_s, *sizes)
        root_id = tree.root_id
        of_root: Totals | None = None
        if root_id or item.task_id in self.roots or item.task_id in table.roots:
            of_root = entry_of(table.roots, root_id or item.task_id)
            of_root.add(took_s, slot_s, *sizes)
        if outcome.used:
            for totals in (of_method, of_agent, of_root):
                if totals is not None:
                    totals.add_units(outcome.used)
        for task_id in tree.budgets:
            of_tree = self._trees.counted(task_id)
            of_tree.add(took_s, slot_s, *sizes)
            of_tree.add_units(outcome.used)
        if self.changed is not None:
            self.changed()

    def direct(self, agent_id: str, hosted: Container[str], told: Iterable[session_pb2.DirectUsage]) -> None:
        """Count direct calls, as their agent tells of them.

        Args:
            hosted: the agent's methods. It may say anything: others are not counted.
        """
        table = self._table
        for each in told:
            if each.method not in hosted:
                continue
            entry_of(table.methods, each.method).add_direct(each)
            entry_of(table.agents, agent_id).add_direct(each)
            if each.root_id and len(each.root_id) <= MAX_ID_CHARS:
                entry_of(table.roots, each.root_id).add_direct(each)
            for task_id in each.budget_task_ids[:MAX_TREE_BUDGETS]:
                if 0 < len(task_id) <= MAX_ID_CHARS:
                    self._trees.counted(task_id).add_direct(each)
        if self.changed is not None:
            self.changed()

    @property
    def present(self) -> UsageTable:
        """What was counted since it was last taken. Goes on to grow."""
        return self._table

    def take(self) -> UsageTable | None:
        """What was counted since, and begin anew. None: nothing."""
        table = self._table
        if not table.methods:
            return None
        self._table = UsageTable()
        return table
