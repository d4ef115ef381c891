"""Budgets of tasks as metadata: the one that a call is given (`weft-budget: tokens=10000,cost=1.5`), and those of the tasks above it, which
each call of a handler inherits (`weft-tree-budget-bin`, one entry each). Callers, coordinators and agents share them. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from google.protobuf.message import DecodeError

from weft.rpc import refusals
from weft.rpc.calls.call_context import MAX_ID_CHARS, TREE_BUDGET_KEY
from weft.rpc.usage_units import check_budget
from weft.v1 import task_pb2

BUDGET_KEY = "weft-budget"
# Those that bound one task.
MAX_TREE_BUDGETS = 8


def amounts_of(text: str, field: str = BUDGET_KEY) -> dict[str, float]:
    """The amounts of "tokens=10000,cost=1.5".

    Raises:
        InvalidArgument
    """
    amounts: dict[str, float] = {}
    for part in text.split(","):
        unit, _, amount = (each.strip() for each in part.partition("="))
        try:
            amounts[unit] = float(amount)
        except ValueError:
            raise refusals.invalid_field(
                f"{field} has {part[:80]!r}; write unit=amount, such as tokens=10000", field=field
            ) from None
    check_budget(amounts, field)
    return amounts


def text_of(amounts: Mapping[str, float]) -> str:
    """The amounts as `amounts_of` reads them."""
    return ",".join(f"{unit}={amount!r}" for unit, amount in amounts.items())


def inherited(pairs: Iterable[tuple[str, str | bytes]]) -> list[task_pb2.TreeBudget]:
    """The budgets of the tasks above a call.

    Raises:
        InvalidArgument: an entry is malformed, or there are too many.
    """
    found: list[task_pb2.TreeBudget] = []
    for key, value in pairs:
        if key != TREE_BUDGET_KEY:
            continue
        try:
            found.append(
                task_pb2.TreeBudget.FromString(value if isinstance(value, bytes) else value.encode())
            )
        except DecodeError:
            raise refusals.invalid_field(
                f"{TREE_BUDGET_KEY} is no budget: weft's library and sidecar add it to the calls of a handler, so pass it on as it is",
                field=TREE_BUDGET_KEY,
            ) from None
    check_inherited(found, TREE_BUDGET_KEY)
    return found


def check_inherited(budgets: Sequence[task_pb2.TreeBudget], field: str, more: int = 0) -> None:
    """Refuse budgets of tasks above that cannot be.

    Args:
        more: how many are to be added.

    Raises:
        InvalidArgument
    """
    if len(budgets) + more > MAX_TREE_BUDGETS:
        raise refusals.invalid_field(
            f"more than {MAX_TREE_BUDGETS} budgets would bound this task, its own and those of the tasks above: leave its own out",
            field=field,
        )
    for each in budgets:
        if not 1 <= len(each.task_id) <= MAX_ID_CHARS:
            raise refusals.invalid_field(
                f"{field}: a task's id has 1 to {MAX_ID_CHARS} characters", field=field
            )
        check_budget(each.amounts, field)
