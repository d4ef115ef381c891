"""The budgets by which tasks are submitted: the one in force for a task, in its call context and as it is told. Pure.

options.budget, the policy's ─► last entry of context.budgets ─► each call of the handler inherits all entries
"""

from __future__ import annotations

from collections.abc import Sequence

from weft.coordinator.store.records import Submission
from weft.rpc.calls.tree_budgets import check_inherited
from weft.rpc.usage_units import check_budget
from weft.v1 import task_pb2

Amounts = Sequence[tuple[str, float]]


def in_context(options: task_pb2.TaskOptions | None, of_policy: Amounts, task_id: str) -> bytes:
    """What is appended to a new task's serialized call context, so that it has its budget. Empty: it has none of its own.

    Args:
        of_policy: that of its method's policy. Of each unit the smaller amount holds.

    Raises:
        InvalidArgument: a budget is out of its bounds, or too many would bound the task.
    """
    if options is None and not of_policy:
        return b""
    amounts = {} if options is None else dict(options.budget)
    check_budget(amounts, "options.budget")
    for unit, amount in of_policy:
        amounts[unit] = min(amount, amounts.get(unit, amount))
    above = () if options is None else options.context.budgets
    if amounts or above:
        check_inherited(above, "options.context.budgets", more=1 if amounts else 0)
    if not amounts:
        return b""
    own = task_pb2.TreeBudget(task_id=task_id, amounts=amounts)
    return task_pb2.CallContext(budgets=[own]).SerializeToString()


def tell(given: Submission, options: task_pb2.TaskOptions) -> None:
    """Tell the own budget of a stored task as its option, if the options have the task's context."""
    budgets = options.context.budgets
    if not budgets or budgets[-1].task_id != given.task_id:
        return
    options.budget.update(budgets[-1].amounts)
    del budgets[-1]
    if not options.context.ByteSize():
        options.ClearField("context")
