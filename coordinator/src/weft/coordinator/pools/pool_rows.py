"""The rows of one provider's pools, as last read: they are read again when some coordinator has changed rows of pools."""

from __future__ import annotations

from google.protobuf.message import DecodeError

from weft.coordinator.pools.pool_table import PoolTable, pool_of
from weft.coordinator.pools.scaling_rules import watched_methods
from weft.coordinator.store.table_store import TableRow
from weft.rpc.process.logs import get_logger

log = get_logger(__name__)


class PoolRows:
    """These rows.

    Attributes:
        known: as last read.
        stale: they have changed since.
        unreadable: some row of a pool cannot be read: it is of a newer version. What a provider has may be its members.
    """

    def __init__(self, table: PoolTable, provider: str) -> None:
        self._table, self._provider = table, provider
        self.known: list[TableRow] = []
        self.stale = True
        self.unreadable = False

    async def read(self, *, anew: bool = False) -> None:
        """Read them, if they have changed; or, with `anew`, in any case."""
        if not self.stale and not anew:
            return
        self.stale = False
        try:
            rows = await self._table.rows()
        except BaseException:
            self.stale = True
            raise
        providers = [_provider_of(row) for row in rows]
        self.unreadable = None in providers
        self.known = [row for row, name in zip(rows, providers, strict=True) if name == self._provider]

    def members(self) -> set[str]:
        """The ids of all members."""
        return {member.id for row in self.known for member in pool_of(row).members}

    def methods(self) -> set[str]:
        """The methods whose tasks may be what members are started for."""
        return {method for row in self.known for method in watched_methods(pool_of(row))}


def _provider_of(row: TableRow) -> str | None:
    """The provider of a pool. None: its row cannot be read."""
    try:
        return pool_of(row).spec.template.provider
    except DecodeError:
        log.error("pool.unreadable", pool=row.key)  # noqa: TRY400
        return None
