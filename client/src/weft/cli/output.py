"""Printing: JSON for programs, plain lines and rich tables for people. Results go to stdout, remarks to stderr."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.table import Table


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


def table(*columns: str | tuple[str, str]) -> Table:
    """An empty table; a column is its heading, or (heading, "right")."""
    from rich import box
    from rich.table import Table

    made = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold")
    for column in columns:
        heading, justify = (column, "left") if isinstance(column, str) else column
        made.add_column(
            heading, justify="right" if justify == "right" else "left", overflow="fold", no_wrap=False
        )
    return made


def print_table(made: Table) -> None:
    from rich.console import Console

    Console(highlight=False).print(made)


def print_rows(columns: Sequence[str | tuple[str, str]], rows: Sequence[Sequence[str]], empty: str) -> None:
    """A table of rows, or the sentence that says there are none."""
    if not rows:
        line(empty)
        return
    made = table(*columns)
    for row in rows:
        made.add_row(*row)
    print_table(made)


def print_pairs(pairs: Sequence[tuple[str, str]]) -> None:
    """Names and values below each other."""
    from rich.console import Console
    from rich.table import Table

    made = Table.grid(padding=(0, 2))
    made.add_column(style="bold", no_wrap=True)
    made.add_column(overflow="fold")
    for name, value in pairs:
        made.add_row(name, value)
    Console(highlight=False).print(made)
