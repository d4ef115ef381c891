"""Budgets: what is a right one, which time it is about, and what of a usage counts for it. Pure."""

from __future__ import annotations

import math

from weft.coordinator.request_checks import check_resource_name
from weft.coordinator.usage.usage_table import Totals, UsageTable
from weft.coordinator.usage.usage_times import DAY_S, day_begin, month_begin, next_month
from weft.rpc import refusals
from weft.rpc.times import seconds
from weft.rpc.usage_units import BUILT_IN, is_unit
from weft.v1 import usage_pb2

_MAX_TEXT = 512


def checked(given: usage_pb2.Budget) -> usage_pb2.Budget:
    """A budget as it is stored: without what is output only.

    Raises:
        InvalidArgument: naming the field.
    """
    check_resource_name(given.name, "budget.name")
    scope = given.WhichOneof("scope")
    if scope is not None and not 0 < len(getattr(given, scope)) <= _MAX_TEXT:
        raise refusals.invalid_field(
            f"budget.{scope} has 1 to {_MAX_TEXT} characters", field=f"budget.{scope}"
        )
    if given.unit not in BUILT_IN and not is_unit(given.unit):
        raise refusals.invalid_field(
            f"budget.unit is one of {', '.join(BUILT_IN)}, or the name of a handlers' unit: 1 to 64 letters, digits,"
            " '.', '_' and '-'",
            field="budget.unit",
        )
    if not 0 < given.amount < math.inf:
        raise refusals.invalid_field("budget.amount must be a number above 0", field="budget.amount")
    if (
        given.period not in usage_pb2.BudgetPeriod.values()
        or given.action not in usage_pb2.BudgetAction.values()
    ):
        raise refusals.invalid_field(
            "budget.period or budget.action is none that exists", field="budget.period"
        )
    if scope == "root_task_id":
        if given.period > usage_pb2.BUDGET_PERIOD_TOTAL:
            raise refusals.invalid_field(
                "the budget of a root task never begins anew: leave budget.period out", field="budget.period"
            )
        if given.action == usage_pb2.BUDGET_ACTION_PAUSE:
            raise refusals.invalid_field(
                "the budget of a root task refuses: its methods have other callers", field="budget.action"
            )
    budget = usage_pb2.Budget()
    budget.CopyFrom(given)
    for name in ("create_time", "spent", "renew_time", "paused_methods", "used_before"):
        budget.ClearField(name)
    budget.period = given.period or usage_pb2.BUDGET_PERIOD_TOTAL
    budget.action = given.action or usage_pb2.BUDGET_ACTION_REFUSE
    return budget


def same_measure(one: usage_pb2.Budget, other: usage_pb2.Budget) -> bool:
    """Whether two budgets are about the same things, so that what was spent of one was spent of the other."""
    return (
        one.unit == other.unit
        and one.method == other.method
        and one.root_task_id == other.root_task_id
        and one.WhichOneof("scope") == other.WhichOneof("scope")
    )


def begins_at(budget: usage_pb2.Budget, now: float) -> float:
    """The beginning of the day with which the present period begins."""
    if budget.period == usage_pb2.BUDGET_PERIOD_DAY:
        return day_begin(now)
    if budget.period == usage_pb2.BUDGET_PERIOD_MONTH:
        return month_begin(now)
    return day_begin(seconds(budget.create_time))


def renews_at(budget: usage_pb2.Budget, now: float) -> float | None:
    """When it begins anew; None: never."""
    if budget.period == usage_pb2.BUDGET_PERIOD_DAY:
        return day_begin(now) + DAY_S
    if budget.period == usage_pb2.BUDGET_PERIOD_MONTH:
        return next_month(now)
    return None


def amount_of(budget: usage_pb2.Budget, table: UsageTable) -> float:
    """How much of a usage counts for it."""
    scope = budget.WhichOneof("scope")
    if scope is None:
        return sum(each.amount(budget.unit) for each in table.methods.values())
    entries = table.methods if scope == "method" else table.roots
    return entries.get(getattr(budget, scope), _NOTHING).amount(budget.unit)


_NOTHING = Totals()
