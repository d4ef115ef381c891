"""Namespaces as rows of the table in the default namespace's store: by name, changed by compare-and-set, the same for all coordinators."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from weft.coordinator.store.base import Store
from weft.coordinator.store.table_store import RowConflict, RowDelete, RowPut, TooManyRows, every_row
from weft.rpc import refusals
from weft.rpc.times import timestamp
from weft.v1 import namespace_pb2

KIND = "namespace"
# How often a change is tried when others change the namespace at the same time.
_TRIES = 16

Stored = namespace_pb2.StoredNamespace
# Changes the given namespace; false: nothing is to be changed. May be called several times.
Change = Callable[[Stored], bool]


class NamespaceTable:
    """The namespaces of a mesh's store.

    Args:
        most: so many there may be.
    """

    def __init__(self, store: Store, most: int) -> None:
        self._store = store
        self._most = most

    def now(self) -> float:
        return self._store.now()

    async def all(self) -> Mapping[str, Stored]:
        """All namespaces by name, in that order."""
        return {row.key: Stored.FromString(row.value) async for row in every_row(self._store, KIND)}

    async def read(self, name: str) -> Stored | None:
        """One namespace; None: there is none of this name."""
        return (await self._read(name))[0]

    async def create(self, name: str, comment: str) -> Stored:
        """Store a new namespace.

        Raises:
            AlreadyExists: NAMESPACE_EXISTS.
            FailedPrecondition: NAMESPACE_DELETING.
            Overloaded: there are too many.
        """
        known = await self.all()
        if (found := known.get(name)) is not None:
            raise _taken(found)
        if len(known) >= self._most:
            raise refusals.overloaded(
                f"there are {len(known)} namespaces, and may be {self._most}: delete some, or raise WEFT_MAX_NAMESPACES"
            )
        stored = Stored(namespace=namespace_pb2.Namespace(name=name, comment=comment))
        stored.namespace.create_time.CopyFrom(timestamp(self.now()))
        (result,) = await self._store.put_rows([RowPut(KIND, name, stored.SerializeToString(), expected=0)])
        if isinstance(result, RowConflict):
            # Another operator was faster.
            raise _taken(await self.read(name) or stored)
        if isinstance(result, TooManyRows):
            raise refusals.overloaded(f"there are {result.limit} namespaces, the most that a store has")
        return stored

    async def change(self, name: str, change: Change) -> Stored:
        """Change a namespace; returns it as it is then.

        Raises:
            NotFound: NAMESPACE_NOT_FOUND.
            Overloaded: others change it at the same time, again and again.
        """
        for _ in range(_TRIES):
            stored, revision = await self._read(name)
            if stored is None:
                raise refusals.namespace_not_found(name)
            if not change(stored):
                return stored
            put = RowPut(KIND, name, stored.SerializeToString(), expected=revision)
            (result,) = await self._store.put_rows([put])
            if not isinstance(result, RowConflict | TooManyRows):
                return stored
        raise refusals.overloaded(
            f"others change the namespace {name} at the same time; try again", retry_after_s=0.5
        )

    async def remove(self, name: str) -> None:
        """Forget a namespace whose data is gone."""
        await self._store.delete_rows([RowDelete(KIND, name)])

    async def _read(self, name: str) -> tuple[Stored | None, int]:
        (row,) = await self._store.get_rows(KIND, [name])
        return (None, 0) if row is None else (Stored.FromString(row.value), row.revision)


def wake(stored: Stored) -> bool:
    """Let all coordinators keep a namespace open. A `Change`."""
    if stored.awake or stored.namespace.HasField("delete_time"):
        return False
    stored.awake = True
    return True


def let_sleep(stored: Stored) -> bool:
    """Let all coordinators close a namespace. A `Change`."""
    if not stored.awake:
        return False
    stored.awake = False
    return True


def _taken(found: Stored) -> Exception:
    name = found.namespace.name
    deleting = found.namespace.HasField("delete_time")
    return refusals.namespace_deleting(name) if deleting else refusals.namespace_exists(name)
