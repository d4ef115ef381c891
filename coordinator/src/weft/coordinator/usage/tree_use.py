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

    __slots__ = ("asked", "changed", "others", "own", "read")

    def __init__(self) -> None:
        # Counted by this process, and what it had written of the tree before it forgot it.
        self.own = Totals()
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
        for part in record.parts:
            if part.owner != owner:
                self.others.merge(Totals.of(part.usage))
            elif not self.read:
                self.own.merge(Totals.of(part.usage))
        self.read, self.asked = True, False

    def put_in(self, record: usage_pb2.TreeUseRecord, owner: str) -> None:
        """Put the own part into the record."""
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
        if not tree.changed:
            tree.changed = True
            self._changed += 1
            if self._changed >= _MANY:
                self._soon()
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
        """The row has all of `own`."""
        if tree.changed:
            tree.changed = False
            self._changed -= 1

    def find(self, task_id: str) -> TreeUse:
        """A tree, whose row is read in the next pass if it is a new one."""
        tree = self._find(task_id)
        tree.asked = True
        return tree

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

    def _soon(self) -> None:
        if not self.urgent:
            self.urgent = True
            self._hasten()
