"""What trees with budgets have used, as rows of the store's table: one a tree, with a part for each coordinator, changed by compare-and-set.

Each coordinator writes its own part as a whole, so that a write whose answer was lost may be repeated.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Sequence

from google.protobuf.message import DecodeError

from weft.coordinator.store.base import Store
from weft.coordinator.store.table_store import RowConflict, RowDelete, RowPut, TableRow, TooManyRows
from weft.coordinator.usage.tree_use import TreeUse, TreeUses
from weft.coordinator.usage.usage_table import Totals
from weft.coordinator.usage.usage_times import DAY_S
from weft.rpc.process.logs import get_logger
from weft.v1 import usage_pb2

log = get_logger(__name__)

KIND = "usage-tree"
# After its last use.
KEEP_S = 7 * DAY_S
_TREES = 250
# Others write the same row at the same time: again at once, and then in the next pass.
_TRIES = 4
_PAGE = 200


class TreeRows:
    """The rows of trees.

    Args:
        uses: what is counted here.
    """

    def __init__(self, store: Store, uses: TreeUses) -> None:
        self._store, self._uses = store, uses
        self._settling = asyncio.Lock()
        self._owner = secrets.token_hex(6)

    async def settle(self) -> None:
        """Write what was counted here, and read what the others have.

        Raises:
            Unavailable: the store cannot be written; another call writes what this one did not.
        """
        async with self._settling:
            due = self._uses.due()
            names = list(due)
            for at in range(0, len(names), _TREES):
                left = {name: due[name] for name in names[at : at + _TREES]}
                for _ in range(_TRIES):
                    if left:
                        left = await self._settle(left)
        if self._uses.lost:
            log.warning("usage.trees_lost", trees=self._uses.lost)
            self._uses.lost = 0

    async def _settle(self, trees: dict[str, TreeUse]) -> dict[str, TreeUse]:
        """Returns those that others were writing."""
        rows = await self._store.get_rows(KIND, list(trees))
        puts: list[RowPut] = []
        changed: list[tuple[str, TreeUse, Totals]] = []
        due_at = self._store.now() + KEEP_S
        for (task_id, tree), row in zip(trees.items(), rows, strict=True):
            record = usage_pb2.TreeUseRecord() if row is None else _parsed(row)
            tree.take_in(record, self._owner)
            if tree.changed:
                # Before the write: what is counted during it is for the next one.
                self._uses.written(tree)
                part = tree.put_in(record, self._owner)
                expected = 0 if row is None else row.revision
                puts.append(RowPut(KIND, task_id, record.SerializeToString(), due_at, expected))
                changed.append((task_id, tree, part))
        if not puts:
            return {}
        try:
            results = await self._store.put_rows(puts)
        except BaseException:
            for task_id, tree, _ in changed:
                self._uses.not_written(task_id, tree, surely=False)
            raise
        conflicts: dict[str, TreeUse] = {}
        for (task_id, tree, part), result in zip(changed, results, strict=True):
            if isinstance(result, RowConflict):
                conflicts[task_id] = self._uses.not_written(task_id, tree, surely=True)
            elif isinstance(result, TooManyRows):
                self._uses.lost += 1
            else:
                tree.stored = part
        return conflicts

    async def look(self, task_ids: Sequence[str]) -> dict[str, TreeUse]:
        """What trees have used, by their rows and by what was counted here since. Writes nothing.

        Raises:
            Unavailable: the store cannot be read.
        """
        async with self._settling:
            trees = {task_id: self._uses.known(task_id) for task_id in task_ids}
            rows = await self._store.get_rows(KIND, list(trees)) if trees else ()
            for tree, row in zip(trees.values(), rows, strict=True):
                tree.take_in(usage_pb2.TreeUseRecord() if row is None else _parsed(row), self._owner)
        return trees

    async def forget(self) -> bool:
        """Delete rows whose time has passed, some at a time. True: there may be more."""
        due = await self._store.due_rows(KIND, _PAGE)
        if due.rows:
            await self._store.delete_rows([RowDelete(KIND, row.key, row.revision) for row in due.rows])
        return len(due.rows) == _PAGE


def _parsed(row: TableRow) -> usage_pb2.TreeUseRecord:
    try:
        return usage_pb2.TreeUseRecord.FromString(row.value)
    except DecodeError:
        return usage_pb2.TreeUseRecord()
