"""Random changes of the table against a plain dictionary: after every step both must hold the same rows."""

from __future__ import annotations

import hypothesis.strategies as st
import pytest
from hypothesis.stateful import invariant, rule

from tests.store.factories import FACTORIES
from tests.store.store_machine import OpenStoreMachine, run_histories
from weft.coordinator.store.table_store import RowConflict, RowDelete, RowPut, TableRow

KINDS = st.sampled_from(["schedule", "override"])
KEYS = st.sampled_from(["a", "b", "ab", "ü", "a\nb"])
# Which revision a change expects: that of the row, one of some time ago, none, or any.
EXPECTED = st.sampled_from(["present", "stale", "absent", "any"])


class TableMachine(OpenStoreMachine):
    """Each change expects the row's present revision, an old one, its absence, or nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: dict[tuple[str, str], TableRow] = {}
        self.last_revision = 0

    def _present(self, kind: str, key: str) -> int:
        row = self.rows.get((kind, key))
        return 0 if row is None else row.revision

    def _expected(self, kind: str, key: str, which: str) -> int | None:
        present = self._present(kind, key)
        return {"present": present, "stale": max(1, present - 1), "absent": 0, "any": None}[which]

    @rule(
        kind=KINDS,
        key=KEYS,
        value=st.binary(max_size=4),
        due_s=st.sampled_from([None, -1.0, 2.0, 5.5]),
        which=EXPECTED,
    )
    def put(self, kind: str, key: str, value: bytes, due_s: float | None, which: str) -> None:
        expected, present = self._expected(kind, key, which), self._present(kind, key)
        due_at = None if due_s is None else self.factory.clock() + due_s
        (result,) = self.do(self.h.store.put_rows([RowPut(kind, key, value, due_at, expected)]))
        if expected is not None and expected != present:
            assert result == RowConflict(present)
            return
        assert isinstance(result, int)
        assert result > self.last_revision
        self.last_revision = result
        self.rows[kind, key] = TableRow(kind, key, value, result, due_at)

    @rule(kind=KINDS, key=KEYS, which=EXPECTED)
    def delete(self, kind: str, key: str, which: str) -> None:
        expected, present = self._expected(kind, key, which), self._present(kind, key)
        (result,) = self.do(self.h.store.delete_rows([RowDelete(kind, key, expected)]))
        if expected is not None and expected != present:
            assert result == RowConflict(present)
            return
        assert result == ((kind, key) in self.rows)
        self.rows.pop((kind, key), None)

    @rule(seconds=st.sampled_from([1.0, 3.0, -3.0]))
    def pass_time(self, seconds: float) -> None:
        self.factory.clock.advance(seconds)

    @rule(crash=st.booleans())
    def reopen(self, crash: bool) -> None:
        self.h = self.do(self.factory.reopen(self.h, crash=crash))

    @invariant()
    def listings_agree(self) -> None:
        for kind in ("schedule", "override"):
            mine = sorted((row for row in self.rows.values() if row.kind == kind), key=lambda row: row.key)
            found: list[TableRow] = []
            cursor = ""
            while True:
                page = self.do(self.h.store.list_rows(kind, limit=2, cursor=cursor))
                found += page.rows
                if not (cursor := page.cursor):
                    break
            assert found == mine
            self._due_agree(kind, mine)

    def _due_agree(self, kind: str, mine: list[TableRow]) -> None:
        timed = sorted(
            (row for row in mine if row.due_at is not None), key=lambda row: (row.due_at or 0.0, row.key)
        )
        now = self.factory.clock()
        due = self.do(self.h.store.due_rows(kind, 2))
        passed = [row for row in timed if (row.due_at or 0.0) <= now][:2]
        assert list(due.rows) == passed
        assert due.next_at == (timed[len(passed)].due_at if len(timed) > len(passed) else None)


@pytest.mark.parametrize("kind", sorted(FACTORIES))
def test_tables_agree_with_the_model(kind: str) -> None:
    run_histories(TableMachine, kind, examples=25, steps=30)
