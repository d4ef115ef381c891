"""The state of `weft top` and what a key does to it. Pure: a state and a key give a state, and maybe an act."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from weft.cli.top.picture import COLUMNS, TABS, Picture, Row, rows

# Of each tab: the column that sorts, and whether the largest comes first.
_SORTS: Mapping[str, tuple[int, bool]] = MappingProxyType(
    {
        "methods": (1, True),
        "agents": (0, False),
        "queues": (2, True),
        "tasks": (5, True),
        "failures": (2, False),
    }
)
_MOVES = {"up": -1, "k": -1, "down": 1, "j": 1}


@dataclass(frozen=True, slots=True)
class Act:
    """What the mesh is asked for.

    Args:
        name: "open", "drain agent", "activate agent", "pause agent", "pause method", "resume method", "cancel task"; of weft top itself
            "quit" and "suspend".
        subject: a method, or an id.
    """

    name: str
    subject: str = ""


@dataclass(frozen=True, slots=True)
class TopState:
    """What is shown.

    Args:
        cursor: the key of the chosen row. Empty, or gone: the first row.
        typing: the filter is being typed.
        confirm: an act that waits for y.
        opened: the row that is shown in full.
        scroll: the first line that is shown of it.
        message: what became of the last act.
    """

    tab: str = "methods"
    sorts: Mapping[str, tuple[int, bool]] = field(default_factory=lambda: _SORTS)
    cursor: str = ""
    filter: str = ""
    typing: bool = False
    confirm: Act | None = None
    opened: str = ""
    scroll: int = 0
    help: bool = False
    message: str = ""


def shown(state: TopState, picture: Picture) -> Sequence[Row]:
    """The rows of the tab that pass the filter, sorted."""
    wanted = state.filter.lower()
    found = [
        row
        for row in rows(picture, state.tab)
        if not wanted or any(wanted in str(value).lower() for value in (row.key, *row.order))
    ]
    column, largest_first = state.sorts[state.tab]
    found.sort(key=lambda row: row.key)
    found.sort(key=lambda row: row.order[column], reverse=largest_first)
    return found


def chosen(state: TopState, found: Sequence[Row]) -> int:
    """The index of the chosen row."""
    return next((at for at, row in enumerate(found) if row.key == state.cursor), 0)


def press(state: TopState, key: str, picture: Picture, height: int) -> tuple[TopState, Act | None]:
    """What a key does.

    Args:
        height: rows that the screen shows at a time.
    """
    if key in {"quit", "suspend"}:
        return state, Act(key)
    state = replace(state, message="")
    if state.confirm is not None:
        done = replace(state, confirm=None)
        return (
            (done, state.confirm) if key in {"y", "Y"} else (replace(done, message="nothing was done"), None)
        )
    if state.typing:
        return _type(state, key), None
    if state.help:
        return replace(state, help=False), None
    if state.opened:
        return _read(state, key, len(picture.detail), height)
    return _choose(state, key, picture, height)


def _type(state: TopState, key: str) -> TopState:
    if key == "enter":
        return replace(state, typing=False)
    if key == "escape":
        return replace(state, typing=False, filter="")
    if key == "backspace":
        return replace(state, filter=state.filter[:-1])
    return replace(state, filter=state.filter + key) if len(key) == 1 else state


def _read(state: TopState, key: str, lines: int, height: int) -> tuple[TopState, Act | None]:
    """Keys while a row is shown in full."""
    if key in {"escape", "enter", "q", "backspace"}:
        return replace(state, opened="", scroll=0), None
    if state.tab in {"tasks", "failures"} and key == "c":
        return replace(state, confirm=Act("cancel task", state.opened)), None
    return replace(state, scroll=_moved(state.scroll, key, lines, height)), None


def _moved(at: int, key: str, count: int, height: int) -> int:
    """A place in a list after a key."""
    if key == "home":
        return 0
    if key == "end":
        return max(0, count - 1)
    pages = {"page up": -height, "page down": height, " ": height}
    return max(0, min(count - 1, at + (_MOVES | pages).get(key, 0)))


def _choose(state: TopState, key: str, picture: Picture, height: int) -> tuple[TopState, Act | None]:
    """Keys on a table."""
    at = TABS.index(state.tab)
    if key in {"tab", "back tab"}:
        return _on_tab(state, TABS[(at + (1 if key == "tab" else -1)) % len(TABS)]), None
    if key.isdecimal() and 1 <= int(key) <= len(TABS):
        return _on_tab(state, TABS[int(key) - 1]), None
    match key:
        case "q":
            return state, Act("quit")
        case "?" | "h":
            return replace(state, help=True), None
        case "/":
            return replace(state, typing=True), None
        case "escape":
            return replace(state, filter=""), None
        case "s" | "S" | "r":
            return _sorted(state, key), None
    found = shown(state, picture)
    if not found:
        return state, None
    place = chosen(state, found)
    row = found[place]
    if key == "enter":
        return replace(state, cursor=row.key, opened=row.key, scroll=0), Act("open", row.key)
    act = _act(state.tab, key, row, picture)
    if act is not None:
        return replace(state, cursor=row.key, confirm=act), None
    return replace(state, cursor=found[_moved(place, key, len(found), height)].key), None


def _on_tab(state: TopState, tab: str) -> TopState:
    return replace(state, tab=tab, cursor="", filter="")


def _sorted(state: TopState, key: str) -> TopState:
    column, largest_first = state.sorts[state.tab]
    if key == "r":
        largest_first = not largest_first
    else:
        column = (column + (1 if key == "s" else -1)) % len(COLUMNS[state.tab])
        largest_first = COLUMNS[state.tab][column].right
    return replace(state, sorts=MappingProxyType({**state.sorts, state.tab: (column, largest_first)}))


def _act(tab: str, key: str, row: Row, picture: Picture) -> Act | None:
    """What a key asks for a row; None: nothing."""
    match tab, key:
        case "agents", "d" | "p":
            agent = next(each for each in picture.agents if each.id == row.key)
            if agent.desired_state.name != "ACTIVE":
                return Act("activate agent", agent.id)
            return Act("drain agent" if key == "d" else "pause agent", agent.id)
        case (("methods" | "queues"), "p"):
            method = row.key.partition(" ")[0]
            paused = any(queue.paused for queue in picture.queues if queue.method == method)
            return Act("resume method" if paused else "pause method", method)
        case "tasks", "c":
            return Act("cancel task", row.key)
    return None
