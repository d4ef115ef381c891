"""Tables on narrow and wide terminals: nothing is broken, nothing is lost without a word, and a row costs little."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weft.cli.commands import queues_command, stats_command
from weft.cli.terminal.output import Styled
from weft.cli.terminal.tables import Column, shortened, table, width_of

COLUMNS = (
    Column("task"),
    Column("method"),
    Column("try", right=True, spare=2),
    Column("took", right=True, spare=3),
    Column("labels", below=True),
    Column("error", below=True, cut=True),
)
ROW = (
    "19859be763206175",
    "ProbeService/Call",
    "1",
    "1.2 s",
    "zone=eu tier=gold",
    "NOT_FOUND: " + "no paper " * 12,
)


@pytest.mark.parametrize("width", range(20, 240, 7))
def test_names_and_headings_stay_whole_at_every_width(width: int):
    lines, left_out = table(COLUMNS, [ROW, ROW], width)
    printed = "\n".join(lines)
    for word in ("19859be763206175", "ProbeService/Call", "zone=eu", "tier=gold", "task", "method"):
        assert word in printed
    for column, cell in zip(COLUMNS, ROW, strict=True):
        assert column.heading in left_out or (column.heading in printed and cell[:7] in printed)


def test_a_wide_terminal_shows_all_in_a_row_each():
    lines, left_out = table(COLUMNS, [ROW], 240)
    assert len([*lines]) == 2
    assert left_out == []


def test_eighty_columns():
    lines, left_out = table(COLUMNS, [ROW], 80)
    shown = [*lines]
    assert left_out == []
    assert all(len(line) <= 80 for line in shown)
    assert shown[-1].startswith("  error: NOT_FOUND: no paper")
    assert shown[-1].endswith("…")


@given(st.text(st.characters(codec="utf-8")), st.integers(-3, 40))
def test_what_is_shortened_fits(text: str, width: int):
    assert width_of(shortened(text, width)) <= max(width, 0)
    assert shortened("漢字" * 9, 9) == "漢字漢字…"


@pytest.mark.parametrize("columns", [queues_command._COLUMNS, stats_command._COLUMNS])
def test_tables_of_methods_fit_a_terminal(columns: Sequence[Column]) -> None:
    name = "ResearchService/SummarizeLongDocumentsOfSeveralKinds"
    row = [name if column.heading == "method" else "123 ms" if column.heading else "" for column in columns]
    for width in (80, 120):
        lines, _ = table(columns, [row], width)
        assert max(width_of(text) for text in lines) <= width


def test_a_row_costs_few_steps():
    """Not time, which depends on the machine: calls of Python functions. A library's table took over a thousand a row."""
    rows = [
        [Styled(cell, "red") if index == 1 else cell for index, cell in enumerate(ROW)] for _ in range(1000)
    ]
    calls = 0

    def count(_frame: object, event: str, _argument: object) -> None:
        nonlocal calls
        calls += event == "call"

    lines, _ = table(COLUMNS, rows, 240)
    sys.setprofile(count)
    try:
        assert sum(1 for _ in lines) == 1001
    finally:
        sys.setprofile(None)
    assert calls < 60 * len(rows)
