"""The lines of `weft top`. Pure: a state, a picture and a size give lines."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Iterator, Sequence

from weft.cli.terminal.output import Styled, StyledText, plain, styled
from weft.cli.terminal.shares import share_text
from weft.cli.terminal.tables import shortened, table
from weft.cli.top.picture import COLUMNS, TABS, Picture, Row
from weft.cli.top.top_state import TopState, chosen, shown

# Lines around a table: two heads, the headings, and the last line.
FRAME = 4
# Of the values in a row that is shown in full.
DETAIL_INDENT = 14
# Of what a key does, in the help.
KEY_INDENT = 12
# Rows of a tab in a picture that is printed.
PRINTED = 20

_KEYS = (
    "1-5, Tab    choose a table",
    "up, down    choose a row (also j, k, PgUp, PgDn, Home, End)",
    "Enter       show the row in full; Esc goes back",
    "s, S        sort by the next column, by the one before",
    "r           reverse the order",
    "/           filter: type, then Enter; Esc removes it",
    "d           drain an agent, or make it active again",
    "p           pause an agent or a method, or resume it",
    "c           cancel a task",
    "q, Ctrl-C   end",
    "",
    "Rates, failures and times are those of the last minute, at the coordinator that answers.",
    "failed: tasks that failed. errors: attempts that failed, timed out, crashed or were lost.",
)
_HINTS = {
    "methods": "Enter open  p pause",
    "agents": "Enter open  d drain  p pause",
    "queues": "Enter open  p pause",
    "tasks": "Enter open  c cancel",
    "failures": "Enter open",
}


def body_height(height: int) -> int:
    """Rows of a table on a screen with so many lines."""
    return max(1, height - FRAME)


def screen(state: TopState, picture: Picture, width: int, height: int) -> Sequence[str]:
    """`height` lines for standard output, none wider than `width`."""
    body = body_height(height)
    middle: Sequence[str]
    if state.help:
        middle = _help(width)
    elif state.opened:
        middle = _detail(picture, width)[state.scroll :]
    else:
        middle = list(_table(state, shown(state, picture), width, body))
    middle = [*middle[: body + 1], *[""] * (body + 1 - len(middle))]
    lines = [_line(head(picture, width)), _line(_tabs(state, width)), *middle, _line(_last(state, width))]
    return lines[:height]


def _line(words: StyledText) -> str:
    return styled(words, sys.stdout)


def printed(picture: Picture, tab: str) -> tuple[Sequence[Row], str]:
    """The rows of a tab for a picture that is printed, and how many more there are, in words."""
    found = shown(TopState(tab=tab), picture)
    more = f"and {len(found) - PRINTED} more" if len(found) > PRINTED else ""
    return found[:PRINTED], more


def head(picture: Picture, width: int) -> StyledText:
    if picture.problem:
        return Styled(shortened(f"{picture.at.astimezone():%H:%M:%S}  {picture.problem}", width), "red")
    agents = [each for each in picture.agents if each.state.name not in {"LOST", "LEFT"}]
    slots, used = sum(each.slots for each in agents), sum(each.used_slots for each in agents)
    queued = sum(each.queued for each in picture.queues)
    running = sum(each.running for each in picture.queues)
    text = f"{len(agents)} agents  {used}/{slots} slots  {queued} queued  {running} running"
    if picture.stats is not None:
        methods, covered_s = picture.stats.methods, picture.stats.covered_s
        ended = sum(each.ended for each in methods)
        text += f"  {ended / covered_s:.1f}/s"
        failed, succeeded = sum(each.failed for each in methods), sum(each.succeeded for each in methods)
        if failed:
            text += f"  {plain(share_text(failed / (failed + succeeded)))} failed"
    time = f"{picture.at.astimezone():%H:%M:%S}"
    # On a narrow screen without the target, then without the time.
    for shown_text, last in ((f"{picture.target}  {text}", time), (text, time), (text, "")):
        spaces = width - len(shown_text) - len(last)
        if spaces >= 2:
            return Styled(shown_text + " " * spaces + last, "bold")
    return Styled(shortened(text, width), "bold")


def _tabs(state: TopState, width: int) -> StyledText:
    parts: list[str | Styled] = []
    for number, tab in enumerate(TABS, start=1):
        mine = tab == state.tab
        parts.append(Styled(f"[{number}:{tab}]", "bold cyan") if mine else f" {number}:{tab} ")
    column, largest_first = state.sorts[state.tab]
    more = f"  sorted by {COLUMNS[state.tab][column].heading} {'↓' if largest_first else '↑'}"
    if state.filter or state.typing:
        more += f"  /{state.filter}{'▏' if state.typing else ''}"
    taken = len(plain(parts))
    return [*parts, Styled(shortened(more, max(0, width - taken)), "dim")]


def _table(state: TopState, found: Sequence[Row], width: int, body: int) -> Iterator[str]:
    if not found:
        yield "nothing matches the filter" if state.filter else f"no {state.tab}"
        return
    at = chosen(state, found)
    first = at // body * body
    page = found[first : first + body]
    lines, _ = table(COLUMNS[state.tab], [row.cells for row in page], width - 2)
    for place, text in enumerate(lines, start=-1):
        yield ("› " if place + first == at and place >= 0 else "  ") + text


def _help(width: int) -> Sequence[str]:
    lines: list[str] = []
    for text in _KEYS:
        # What a key does is indented, below the key.
        indent = KEY_INDENT if text[:KEY_INDENT].endswith("  ") else 0
        lines += textwrap.wrap(text, width, subsequent_indent=" " * indent) or [""]
    return [shortened(text, width) for text in lines]


def _detail(picture: Picture, width: int) -> Sequence[str]:
    lines: list[str] = []
    for each in picture.detail:
        lines += textwrap.wrap(plain(each), width, subsequent_indent=" " * DETAIL_INDENT) or [""]
    return lines or ["…"]


def _last(state: TopState, width: int) -> StyledText:
    if state.confirm is not None:
        act = state.confirm
        return Styled(shortened(f"{act.name} {act.subject}? y: yes, any other key: no", width), "bold yellow")
    if state.message:
        return Styled(shortened(state.message, width), "yellow")
    if state.opened:
        return Styled(shortened("Esc back  ↑↓ scroll", width), "dim")
    hint = f"{_HINTS[state.tab]}  s sort  r reverse  / filter  ? help  q end"
    return Styled(shortened(hint, width), "dim")
