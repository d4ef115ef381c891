"""What the trees of tasks with budgets have used, as this coordinator knows it: what it has counted, and what rows say of the others. Bounded.

A tree is here once it has used something or a task below it was submitted, at most `MAX_TREES` of them; without budgets there are none. Pure.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable

from weft.coordinator.usage.usage_table import Totals
from weft.rpc import refusals
from weft.rpc.errors import WeftError
from weft.v1 import task_pb2, usage_pb2

MAX_TREES = 10_000
# With so many to be written, they are written soon.
_MANY = 1000
# Of one record. A tree that more coordinators have counted for has the oldest parts in one.
MAX_PARTS = 64


class TreeUse:
    """One tree."""

    __slots__ = ("asked", "changed", "others", "own", "read", "stored")

    def __init__(self) -> None:
        # Counted by this process, as far as its own part of the row is about it.
        self.own = Totals()
        # What that part has of it, as this process knows.
        self.stored = Totals()
        self.others = Totals()
        # Its row was read.
        self.read = False
        # There is more in `own` than in the row.
        self.changed = False
        # A task below was submitted since the row was read.
        self.asked = False

    def spent(self, unit: str) -> float:
        return self.own.amount(unit) + self.others.amount(unit)

    def take_in(self, record: usage_pb2.TreeUseRecord, owner: str) -> None:
        """What the row says, just read.

        Args:
            owner: this process.
        """
        self.others = Totals()
        stored = Totals()
        for part in record.parts:
            if part.owner == owner:
                stored = Totals.of(part.usage)
            else:
                self.others.merge(Totals.of(part.usage))
        if not self.read:
            # It had written of the tree before it forgot it.
            self.own.merge(stored)
        elif not any(part.owner == owner for part in record.parts):
            # Others have added its part to that of the oldest ones: what was in it counts there. Or the row was deleted, long after its
            # last change: the tree counts from zero.
            self.own = self.own.less(self.stored)
        self.stored = stored
        self.read, self.asked = True, False

    def put_in(self, record: usage_pb2.TreeUseRecord, owner: str) -> Totals:
        """Put the own part into the record; returns what it has now."""
        own = next((part for part in record.parts if part.owner == owner), None)
        if own is None:
            while len(record.parts) >= MAX_PARTS:
                oldest, second = Totals.of(record.parts[0].usage), record.parts[1]
                oldest.merge(Totals.of(second.usage))
                second.usage.CopyFrom(oldest.message())
                second.owner = ""
                del record.parts[0]
            own = record.parts.add(owner=owner)
        own.usage.CopyFrom(self.own.message())
        return Totals.of(own.usage)


class TreeUses:
    """The trees.

    Args:
        hasten: asks for a pass that writes and reads rows soon.
    """

    def __init__(self, hasten: Callable[[], None]) -> None:
        self._hasten = hasten
        self._trees: OrderedDict[str, TreeUse] = OrderedDict()
        self._changed = 0
        # Trees that were forgotten before their rows had all, since this was last read.
        self.lost = 0
        # A pass is due.
        self.urgent = False

    def counted(self, task_id: str) -> Totals:
        """What this coordinator has counted for a tree, to be added to."""
        tree = self._find(task_id)
        self._mark(tree)
        return tree.own

    def refusal(self, budgets: Iterable[task_pb2.TreeBudget]) -> WeftError | None:
        """Why a task below these budgets is refused. None: it is not."""
        for budget in budgets:
            tree = self._find(budget.task_id)
            if not tree.asked:
                tree.asked = True
                if not tree.read:
                    self._soon()
            for unit, amount in budget.amounts.items():
                if tree.spent(unit) >= amount:
                    return refusals.tree_budget_spent(budget.task_id, unit, amount)
        return None

    def due(self) -> dict[str, TreeUse]:
        """The trees whose rows are to be read, and written if they have changed."""
        self.urgent = False
        return {name: tree for name, tree in self._trees.items() if tree.changed or tree.asked}

    def written(self, tree: TreeUse) -> None:
        """All of `own` is about to be in the row."""
        if tree.changed:
            tree.changed = False
            self._changed -= 1

    def not_written(self, task_id: str, tree: TreeUse, *, surely: bool) -> TreeUse:
        """The row may not have all of `own` after all. Returns the tree that counts on: another one, if it was forgotten meanwhile.

        Args:
            surely: it has not. Otherwise what that other tree does not know may be in the row, and is not counted.
        """
        present = self._find(task_id)
        self._mark(present)
        if present is not tree and surely:
            present.own.merge(tree.own.less(tree.stored))
        elif present is not tree:
            self.lost += 1
        return present

    def known(self, task_id: str) -> TreeUse:
        """A tree to look at; one that is not known here is not kept."""
        return self._trees.get(task_id) or TreeUse()

    def _find(self, task_id: str) -> TreeUse:
        tree = self._trees.get(task_id)
        if tree is not None:
            self._trees.move_to_end(task_id)
            return tree
        if len(self._trees) >= MAX_TREES:
            _, oldest = self._trees.popitem(last=False)
            if oldest.changed:
                self.written(oldest)
                self.lost += 1
        tree = self._trees[task_id] = TreeUse()
        return tree

    def _mark(self, tree: TreeUse) -> None:
        if not tree.changed:
            tree.changed = True
            self._changed += 1
            if self._changed >= _MANY:
                self._soon()

    def _soon(self) -> None:
        if not self.urgent:
            self.urgent = True
            self._hasten()
