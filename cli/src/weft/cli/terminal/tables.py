"""Tables that fit the terminal. Names are not broken; a column without room goes below its row or is left out.

A cell is plain text or styled text, without markup. Rows are laid out while they are printed, with few steps a row: a list may
have tens of thousands of rows.
"""

from __future__ import annotations

import shutil
import sys
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from weft.cli.terminal.output import Styled, StyledText, line, plain, remark, styled

PIPE_COLUMNS = 200
_GAP = 2
# The least width of a column that is cut; narrower, it goes below its row.
_LEAST_CUT = 24
# Of lines below a row.
_INDENT = 2
_ELLIPSIS = "…"


@dataclass(frozen=True, slots=True)
class Column:
    """A table's column.

    Args:
        right: align to the right.
        below: may go below its row.
        cut: may be cut to one line that ends in an ellipsis.
        spare: may be left out, the highest number first; 0: never.
    """

    heading: str
    right: bool = False
    below: bool = False
    cut: bool = False
    spare: int = 0


def print_rows(columns: Sequence[Column], rows: Sequence[Sequence[StyledText]], empty: str) -> None:
    """Print a table; without rows, print the sentence `empty`."""
    if not rows:
        line(empty)
        return
    lines, left_out = table(columns, rows, room())
    write = sys.stdout.write
    for text in lines:
        write(text + "\n")
    sys.stdout.flush()
    if left_out:
        remark(f"no room for {', '.join(left_out)}: use a wider terminal, or --json")


@dataclass(frozen=True, slots=True)
class Verbatim:
    """A value whose lines are not wrapped: users copy JSON from the terminal."""

    text: str


def print_pairs(pairs: Sequence[tuple[str, StyledText | Verbatim]]) -> None:
    """Print names and values, one pair below the other. A value may have several lines."""
    width = max((width_of(name) for name, _ in pairs), default=0)
    beside = room() - width - _GAP
    for name, value in pairs:
        first, *further = _value_lines(value, beside)
        head = name + " " * (width - width_of(name) + _GAP)
        line((Styled(head, "bold"), *([first] if isinstance(first, str | Styled) else first)))
        for text in further:
            line((" " * len(head), text) if isinstance(text, str | Styled) else (" " * len(head), *text))


def print_indented(words: StyledText, indent: int, more: str = "") -> None:
    """Print a line, and below it `more`, indented and wrapped to the terminal."""
    line(words)
    for text in textwrap.wrap(plain(more), max(_LEAST_CUT, room() - indent)):
        line(" " * indent + text)


def room() -> int:
    """The width of the terminal; a large one if stdout is a pipe."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else PIPE_COLUMNS


def width_of(text: str) -> int:
    """The columns of a text: wide characters take two."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len

    return cell_len(text)


def table(
    columns: Sequence[Column], rows: Sequence[Sequence[StyledText]], width: int
) -> tuple[Iterator[str], Sequence[str]]:
    """The lines of a table, and the headings of columns that are left out."""
    texts = [[plain(cell) for cell in row] for row in rows]
    widths = [
        max(width_of(plain(column.heading)), *(width_of(row[index]) for row in texts))
        for index, column in enumerate(columns)
    ]
    used = [any(row[index] for row in texts) for index in range(len(columns))]
    beside, below, left_out = _placed(columns, widths, used, width)
    return _Layout(columns, widths, beside, below, width).lines(rows, texts), left_out


def _placed(
    columns: Sequence[Column], widths: list[int], used: Sequence[bool], width: int
) -> tuple[list[int], list[int], list[str]]:
    """Indexes of columns side by side and of columns below, and headings of columns left out. Narrows columns that may be cut."""
    # An empty column that may go below or be left out is not shown.
    beside = [
        index for index, column in enumerate(columns) if used[index] or not (column.below or column.spare)
    ]

    def excess() -> int:
        return sum(widths[index] + _GAP for index in beside) - _GAP - width

    for index in [index for index in beside if columns[index].cut]:
        if 0 < excess() <= widths[index] - _LEAST_CUT:
            widths[index] -= excess()
    below: list[int] = []
    for index in sorted((i for i in beside if columns[i].below), key=lambda i: -widths[i]):
        if excess() > 0:
            beside.remove(index)
            below.append(index)
    left_out: list[str] = []
    for index in sorted((i for i in beside if columns[i].spare), key=lambda i: -columns[i].spare):
        if excess() > 0:
            beside.remove(index)
            left_out.append(columns[index].heading)
    # None of them was wide enough alone.
    for index in [index for index in beside if columns[index].cut]:
        widths[index] -= max(0, min(excess(), widths[index] - _LEAST_CUT))
    return beside, sorted(below), left_out


class _Layout:
    """The positions of the columns."""

    def __init__(
        self,
        columns: Sequence[Column],
        widths: Sequence[int],
        beside: Sequence[int],
        below: Sequence[int],
        width: int,
    ) -> None:
        self._columns = columns
        self._widths = widths
        self._beside = beside
        self._below = below
        self._width = width

    def lines(self, rows: Sequence[Sequence[StyledText]], texts: Sequence[Sequence[str]]) -> Iterator[str]:
        headings = [plain(column.heading) for column in self._columns]
        yield self._line([Styled(heading, "bold") for heading in headings], headings)
        for row, text in zip(rows, texts, strict=True):
            yield self._line(row, text)
            for index in self._below:
                if text[index]:
                    yield from self._lines_below(self._columns[index], text[index])

    def _line(self, row: Sequence[StyledText], texts: Sequence[str]) -> str:
        cells: list[str] = []
        for index in self._beside:
            text, width = texts[index], self._widths[index]
            spaces = " " * (width - width_of(text))
            if width_of(text) > width:
                shown, spaces = shortened(text, width), ""
            else:
                shown = text if isinstance(row[index], str) else styled(row[index], sys.stdout)
            cells.append(spaces + shown if self._columns[index].right else shown + spaces)
        return (" " * _GAP).join(cells).rstrip()

    def _lines_below(self, column: Column, text: str) -> Iterator[str]:
        text = f"{plain(column.heading)}: {text}"
        if column.cut:
            yield " " * _INDENT + shortened(text, self._width - _INDENT)
            return
        for piece in _wrapped(text, self._width - _INDENT):
            yield " " * _INDENT + piece


def shortened(text: str, width: int) -> str:
    """A text cut to a width, with an ellipsis if it was longer."""
    if width_of(text) <= width:
        return text
    if width < 1:
        return ""
    kept = text[: width - 1]
    while width_of(kept) > width - 1:
        kept = kept[:-1]
    return kept.rstrip() + _ELLIPSIS


def _value_lines(value: StyledText | Verbatim, width: int) -> list[StyledText]:
    if isinstance(value, Verbatim):
        return [*value.text.split("\n")]
    if not isinstance(value, str):
        return [value]
    return [piece for text in value.split("\n") for piece in _wrapped(text, width)] or [""]


def _wrapped(text: str, width: int) -> list[str]:
    """Lines broken at spaces only. A longer word stays whole, so that users can copy it: the terminal wraps it."""
    if width_of(text) <= width:
        return [text]
    return textwrap.wrap(
        text,
        max(width, _LEAST_CUT),
        break_long_words=False,
        break_on_hyphens=False,
        drop_whitespace=True,
        subsequent_indent=" " * (len(text) - len(text.lstrip())),
    ) or [""]
