"""Tables for people, which fit the terminal: no name is broken, and what has no room goes below its row or is left out.

A cell is plain text or has styles; nothing in it is markup. Rows are laid out as they are printed, with few steps a row:
a list may have tens of thousands.
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
# A column that may be cut is worth showing beside the others from here.
_LEAST_CUT = 24
# What stands below a row, and the second line of a value.
_INDENT = 2
_ELLIPSIS = "…"


@dataclass(frozen=True, slots=True)
class Column:
    """A table's column.

    Args:
        right: numbers stand on the right.
        below: it may stand below its row.
        cut: it may end in an ellipsis, and then has one line.
        spare: it may be left out, the highest number first; 0: it may not.
    """

    heading: str
    right: bool = False
    below: bool = False
    cut: bool = False
    spare: int = 0


def print_rows(columns: Sequence[Column], rows: Sequence[Sequence[StyledText]], empty: str) -> None:
    """A table of rows, or the sentence that says there are none."""
    if not rows:
        line(empty)
        return
    lines, left_out = table(columns, rows, room())
    write = sys.stdout.write
    for text in lines:
        write(text + "\n")
    sys.stdout.flush()
    if left_out:
        remark(f"no room for {', '.join(left_out)}: a wider terminal shows more, --json all")


@dataclass(frozen=True, slots=True)
class Verbatim:
    """A value whose lines stay as they are: JSON is copied from the terminal."""

    text: str


def print_pairs(pairs: Sequence[tuple[str, StyledText | Verbatim]]) -> None:
    """Names and values below each other. A value may have several lines."""
    width = max((width_of(name) for name, _ in pairs), default=0)
    beside = room() - width - _GAP
    for name, value in pairs:
        first, *further = _value_lines(value, beside)
        head = name + " " * (width - width_of(name) + _GAP)
        line((Styled(head, "bold"), *([first] if isinstance(first, str | Styled) else first)))
        for text in further:
            line((" " * len(head), text) if isinstance(text, str | Styled) else (" " * len(head), *text))


def print_indented(words: StyledText, indent: int, more: str = "") -> None:
    """A line, and below it `more`, as far from the edge as said and within the terminal."""
    line(words)
    for text in textwrap.wrap(plain(more), max(_LEAST_CUT, room() - indent)):
        line(" " * indent + text)


def room() -> int:
    """Columns of the terminal; many where there is none, for what reads a pipe cuts lines itself."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else PIPE_COLUMNS


def width_of(text: str) -> int:
    """Columns that a text takes: wide characters take two."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len

    return cell_len(text)


def table(
    columns: Sequence[Column], rows: Sequence[Sequence[StyledText]], width: int
) -> tuple[Iterator[str], Sequence[str]]:
    """The lines of a table, and the headings of what is left out."""
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
    """Indexes of the columns beside each other and of those below, and headings that are left out. Narrows what may be cut."""
    # An empty column tells nothing, unless it is always there.
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
    return beside, sorted(below), left_out


class _Layout:
    """Where each column stands."""

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
    """The beginning of a text that fits, with an ellipsis where something is missing."""
    if width_of(text) <= width:
        return text
    kept = text[: max(width - 1, 0)]
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
    """Lines broken at spaces alone. A longer word stays whole, so that it can be copied: the terminal wraps it."""
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
