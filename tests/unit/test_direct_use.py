"""What direct calls use: counted within bounds at the agent, and taken with doubt by the coordinator."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration

from weft.agent.direct import direct_use
from weft.agent.direct.direct_use import NO_TREE, DirectUse
from weft.coordinator.usage.tree_use import TreeUses
from weft.coordinator.usage.usage_meter import UsageMeter
from weft.coordinator.usage.usage_table import UsageTable
from weft.rpc.times import seconds
from weft.v1 import session_pb2, task_pb2

A, B = "acme.v1.S/A", "acme.v1.S/B"


def run(method: str, response: bytes = b"yy", **units: float) -> Any:
    return SimpleNamespace(
        hosted=SimpleNamespace(name=method, slot_cost=2),
        outcome=task_pb2.Outcome(response=response),
        context=SimpleNamespace(used_units=units or None),
    )


def test_calls_are_added_up_and_taken_once() -> None:
    use = DirectUse()
    assert use.take() == []
    use.count(run(A, tokens=2.0), NO_TREE, 0.0, b"x")
    use.count(run(A, tokens=3.0), NO_TREE, 0.0, b"xx")
    use.count(run(A), ("tree", ()), 0.0, iter(()))
    # A handler that was abandoned has no outcome.
    use.count(SimpleNamespace(hosted=SimpleNamespace(name=B, slot_cost=1)), NO_TREE, 0.0, b"x")
    found = {(each.method, each.root_id): each for each in use.take()}
    assert found[A, ""].calls == 2
    assert (found[A, ""].request_bytes, found[A, ""].response_bytes) == (3, 4)
    assert dict(found[A, ""].units) == {"tokens": 5.0}
    active_s, slot_s = (seconds(each) for each in (found[A, ""].active, found[A, ""].slot_time))
    assert slot_s == pytest.approx(2 * active_s)
    assert active_s > 0
    assert (found[A, "tree"].calls, found[A, "tree"].request_bytes) == (1, 0)
    assert found[B, ""].calls == 1
    assert use.take() == []


def test_many_trees_are_counted_for_their_method_alone() -> None:
    use = DirectUse()
    use.count(run(A), NO_TREE, 0.0, b"")
    for number in range(2 * direct_use.MAX_ENTRIES):
        use.count(run(A), (f"tree-{number}", ()), 0.0, b"")
    found = use.take()
    assert len(found) == direct_use.MAX_ENTRIES
    assert sum(each.calls for each in found) == 2 * direct_use.MAX_ENTRIES + 1


def test_an_agent_may_say_anything() -> None:
    meter = UsageMeter(TreeUses(lambda: None))
    told = [
        session_pb2.DirectUsage(method="acme.v1.S/NotHosted", calls=1),
        session_pb2.DirectUsage(method=A, calls=2, root_id="x" * 1000, units={"tokens": 1.0, "no unit": 1.0}),
        session_pb2.DirectUsage(
            method=A,
            calls=2**64 - 1,
            request_bytes=2**64 - 1,
            active=Duration(seconds=-5),
            slot_time=Duration(seconds=300_000_000_000),
            units={"tokens": float("nan"), "slot_s": 4.0, "more": -1.0},
        ),
        session_pb2.DirectUsage(method=A, calls=2**64 - 1, response_bytes=2**64 - 1),
    ]
    for _ in range(20):
        meter.direct("a1", {A}, told)
    table = meter.take()
    assert table is not None
    assert set(table.methods) == {A}
    assert set(table.agents) == {"a1"}
    assert not table.roots
    assert table.methods[A].units == {"tokens": 20.0}
    assert table.methods[A].active_s == table.methods[A].slot_s == 0.0
    # It can be written, and read again.
    (record,) = table.records(100)
    again = UsageTable()
    again.take_in(record)
    assert again.methods[A].direct_calls > 10**18
