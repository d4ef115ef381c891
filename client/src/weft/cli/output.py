"""Printing: JSON for programs, plain lines and rich tables for people. Results go to stdout, remarks to stderr."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

PIPE_COLUMNS = 200
_GAP = 2
_LEAST_CUT = 12


def show(document: Any, text: str, *, as_json: bool) -> None:
    """Print the document as JSON, or the text."""
    line(json_text(document) if as_json else text)


def json_text(document: Any, *, indent: int | None = None) -> str:
    return json.dumps(document, ensure_ascii=False, indent=indent)


def line(text: str) -> None:
    """One line on stdout, at once: a reader at the other end of a pipe must not wait."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def remark(text: str) -> None:
    """One line on stderr: for people, never part of the result."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


@dataclass(frozen=True, slots=True)
class Column:
    """A table's column. A cell stays on one line and is never cut, unless `fold` or `cut` says otherwise."""

    heading: str
    right: bool = False
    # Goes on in the next line where there is no room.
    fold: bool = False
    # Ends in an ellipsis where there is no room; at most one column of a table.
    cut: bool = False


def print_rows(columns: Sequence[Column], rows: Sequence[Sequence[str]], empty: str) -> None:
    """A table of rows, or the sentence that says there are none."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    if not rows:
        line(empty)
        return
    console = _console()
    widths = [
        max(len(column.heading), *(Text.from_markup(row[index]).cell_len for row in rows))
        for index, column in enumerate(columns)
    ]
    # What the others leave, with the gaps between columns.
    room = console.width - sum(w + _GAP for w, column in zip(widths, columns, strict=True) if not column.cut)
    made = Table(
        box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=(0, 1, 0, 0), header_style="bold"
    )
    for column in columns:
        made.add_column(
            column.heading,
            justify="right" if column.right else "left",
            no_wrap=not column.fold,
            overflow="fold" if column.fold else "ellipsis",
            max_width=max(_LEAST_CUT, room) if column.cut else None,
        )
    for row in rows:
        made.add_row(*row)
    console.print(made)


def print_pairs(pairs: Sequence[tuple[str, str]]) -> None:
    """Names and values below each other."""
    from rich.table import Table

    made = Table.grid(padding=(0, 2))
    made.add_column(style="bold", no_wrap=True)
    made.add_column(overflow="fold")
    for name, value in pairs:
        made.add_row(name, value)
    _console().print(made)


def print_marked(text: str, *, indent: int = 0) -> None:
    """A line with rich's markup, at once; what has no room goes on below, as far from the edge."""
    from rich.padding import Padding

    _console().print(Padding(text, (0, 0, 0, indent), expand=False))


def _console() -> Console:
    """The terminal as it is; wide where there is none, for what reads a pipe cuts lines itself."""
    from rich.console import Console

    return Console(highlight=False, width=None if sys.stdout.isatty() else PIPE_COLUMNS)
