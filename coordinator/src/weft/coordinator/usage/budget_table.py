"""Budgets as rows of the store's table, and the methods that they pause."""

from __future__ import annotations

from collections.abc import Sequence

from weft.coordinator.contracts.contract_catalogue import Contracts
from weft.coordinator.store.base import Store
from weft.coordinator.store.table_store import RowConflict, RowDelete, RowPut, TooManyRows, every_row
from weft.coordinator.usage.budget_rules import same_measure
from weft.rpc import refusals
from weft.rpc.process.logs import get_logger
from weft.rpc.times import timestamp
from weft.v1 import usage_pb2

log = get_logger(__name__)

KIND = "budget"
MAX_BUDGETS = 1000
# How often a change is tried when others change the budget at the same time.
_TRIES = 8


class BudgetTable:
    """The budgets of a store."""

    def __init__(self, store: Store, contracts: Contracts) -> None:
        self._store = store
        self._contracts = contracts
        # Of the rows that are in force here, by name.
        self._revisions: dict[str, int] = {}

    async def all(self) -> list[usage_pb2.Budget]:
        return [usage_pb2.Budget.FromString(row.value) async for row in every_row(self._store, KIND)]

    async def in_force(self) -> list[usage_pb2.Budget]:
        """All of them. `resume` is decided by these."""
        rows = [row async for row in every_row(self._store, KIND)]
        self._revisions = {row.key: row.revision for row in rows}
        return [usage_pb2.Budget.FromString(row.value) for row in rows]

    async def put(self, budget: usage_pb2.Budget, used_before: float) -> None:
        """Store a checked budget. What it takes the place of keeps what was spent, if it is about the same.

        Args:
            used_before: what counts for it already and is not to be counted, if it is a new one.

        Raises:
            Overloaded: there are too many, or others change it at the same time, again and again.
        """
        for _ in range(_TRIES):
            (row,) = await self._store.get_rows(KIND, [budget.name])
            known = None if row is None else usage_pb2.Budget.FromString(row.value)
            if known is None and len(await self.all()) >= MAX_BUDGETS:
                raise refusals.overloaded(f"there are {MAX_BUDGETS} budgets, the most that are allowed")
            budget.create_time.CopyFrom(timestamp(self._store.now()))
            budget.used_before = used_before
            if known is not None:
                if same_measure(known, budget):
                    budget.create_time.CopyFrom(known.create_time)
                    budget.used_before = known.used_before
                del budget.paused_methods[:]
                budget.paused_methods.extend(known.paused_methods)
            expected = 0 if row is None else row.revision
            if await self._write(budget, expected):
                return
        raise refusals.overloaded(f"others change budget {budget.name!r} at the same time", retry_after_s=0.5)

    async def _write(self, budget: usage_pb2.Budget, expected: int) -> bool:
        put = RowPut(KIND, budget.name, budget.SerializeToString(), expected=expected)
        (result,) = await self._store.put_rows([put])
        return not isinstance(result, RowConflict | TooManyRows)

    async def delete(self, name: str) -> None:
        """
        Raises:
            NotFound: BUDGET_NOT_FOUND.
            Overloaded: others change it at the same time, again and again.
        """
        for _ in range(_TRIES):
            (row,) = await self._store.get_rows(KIND, [name])
            if row is None:
                raise refusals.budget_not_found(name)
            methods = usage_pb2.Budget.FromString(row.value).paused_methods
            # Before, since this coordinator may die between the two; and after, since another one may pause them once more.
            await self.set_paused(methods, paused=False)
            if (await self._store.delete_rows([RowDelete(KIND, name, row.revision)]))[0] is True:
                await self.set_paused(methods, paused=False)
                return
        raise refusals.overloaded(f"others change budget {name!r} at the same time", retry_after_s=0.5)

    # -- pauses -----------------------------------------------------------------------------------------------------

    async def pause(self, budget: usage_pb2.Budget) -> bool:
        """Pause the methods of a spent budget, those that nobody has paused already. Noted first: what is noted is resumed. What it was
        spent by must be written: whoever reads the note reads that, too.

        Returns:
            Whether they are paused. False: others have changed the budget.
        """
        paused = set(await self._store.paused())
        methods = [name for name in self.methods_of(budget) if name not in paused]
        if not methods:
            return True
        if not await self._note(budget.name, methods):
            return False
        await self.set_paused(methods, paused=True)
        log.warning(
            "budget.spent",
            budget=budget.name,
            unit=budget.unit,
            amount=budget.amount,
            methods=len(methods),
        )
        return True

    def methods_of(self, budget: usage_pb2.Budget) -> list[str]:
        """The methods that it is about."""
        if budget.method:
            return [budget.method]
        return [info.name for info in self._contracts.methods() if info.durable]

    async def resume(self, budget: usage_pb2.Budget) -> None:
        """Resume the methods that it has paused, if it is still as it was when that was decided (`in_force`). Otherwise another coordinator has
        resumed them, and may have paused them anew: its note holds, and a later look decides by that."""
        methods = list(budget.paused_methods)
        await self.set_paused(methods, paused=False)
        resumed = usage_pb2.Budget()
        resumed.CopyFrom(budget)
        for name in ("paused_methods", "spent", "renew_time"):
            resumed.ClearField(name)
        if await self._write(resumed, self._revisions.get(budget.name, 0)):
            log.info("budget.renewed", budget=budget.name, methods=len(methods))
            return
        (row,) = await self._store.get_rows(KIND, [budget.name])
        if row is not None:
            noted = usage_pb2.Budget.FromString(row.value).paused_methods
            await self.set_paused([name for name in methods if name in noted], paused=True)

    async def set_paused(self, methods: Sequence[str], *, paused: bool) -> None:
        for name in methods:
            await self._store.set_paused(name, paused=paused)

    async def _note(self, name: str, methods: Sequence[str]) -> bool:
        """Store which methods it has paused, beside those that it had. False: others change it."""
        (row,) = await self._store.get_rows(KIND, [name])
        if row is None:
            return False
        stored = usage_pb2.Budget.FromString(row.value)
        wanted = list(dict.fromkeys([*stored.paused_methods, *methods]))
        if list(stored.paused_methods) == wanted:
            return True
        del stored.paused_methods[:]
        stored.paused_methods.extend(wanted)
        return await self._write(stored, row.revision)
