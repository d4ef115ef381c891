"""The budgets in force at this coordinator: what is known to be spent of each, and which tasks are refused. Pure.

What is spent is what the store's rows say (of earlier days, and of today), and what was counted here since they were written.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from weft.coordinator.usage.budget_rules import amount_of, renews_at
from weft.coordinator.usage.usage_table import UsageTable
from weft.rpc import refusals
from weft.rpc.errors import WeftError
from weft.rpc.times import timestamp
from weft.v1 import usage_pb2


class BudgetBook:
    """The budgets. `refusing` is falsy while none of them is spent: that is all that a submission costs then."""

    def __init__(self) -> None:
        self.budgets: Mapping[str, usage_pb2.Budget] = {}
        self._written: Mapping[str, float] = {}
        # Spent ones that refuse, by what they are about: "", the method, or the root task after a line feed.
        self.refusing: dict[str, usage_pb2.Budget] = {}

    @property
    def roots(self) -> Mapping[str, object]:
        """The root tasks that have budgets."""
        return {each.root_task_id: each for each in self.budgets.values() if each.root_task_id}

    def replace(self, budgets: Iterable[usage_pb2.Budget], written: Mapping[str, float]) -> None:
        """These are the budgets now.

        Args:
            written: by name, what the store's rows say is spent.
        """
        self.budgets = {each.name: each for each in budgets}
        self._written = written

    def settle(self, unwritten: Iterable[UsageTable], now: float) -> list[usage_pb2.Budget]:
        """Look which budgets are spent; returns these.

        Args:
            unwritten: what was counted here and is not in what was written.
        """
        spent: list[usage_pb2.Budget] = []
        tables = list(unwritten)
        for budget in self.budgets.values():
            used = self._written.get(budget.name, 0.0) - budget.used_before
            budget.spent = max(0.0, used + sum(amount_of(budget, table) for table in tables))
            renews = renews_at(budget, now)
            if renews is not None:
                budget.renew_time.CopyFrom(timestamp(renews))
            if budget.spent >= budget.amount:
                spent.append(budget)
        self.refusing = {_key(each): each for each in spent if each.action == usage_pb2.BUDGET_ACTION_REFUSE}
        return spent

    def refusal(self, method: str, root_id: str) -> WeftError | None:
        """Why a task is refused. None: it is not."""
        refusing = self.refusing
        budget = (
            refusing.get("") or refusing.get(method) or (root_id and refusing.get(f"\n{root_id}")) or None
        )
        if budget is None:
            return None
        renews = budget.renew_time.ToJsonString() if budget.HasField("renew_time") else ""
        return refusals.budget_spent(budget.name, budget.unit, budget.amount, renews)


def _key(budget: usage_pb2.Budget) -> str:
    return f"\n{budget.root_task_id}" if budget.root_task_id else budget.method
