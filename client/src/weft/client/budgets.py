"""Budgets: bounds on what tasks may use."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from weft.client.api import Api
from weft.client.methods import Method
from weft.rpc import refusals
from weft.rpc.enum_names import enum_name
from weft.v1 import usage_pb2 as pb

_SERVICE = "weft.v1.UsageService"
_SET = Method.of(f"{_SERVICE}/SetBudget", pb.SetBudgetRequest, pb.SetBudgetResponse)
_LIST = Method.of(f"{_SERVICE}/ListBudgets", pb.ListBudgetsRequest, pb.ListBudgetsResponse)
_DELETE = Method.of(f"{_SERVICE}/DeleteBudget", pb.DeleteBudgetRequest, pb.DeleteBudgetResponse)

Period = Literal["total", "day", "month"]
Action = Literal["refuse", "pause"]


@dataclass(frozen=True, slots=True)
class Budget:
    """A bound on what may be used."""

    name: str
    # "attempts", "active_s", "slot_s", "request_bytes", "response_bytes", "direct_calls", or a unit that handlers name.
    unit: str
    amount: float
    # How much was used.
    spent: float
    # What it bounds: a method's tasks, or a task and all below it; both empty: all tasks of the namespace.
    method: str = ""
    root_task_id: str = ""
    period: Period = "total"
    action: Action = "refuse"
    # When it begins anew; None: never.
    renews: datetime | None = None
    # The methods that it has paused, because it is spent.
    paused_methods: Sequence[str] = ()

    @classmethod
    def of(cls, proto: pb.Budget) -> Budget:
        return cls(
            name=proto.name,
            unit=proto.unit,
            amount=proto.amount,
            spent=proto.spent,
            method=proto.method,
            root_task_id=proto.root_task_id,
            period=enum_name(pb.BudgetPeriod, proto.period, "BUDGET_PERIOD_").lower(),  # type: ignore[arg-type]
            action=enum_name(pb.BudgetAction, proto.action, "BUDGET_ACTION_").lower(),  # type: ignore[arg-type]
            renews=proto.renew_time.ToDatetime(tzinfo=UTC) if proto.HasField("renew_time") else None,
            paused_methods=tuple(proto.paused_methods),
        )


class Budgets:
    """Budgets; `Mesh.budgets` gives it. Only operators change them, and observers may list them."""

    def __init__(self, api: Api) -> None:
        self._api = api

    async def set(
        self,
        name: str,
        amount: float,
        unit: str,
        *,
        method: str = "",
        root_task_id: str = "",
        period: Period = "total",
        action: Action = "refuse",
    ) -> Budget:
        """Set a budget, a new one or in place of the one of this name. When it is spent, new tasks are refused or wait.

        Args:
            amount: how much may be used; above 0.
            unit: of what: "attempts", "active_s", "slot_s", "request_bytes", "response_bytes", "direct_calls", or a unit that handlers name.
            method: it bounds this method's tasks. Neither this nor `root_task_id`: all tasks of the namespace.
            root_task_id: it bounds this task and all below it.
            period: when it begins anew: never, each day or each month (UTC).
            action: "refuse" new tasks, or "pause" their methods, so that tasks wait.

        Raises:
            InvalidArgument: the message names the field.
        """
        if method and root_task_id:
            raise refusals.invalid_field("a budget bounds a method or a root task, not both", field="method")
        budget = pb.Budget(
            name=name,
            amount=amount,
            unit=unit,
            period=_number(pb.BudgetPeriod, "period", period),  # type: ignore[arg-type]
            action=_number(pb.BudgetAction, "action", action),  # type: ignore[arg-type]
        )
        if method:
            budget.method = method
        elif root_task_id:
            budget.root_task_id = root_task_id
        return Budget.of((await self._api.call(_SET, pb.SetBudgetRequest(budget=budget))).budget)

    async def list(self, *, task_id: str = "") -> Sequence[Budget]:
        """All budgets by name, with what was spent of each.

        Args:
            task_id: instead, the budget by which this task was submitted, and those of the tasks above it: one for each unit, named "task/ID".

        Raises:
            NotFound: there is no such task.
        """
        found = await self._api.call(_LIST, pb.ListBudgetsRequest(task_id=task_id))
        return [Budget.of(each) for each in found.budgets]

    async def delete(self, name: str) -> None:
        """Delete a budget; methods that it has paused are resumed.

        Raises:
            NotFound: there is none of this name.
        """
        await self._api.call(_DELETE, pb.DeleteBudgetRequest(name=name))


def _word(name: str, prefix: str) -> str:
    return name.removeprefix(prefix).lower()


def _number(kind: type[pb.BudgetPeriod | pb.BudgetAction], field: str, word: str) -> int:
    prefix = "BUDGET_" + field.upper() + "_"
    known = [_word(name, prefix) for name in kind.keys()][1:]  # an enum of protobuf
    if word not in known:
        raise refusals.invalid_field(
            f"{field} is {word!r}; it must be one of {', '.join(known)}", field=field
        )
    return int(kind.Value(f"{prefix}{word.upper()}"))
