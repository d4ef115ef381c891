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

    async def all(self) -> list[usage_pb2.Budget]:
        return [usage_pb2.Budget.FromString(row.value) async for row in every_row(self._store, KIND)]

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
        """
        (row,) = await self._store.get_rows(KIND, [name])
        if row is None or (await self._store.delete_rows([RowDelete(KIND, name)]))[0] is not True:
            raise refusals.budget_not_found(name)
        await self.set_paused(usage_pb2.Budget.FromString(row.value).paused_methods, paused=False)

    # -- pauses -----------------------------------------------------------------------------------------------------

    async def pause(self, budget: usage_pb2.Budget) -> None:
        """Pause the methods of a spent budget, those that nobody has paused already. Noted first: what is noted is resumed."""
        paused = set(await self._store.paused())
        methods = [name for name in self.methods_of(budget) if name not in paused]
        if methods and await self._note(budget.name, methods):
            await self.set_paused(methods, paused=True)
            log.warning(
                "budget.spent",
                budget=budget.name,
                unit=budget.unit,
                amount=budget.amount,
                methods=len(methods),
            )

    def methods_of(self, budget: usage_pb2.Budget) -> list[str]:
        """The methods that it is about."""
        if budget.method:
            return [budget.method]
        return [info.name for info in self._contracts.methods() if info.durable]

    async def resume(self, budget: usage_pb2.Budget) -> None:
        """Resume the methods that it has paused."""
        methods = list(budget.paused_methods)
        await self.set_paused(methods, paused=False)
        await self._note(budget.name, [])
        log.info("budget.renewed", budget=budget.name, methods=len(methods))

    async def set_paused(self, methods: Sequence[str], *, paused: bool) -> None:
        for name in methods:
            await self._store.set_paused(name, paused=paused)

    async def _note(self, name: str, methods: Sequence[str]) -> bool:
        """Store which methods it has paused, beside those that it had; none: it has resumed all. False: others change it."""
        (row,) = await self._store.get_rows(KIND, [name])
        if row is None:
            return False
        stored = usage_pb2.Budget.FromString(row.value)
        known = list(stored.paused_methods)
        wanted = list(dict.fromkeys([*known, *methods])) if methods else []
        if known == wanted:
            return True
        del stored.paused_methods[:]
        stored.paused_methods.extend(wanted)
        return await self._write(stored, row.revision)
