"""Usage and budgets: adding up, periods, what is spent and what is refused. Without a store."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weft.coordinator.sessions.assignments import Tree
from weft.coordinator.usage import usage_times
from weft.coordinator.usage.budget_book import BudgetBook
from weft.coordinator.usage.budget_rules import begins_at, checked, renews_at
from weft.coordinator.usage.tree_use import TreeUses
from weft.coordinator.usage.usage_meter import UsageMeter
from weft.coordinator.usage.usage_table import MAX_NAMES, Totals, UsageTable, entry_of
from weft.rpc.errors import InvalidArgument, error_info
from weft.rpc.usage_units import MAX_UNITS
from weft.v1 import session_pb2, task_pb2, usage_pb2
from weft.v1.usage_pb2 import BUDGET_ACTION_PAUSE, BUDGET_PERIOD_DAY, BUDGET_PERIOD_MONTH, Budget

DO, OTHER = "acme.v1.S/Do", "acme.v1.S/Other"
NOON = datetime(2026, 2, 28, 12, tzinfo=UTC).timestamp()


def report(task_id: str = "1", **used: float) -> session_pb2.AttemptResult:
    outcome = task_pb2.Outcome(response=b"abc", used=used)
    return session_pb2.AttemptResult(task_id=task_id, attempt=1, outcome=outcome)


def held(method: str = DO, slots: int = 1, root: str = "", size: int = 10) -> tuple[Any, ...]:
    return slots, method, 1.0, "", Tree(root), size


def test_an_attempt_is_counted_by_method_agent_and_root() -> None:
    meter = UsageMeter(TreeUses(lambda: None))
    meter.attempt("a1", held(slots=2, root="r"), report("t", tokens=5), 1.5)
    meter.attempt("a2", held(), report("u", tokens=7), 0.5)
    # The root itself comes last.
    meter.attempt("a1", held(OTHER), report("r"), 4.0)
    table = meter.take()
    assert table is not None
    do = table.methods[DO]
    assert (do.attempts, do.active_s, do.slot_s, do.request_bytes, do.response_bytes) == (2, 2.0, 3.5, 20, 6)
    assert do.units == {"tokens": 12.0}
    assert table.agents["a1"].attempts == 2
    assert set(table.roots) == {"r"}
    assert (table.roots["r"].attempts, table.roots["r"].slot_s) == (2, 7.0)
    assert meter.take() is None


def test_names_and_units_are_bounded_and_nothing_is_lost() -> None:
    table = UsageTable()
    for number in range(MAX_NAMES + 50):
        entry_of(table.agents, f"a{number}").add(1.0, 1.0, 0, 0)
    assert len(table.agents) == MAX_NAMES + 1
    assert sum(each.attempts for each in table.agents.values()) == MAX_NAMES + 50
    totals = Totals()
    totals.add_units({f"u{number}": 1.0 for number in range(100)})
    totals.add_units({"attempts": 5.0, "\x1b[2J": 1.0, "": 1.0, "x" * 65: 1.0})
    totals.add_units({"u0": math.nan, "u1": math.inf, "u2": -5.0, "u3": 1e300})
    assert totals.units == {f"u{number}": 1.0 for number in range(MAX_UNITS)}


amounts = st.floats(0, 1e6)
tables = st.dictionaries(
    st.sampled_from([DO, OTHER, ""]),
    st.tuples(amounts, st.integers(0, 9), st.dictionaries(st.sampled_from("ab"), amounts)),
)


@given(st.lists(tables), st.integers(1, 4))
def test_records_add_up_to_the_table(made: list[Any], most: int) -> None:
    table = UsageTable()
    for each in made:
        for name, (took_s, size, units) in each.items():
            totals = entry_of(table.methods, name)
            totals.add(took_s, took_s, size, size)
            totals.add_units(units)
    again = UsageTable()
    for record in table.records(most):
        assert len(record.methods) <= most
        again.take_in(usage_pb2.UsageRecord.FromString(record.SerializeToString()))
    assert again.methods.keys() == table.methods.keys()
    for name, totals in table.methods.items():
        assert again.methods[name].attempts == totals.attempts
        assert again.methods[name].units == pytest.approx(totals.units)
        assert again.methods[name].slot_s == pytest.approx(totals.slot_s, abs=1e-6)


@pytest.mark.parametrize(
    ("field", "budget"),
    [
        ("budget.name", Budget(unit="tokens", amount=1)),
        ("budget.name", Budget(name="../x y", unit="tokens", amount=1)),
        ("budget.unit", Budget(name="b", amount=1)),
        ("budget.unit", Budget(name="b", unit="two words", amount=1)),
        ("budget.amount", Budget(name="b", unit="tokens")),
        ("budget.amount", Budget(name="b", unit="tokens", amount=-1)),
        ("budget.amount", Budget(name="b", unit="tokens", amount=math.nan)),
        ("budget.amount", Budget(name="b", unit="tokens", amount=math.inf)),
        ("budget.method", Budget(name="b", unit="tokens", amount=1, method="")),
        (
            "budget.period",
            Budget(name="b", unit="tokens", amount=1, root_task_id="r", period=BUDGET_PERIOD_DAY),
        ),
        (
            "budget.action",
            Budget(name="b", unit="tokens", amount=1, root_task_id="r", action=BUDGET_ACTION_PAUSE),
        ),
        ("budget.period", Budget(name="b", unit="tokens", amount=1, period=9)),  # type: ignore[arg-type]
    ],
)
def test_bad_budgets_name_the_field(field: str, budget: Budget) -> None:
    with pytest.raises(InvalidArgument) as refused:
        checked(budget)
    assert refused.value.field == field


def test_what_is_output_only_is_not_taken_from_callers() -> None:
    budget = checked(Budget(name="b", unit="tokens", amount=1, spent=9, used_before=9, paused_methods=[DO]))
    assert (budget.spent, budget.used_before, list(budget.paused_methods)) == (0, 0, [])


def test_periods_begin_and_end_at_midnight_utc() -> None:
    day, month = Budget(period=BUDGET_PERIOD_DAY), Budget(period=BUDGET_PERIOD_MONTH)
    midnight = datetime(2026, 2, 28, tzinfo=UTC).timestamp()
    march = datetime(2026, 3, 1, tzinfo=UTC).timestamp()
    assert (begins_at(day, NOON), renews_at(day, NOON)) == (midnight, march)
    assert begins_at(month, NOON) == datetime(2026, 2, 1, tzinfo=UTC).timestamp()
    assert renews_at(month, NOON) == march
    assert renews_at(Budget(), NOON) is None


@given(st.floats(0, 4e9))
def test_names_of_times_sort_and_are_read_back(at: float) -> None:
    for name_of, step in ((usage_times.hour_name, 3600.0), (usage_times.day_name, 86400.0)):
        begin = usage_times.time_of(name_of(at))
        assert begin <= at < begin + step + 1e-3
        assert name_of(at) < name_of(at + step)


def test_a_spent_budget_refuses_what_it_is_about() -> None:
    book, table = BudgetBook(), UsageTable()
    entry_of(table.methods, DO).add(1.0, 1.0, 0, 0)
    entry_of(table.roots, "r").add(1.0, 1.0, 0, 0)
    book.replace([checked(Budget(name="m", unit="attempts", amount=3, method=DO))], {"m": 1.0})
    assert book.settle([table], NOON) == []
    assert not book.refusing
    book.settle([table, table], NOON)
    refused = book.refusal(DO, "")
    assert refused is not None
    info = error_info(refused.status())
    assert info is not None
    assert (info.reason, info.metadata["budget"]) == ("BUDGET_SPENT", "m")
    assert book.refusal(OTHER, "") is None
    book.replace([checked(Budget(name="r", unit="attempts", amount=1, root_task_id="r"))], {})
    book.settle([table], NOON)
    assert book.refusal(DO, "r") is not None
    assert book.refusal(DO, "") is book.refusal(DO, "s") is None
    assert set(book.roots) == {"r"}
    book.replace([checked(Budget(name="all", unit="slot_s", amount=1, period=BUDGET_PERIOD_DAY))], {})
    book.settle([table], NOON)
    refused = book.refusal(OTHER, "")
    assert refused is not None
    assert "2026-03-01" in refused.message


def test_what_was_used_before_does_not_count() -> None:
    book = BudgetBook()
    budget = checked(Budget(name="b", unit="attempts", amount=5))
    budget.used_before = 100.0
    book.replace([budget], {"b": 104.0})
    assert book.settle([], NOON) == []
    assert budget.spent == 4.0
