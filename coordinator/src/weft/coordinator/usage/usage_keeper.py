"""Writes what was counted, reads what others have written, and puts budgets in force.

reports ─► UsageMeter ─► rows of this coordinator, every 10 s ─► all rows ─► BudgetBook ─► submissions refused, methods paused
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from weft.coordinator.contracts.contract_catalogue import Contracts
from weft.coordinator.store.base import Store
from weft.coordinator.usage.budget_book import BudgetBook
from weft.coordinator.usage.budget_rules import amount_of, begins_at
from weft.coordinator.usage.budget_table import KIND as BUDGETS
from weft.coordinator.usage.budget_table import BudgetTable
from weft.coordinator.usage.tree_rows import TreeRows
from weft.coordinator.usage.tree_use import TreeUses
from weft.coordinator.usage.usage_meter import UsageMeter
from weft.coordinator.usage.usage_rows import UsageRows
from weft.coordinator.usage.usage_table import UsageTable
from weft.coordinator.usage.usage_times import HOUR_S, day_begin, day_name
from weft.v1 import usage_pb2

WRITE_EVERY_S = 10.0
# Budgets are looked at so long after something was used.
SETTLE_S = 0.1


class UsageKeeper:
    """The I/O of usage, for one mesh.

    Args:
        hasten: asks for a pass of the sweeper soon.
    """

    def __init__(self, store: Store, contracts: Contracts, hasten: Callable[[], None]) -> None:
        self._hasten = hasten
        self.trees = TreeUses(hasten)
        self.meter = UsageMeter(self.trees)
        self.book = BudgetBook()
        self.rows = UsageRows(store)
        self.tree_rows = TreeRows(store, self.trees)
        self._store = store
        self._table = BudgetTable(store, contracts)
        self._writing = asyncio.Lock()
        # Taken from the meter, and not known to be in the rows that were read.
        self._taken: list[UsageTable] = []
        self._budgets_changed = True
        self._settling = False
        # The methods of spent budgets that pause, when they were last paused here.
        self._looked: dict[str, list[str]] = {}
        self._write_at_s = self._forget_at_s = 0.0
        # What rows of earlier days say, by budget, and for which day and budgets that is.
        self._earlier: tuple[float, dict[str, float]] = (0.0, {})

    def rows_changed(self, kind: str) -> bool:
        """Whether `look` has something to do."""
        if kind == BUDGETS:
            self._budgets_changed = True
        return kind == BUDGETS

    async def look(self, now_s: float) -> None:
        """A part of each pass of the sweeper: without budgets, nothing between two writes.

        Args:
            now_s: by the monotonic clock.
        """
        if now_s >= self._write_at_s or self._budgets_changed:
            self._write_at_s = now_s + WRITE_EVERY_S
            await self.write()
        elif self.trees.urgent:
            await self.tree_rows.settle()
        if self.book.budgets:
            await self._enforce()
        if now_s >= self._forget_at_s:
            self._forget_at_s = now_s + HOUR_S
            await self.rows.forget()
            if await self.tree_rows.forget():
                # Tasks with budgets may be many: with one page an hour, their rows would fill the table.
                self._forget_at_s = now_s + WRITE_EVERY_S

    async def write(self) -> None:
        """Write what was counted, and read what was spent.

        Raises:
            Unavailable: the store cannot be written. Nothing is forgotten.
        """
        async with self._writing:
            table = self.meter.take()
            if table is not None:
                self.rows.add(table)
                self._taken.append(table)
            if self._taken:
                await self.rows.write()
            if self._budgets_changed or self.book.budgets:
                await self._read()
            self._taken.clear()
        await self.tree_rows.settle()

    async def _read(self) -> None:
        changed, self._budgets_changed = self._budgets_changed, False
        try:
            budgets: Sequence[usage_pb2.Budget] = list(self.book.budgets.values())
            if changed:
                budgets = await self._table.in_force()
            self.book.replace(budgets, await self._written(budgets, anew=changed))
        except BaseException:
            self._budgets_changed = self._budgets_changed or changed
            raise
        self.meter.roots = self.book.roots
        self.meter.changed = self._settle_soon if self.book.budgets else None

    async def _written(self, budgets: Sequence[usage_pb2.Budget], *, anew: bool) -> dict[str, float]:
        """What rows say is spent, by budget. Rows of earlier days do not change: they are read once a day."""
        if not budgets:
            return {}
        now = self._store.now()
        today = day_begin(now)
        if anew or self._earlier[0] != today:
            earlier = dict.fromkeys((each.name for each in budgets), 0.0)
            first = min(begins_at(each, now) for each in budgets)
            if first < today:
                await self._sum(budgets, earlier, first, today - 1.0, now)
            self._earlier = today, earlier
        written = dict(self._earlier[1])
        await self._sum(budgets, written, today, today, now)
        return written

    async def _sum(
        self,
        budgets: Sequence[usage_pb2.Budget],
        sums: dict[str, float],
        first: float,
        last: float,
        now: float,
    ) -> None:
        async for name, record in self.rows.read(day_name(first), day_name(last)):
            table = UsageTable()
            table.take_in(record)
            for budget in budgets:
                if name >= day_name(begins_at(budget, now)):
                    sums[budget.name] += amount_of(budget, table)

    # -- budgets --------------------------------------------------------------------------------------------------

    def settle(self) -> list[usage_pb2.Budget]:
        """Look which budgets are spent; returns these."""
        return self.book.settle([*self._taken, self.meter.present], self._store.now())

    def _settle_soon(self) -> None:
        """Something was used, and there are budgets: look at them in a moment."""
        if not self._settling:
            self._settling = True
            asyncio.get_running_loop().call_later(SETTLE_S, self._settle_now)

    def _settle_now(self) -> None:
        self._settling = False
        pausing = usage_pb2.BUDGET_ACTION_PAUSE
        if any(each.action == pausing and not each.paused_methods for each in self.settle()):
            # That takes I/O.
            self._hasten()

    async def _enforce(self) -> None:
        """Refuse tasks of spent budgets, pause their methods, or resume them."""
        spent = {each.name for each in self.settle()}
        pausing = usage_pb2.BUDGET_ACTION_PAUSE

        def is_to_pause(budget: usage_pb2.Budget) -> bool:
            # At first, since a coordinator may have died before it had paused all of them; and when a contract has come.
            pauses = budget.action == pausing and budget.name in spent
            return pauses and self._looked.get(budget.name) != self._table.methods_of(budget)

        if any(is_to_pause(each) for each in self.book.budgets.values()):
            # First what they were spent by: another coordinator that reads of the pause would undo it otherwise.
            await self.write()
            spent = {each.name for each in self.settle()}
        for budget in list(self.book.budgets.values()):
            pauses = budget.action == pausing and budget.name in spent
            if is_to_pause(budget):
                methods = self._table.methods_of(budget)
                if await self._table.pause(budget):
                    self._looked[budget.name] = methods
            elif budget.paused_methods and not pauses:
                await self._table.resume(budget)
            else:
                continue
            self._budgets_changed = True
        if self._looked:
            self._looked = {name: methods for name, methods in self._looked.items() if name in spent}

    async def set_budget(self, budget: usage_pb2.Budget) -> usage_pb2.Budget:
        """Store a checked budget, and put it in force here.

        Raises:
            Overloaded: there are too many, or others change it at the same time, again and again.
        """
        await self._table.put(budget, await self._used_today(budget))
        await self._in_force()
        return self.book.budgets.get(budget.name, budget)

    async def import_budget(self, budget: usage_pb2.Budget, spent: float) -> bool:
        """Store a checked budget of another mesh; False: there is one of its name.

        Args:
            spent: what was spent of it there. It counts on for one that never begins anew.

        Raises:
            Overloaded: as `set_budget`.
        """
        if any(each.name == budget.name for each in await self._table.all()):
            return False
        before = await self._used_today(budget)
        if budget.period == usage_pb2.BUDGET_PERIOD_TOTAL:
            before -= spent
        await self._table.put(budget, before)
        await self._in_force()
        return True

    async def delete_budget(self, name: str) -> None:
        """
        Raises:
            NotFound: BUDGET_NOT_FOUND.
        """
        await self._table.delete(name)
        await self._in_force()

    async def _used_today(self, budget: usage_pb2.Budget) -> float:
        """What was used before a budget that never begins anew, on its first day."""
        if budget.period != usage_pb2.BUDGET_PERIOD_TOTAL:
            return 0.0
        await self.write()
        sums = {budget.name: 0.0}
        now = self._store.now()
        today = usage_pb2.Budget()
        today.CopyFrom(budget)
        today.period = usage_pb2.BUDGET_PERIOD_DAY
        await self._sum([today], sums, now, now, now)
        return sums[budget.name]

    async def _in_force(self) -> None:
        self._budgets_changed = True
        await self.write()
        await self._enforce()
