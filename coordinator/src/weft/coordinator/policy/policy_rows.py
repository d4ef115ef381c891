"""Task policies that operators set: durable rows of the store's table, one a method, that all coordinators share."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

from weft.coordinator.store.base import Store
from weft.coordinator.store.table_store import (
    RowConflict,
    RowDelete,
    RowPut,
    TableRow,
    TooManyRows,
    every_row,
)
from weft.rpc import refusals
from weft.v1 import options_pb2

# For operators who change the same method at the same time.
_TRIES = 16

Policies = Mapping[str, options_pb2.TaskPolicy]


class PolicyRows:
    """The rows of one kind, mirrored in this coordinator.

    Args:
        kind: of the rows; their keys are methods.
        apply: takes all policies by method, after each change.
    """

    def __init__(self, store: Store, kind: str, apply: Callable[[Policies], None]) -> None:
        self._store = store
        self.kind = kind
        self._apply = apply
        self._stale = True
        self._loading = asyncio.Lock()

    def rows_changed(self) -> None:
        """Some coordinator has changed a row: `load` reads them again."""
        self._stale = True

    async def load(self) -> None:
        """Take in the rows, if they may have changed."""
        async with self._loading:
            if not self._stale:
                return
            self._stale = False
            try:
                self._apply(await self._read())
            except BaseException:
                self._stale = True
                raise

    async def change(self, method: str, edit: Callable[[options_pb2.TaskPolicy], None]) -> None:
        """Edit the policy of a method. `edit` may be called several times, and its exceptions pass.

        Raises:
            Unavailable: the store cannot be written.
            ResourceExhausted: too many methods have such a policy, or others change this one all the time.
        """
        for _ in range(_TRIES):
            (row,) = await self._store.get_rows(self.kind, [method])
            policy = options_pb2.TaskPolicy() if row is None else _policy(row)
            edit(policy)
            if not await self._write(method, row, policy):
                continue
            self._stale = True
            await self.load()
            return
        raise refusals.overloaded(
            f"others change the policy of {method} at the same time; try again", retry_after_s=1.0
        )

    async def _write(self, method: str, row: TableRow | None, policy: options_pb2.TaskPolicy) -> bool:
        """Write the policy, or delete the row if it says nothing. False: somebody else was faster."""
        value = policy.SerializeToString(deterministic=True)
        if not value:
            if row is None:
                return True
            (deleted,) = await self._store.delete_rows([RowDelete(self.kind, method, row.revision)])
            return not isinstance(deleted, RowConflict)
        expected = 0 if row is None else row.revision
        (result,) = await self._store.put_rows([RowPut(self.kind, method, value, expected=expected)])
        if isinstance(result, TooManyRows):
            raise refusals.overloaded(f"{result.limit} methods have such a policy, the most that are allowed")
        return not isinstance(result, RowConflict)

    async def _read(self) -> Policies:
        return {row.key: _policy(row) async for row in every_row(self._store, self.kind)}


def _policy(row: TableRow) -> options_pb2.TaskPolicy:
    return options_pb2.TaskPolicy.FromString(row.value)
