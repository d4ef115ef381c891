"""The audit in both stores: listed in the order of time, forgotten in time, and bounded."""

from __future__ import annotations

import pytest

from tests.store.support import Harness
from weft.coordinator.audit import audit_table
from weft.coordinator.audit.audit_check import ChainCheck
from weft.coordinator.audit.audit_event import AuditFact, Chain, Record, line_of
from weft.coordinator.audit.audit_table import AuditTable, cursor_at


async def test_events_are_kept_in_their_order_and_forgotten(
    h: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit_table, "_DELETED", 4)
    table = AuditTable(h.store, keep_s=100.0)
    chains = Chain("c-1 1"), Chain("c-2 1")
    began = h.store.now()
    for number in range(6):
        for chain in chains:
            await table.write([chain.add(AuditFact(f"a.S/M{number}"), 1, began + number)])
    records, cursor = await table.page(5, "")
    rest, end = await table.page(100, cursor)
    assert not end
    listed = [*records, *rest]
    assert [each["action"][-1] for each in listed] == list("001122334455")
    for name in "c-1 1", "c-2 1":
        assert not list(ChainCheck().faults([line_of(each) for each in listed if each["chain"] == name]))
    since = [record["action"] async for _, record in table.after(cursor_at(began + 4))]
    assert since == ["a.S/M4"] * 2 + ["a.S/M5"] * 2
    assert not await table.forget()
    h.clock.advance(101.0)
    assert await table.forget()
    assert await table.forget()
    assert await table.forget()
    assert not await table.forget()
    assert await _all(table) == []


async def test_the_oldest_give_way_where_there_are_too_many(
    h: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit_table, "_DELETED", 4)
    monkeypatch.setattr(type(h.store), "max_rows", 10)
    table = AuditTable(h.store, keep_s=100.0)
    chain = Chain("c-1 1")
    for number in range(13):
        await table.write([chain.add(AuditFact(f"a.S/{number}"), 1, h.store.now() + number)])
    assert [each["sequence"] for each in await _all(table)] == list(range(5, 14))


async def _all(table: AuditTable) -> list[Record]:
    return [record async for _, record in table.after("")]
