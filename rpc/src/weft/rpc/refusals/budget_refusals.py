"""Refusals of budgets."""

from __future__ import annotations

from weft.rpc.errors import LimitReached, NotFound
from weft.v1 import errors_pb2 as pb


def budget_spent(name: str, unit: str, amount: float, renews: str = "") -> LimitReached:
    """A task is refused because of a spent budget; `renews`: when it begins anew, if it does."""
    then = f"; it begins anew at {renews}" if renews else ""
    return LimitReached(
        f"the budget {name} of {amount:g} {unit} is spent{then}; an operator can raise it (weft budgets set)",
        reason=pb.ERROR_REASON_BUDGET_SPENT,
        metadata={"budget": name, "unit": unit, "amount": f"{amount:g}"}
        | ({"renews": renews} if renews else {}),
    )


def tree_budget_spent(task_id: str, unit: str, amount: float) -> LimitReached:
    """A task is refused because of a spent budget of a task above."""
    return LimitReached(
        f"the budget of {amount:g} {unit} of task {task_id}, to which this call belongs, is spent; submit that task with a larger one"
        " (weft budgets list --task shows what was used)",
        reason=pb.ERROR_REASON_BUDGET_SPENT,
        metadata={"budget": f"task/{task_id}", "unit": unit, "amount": f"{amount:g}"},
    )


def budget_not_found(name: str) -> NotFound:
    """No budget has the name."""
    return NotFound(
        f"no budget has the name {name!r}; `weft budgets list` shows those that there are",
        reason=pb.ERROR_REASON_BUDGET_NOT_FOUND,
        metadata={"budget": name},
    )
