"""The servicer of `weft.v1.UsageService`."""

from __future__ import annotations

import time
from typing import Any

from grpc import aio

from weft.coordinator import guard
from weft.coordinator.request_checks import check_resource_name
from weft.coordinator.store.base import Store
from weft.coordinator.usage.budget_rules import checked
from weft.coordinator.usage.usage_keeper import UsageKeeper
from weft.coordinator.usage.usage_table import Totals, UsageTable, entry_of
from weft.coordinator.usage.usage_times import (
    DAY_S,
    HOUR_S,
    MOST_IN_HOURS_S,
    day_begin,
    day_name,
    hour_name,
    time_of,
)
from weft.rpc import refusals
from weft.rpc.times import checked_time, timestamp
from weft.v1 import task_pb2, usage_pb2, usage_pb2_grpc

Context = aio.ServicerContext[Any, Any]

MAX_ENTRIES = 1000
# A question has what was counted here up to so long before.
_WRITE_AGAIN_S = 1.0


class UsageService(usage_pb2_grpc.UsageServiceServicer):
    """Each RPC's errors and guarantee are in the contract's comments."""

    def __init__(self, store: Store, keeper: UsageKeeper) -> None:
        self._store = store
        self._keeper = keeper
        self._written_at_s = 0.0

    @guard.unary
    async def GetUsage(
        self, request: usage_pb2.GetUsageRequest, context: Context
    ) -> usage_pb2.GetUsageResponse:
        if request.by not in usage_pb2.UsageDimension.values():
            raise refusals.invalid_field(f"by is {request.by}, which is no dimension", field="by")
        end = (
            checked_time(request.end_time, "end_time") if request.HasField("end_time") else self._store.now()
        )
        start = (
            checked_time(request.start_time, "start_time") if request.HasField("start_time") else end - DAY_S
        )
        if start > end:
            raise refusals.invalid_field("start_time is after end_time", field="start_time")
        await self._write()
        in_hours = end - start <= MOST_IN_HOURS_S
        name_of = hour_name if in_hours else day_name
        start = start - start % HOUR_S if in_hours else day_begin(start)
        whole, times = UsageTable(), dict[str, Totals]()
        async for name, record in self._keeper.rows.read(name_of(start), name_of(end)):
            table = UsageTable()
            table.take_in(record)
            whole.merge(table)
            if table.methods:
                entry_of(times, name).merge(table.total())
        return usage_pb2.GetUsageResponse(
            entries=_entries(request.by, whole, times),
            total=whole.total().message(),
            start_time=timestamp(start),
        )

    @guard.unary
    async def SetBudget(
        self, request: usage_pb2.SetBudgetRequest, context: Context
    ) -> usage_pb2.SetBudgetResponse:
        budget = await self._keeper.set_budget(checked(request.budget))
        return usage_pb2.SetBudgetResponse(budget=budget)

    @guard.unary
    async def ListBudgets(
        self, request: usage_pb2.ListBudgetsRequest, context: Context
    ) -> usage_pb2.ListBudgetsResponse:
        if request.task_id:
            return usage_pb2.ListBudgetsResponse(budgets=await self._of_task(request.task_id))
        await self._write()
        self._keeper.settle()
        budgets = sorted(self._keeper.book.budgets.values(), key=lambda each: each.name)
        return usage_pb2.ListBudgetsResponse(budgets=budgets)

    @guard.unary
    async def DeleteBudget(
        self, request: usage_pb2.DeleteBudgetRequest, context: Context
    ) -> usage_pb2.DeleteBudgetResponse:
        check_resource_name(request.name)
        await self._keeper.delete_budget(request.name)
        return usage_pb2.DeleteBudgetResponse()

    async def _of_task(self, task_id: str) -> list[usage_pb2.Budget]:
        """The budgets by which a task and those above it were submitted, with what was spent of them."""
        (record,) = await self._store.get([task_id])
        if record is None:
            raise refusals.task_not_found(task_id)
        context = task_pb2.CallContext.FromString(record.submission.context)
        trees = await self._keeper.tree_rows.look([each.task_id for each in context.budgets])
        return [
            usage_pb2.Budget(
                name=f"task/{budget.task_id}",
                root_task_id=budget.task_id,
                unit=unit,
                amount=amount,
                spent=trees[budget.task_id].spent(unit),
                period=usage_pb2.BUDGET_PERIOD_TOTAL,
                action=usage_pb2.BUDGET_ACTION_REFUSE,
            )
            for budget in context.budgets
            for unit, amount in sorted(budget.amounts.items())
        ]

    async def _write(self) -> None:
        now_s = time.monotonic()
        if now_s - self._written_at_s >= _WRITE_AGAIN_S:
            self._written_at_s = now_s
            await self._keeper.write()


def _entries(by: int, whole: UsageTable, times: dict[str, Totals]) -> list[usage_pb2.UsageEntry]:
    if by == usage_pb2.USAGE_DIMENSION_TIME:
        found = [(timestamp(time_of(name)).ToJsonString(), totals) for name, totals in sorted(times.items())]
    else:
        kinds = {
            usage_pb2.USAGE_DIMENSION_AGENT: whole.agents,
            usage_pb2.USAGE_DIMENSION_ROOT_TASK: whole.roots,
        }
        entries = kinds.get(by, whole.methods)  # type: ignore[call-overload]
        found = sorted(entries.items(), key=lambda each: (-each[1].slot_s, -each[1].attempts, each[0]))
    return [usage_pb2.UsageEntry(name=name, usage=totals.message()) for name, totals in found[:MAX_ENTRIES]]
