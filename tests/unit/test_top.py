"""`weft top` without a terminal: keys, what they do, and lines that fit; the model is pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from weft.cli.terminal.tables import width_of
from weft.cli.top.keys import KeyDecoder
from weft.cli.top.picture import COLUMNS, TABS, Picture, rows
from weft.cli.top.top_state import Act, TopState, chosen, press, shown
from weft.cli.top.top_view import body_height, screen
from weft.client import AgentInfo, CoordinatorStats, Queue, Task
from weft.v1 import fleet_pb2, stats_pb2, task_pb2

NOW = datetime(2026, 1, 1, tzinfo=UTC)
METHODS = [f"acme.v1.Service{number}/Method" for number in range(30)]


def picture(agents: int = 5) -> Picture:
    stats = stats_pb2.GetStatsResponse(coordinator_id="c1")
    stats.covered.seconds = 60
    for number, name in enumerate(METHODS):
        of = stats.methods.add(method=name, submitted=number, succeeded=number * 60, failed=number % 3)
        of.run.count = 1
        of.run.p99.seconds = number
    tasks = [
        Task(
            task_pb2.Task(
                id=f"{number:016x}",
                method=METHODS[number],
                state=task_pb2.TASK_STATE_RUNNING,
                agent_id="a" * 40,
            )
        )
        for number in range(30)
    ]
    failed = task_pb2.Task(id="f" * 16, method=METHODS[0], state=task_pb2.TASK_STATE_FAILED)
    failed.outcome.status.code, failed.outcome.status.message = 5, "\x1b[2Jno such\norder " * 20
    return Picture(
        NOW,
        "127.0.0.1:7700",
        agents=[
            AgentInfo.of(
                fleet_pb2.Agent(id=f"agent-{number:04}", state=fleet_pb2.AGENT_STATE_ACTIVE, slots=number % 7)
            )
            for number in range(agents)
        ],
        queues=[
            Queue.of(fleet_pb2.Queue(method=name, queued=number, paused=number == 3))
            for number, name in enumerate(METHODS)
        ],
        stats=CoordinatorStats.of(stats),
        tasks=tasks,
        failures=[Task(failed)],
        detail=[f"line {number} " + "x" * 200 for number in range(50)],
    )


PICTURE = picture()


def pressed(keys: Iterable[str], of: Picture = PICTURE, height: int = 20) -> tuple[TopState, list[Act]]:
    state, acts = TopState(), []
    for key in keys:
        state, asked = press(state, key, of, height)
        acts += [] if asked is None else [asked]
    return state, acts


@pytest.mark.parametrize(
    ("read", "keys"),
    [
        (b"\x1b[A\x1b[Bq", ["up", "down", "q"]),
        (b"\x1b", ["escape"]),
        (b"\x1bq", ["escape", "q"]),
        (b"\x1b[1;5A\x1b[999zx", ["x"]),
        (b"\t\r\x7f\x03\x1a", ["tab", "enter", "backspace", "quit", "suspend"]),
        ("ü→".encode(), ["ü", "→"]),
        (b"\x1b[", []),
    ],
)
def test_keys_are_what_terminals_send(read: bytes, keys: list[str]) -> None:
    assert list(KeyDecoder().keys(read)) == keys


@given(st.binary(max_size=40))
def test_whatever_is_sent_is_keys(read: bytes) -> None:
    assert all(key.isprintable() for key in KeyDecoder().keys(read))


def test_a_split_character_is_one_key() -> None:
    decoder = KeyDecoder()
    assert [key for byte in "é".encode() for key in decoder.keys(bytes([byte]))] == ["é"]


def test_tables_sort_and_reverse() -> None:
    state, _ = pressed(["r"])
    assert [row.key for row in shown(TopState(), PICTURE)][:2] == [METHODS[29], METHODS[28]]
    assert shown(state, PICTURE)[0].key == METHODS[0]
    assert [row.key for row in shown(pressed(["S"])[0], PICTURE)] == sorted(METHODS)
    state, _ = pressed(["s"] * len(COLUMNS["methods"]))
    assert state.sorts["methods"] == TopState().sorts["methods"]


def test_a_filter_is_typed_kept_and_removed() -> None:
    state, _ = pressed(["/", *"Service12q", "backspace", "enter"])
    assert [row.key for row in shown(state, PICTURE)] == [METHODS[12]]
    assert not state.typing
    state, _ = press(state, "escape", PICTURE, 20)
    assert len(shown(state, PICTURE)) == 30


def test_the_cursor_follows_its_row() -> None:
    state, _ = pressed(["2", "down", "down"])
    fewer = replace(PICTURE, agents=PICTURE.agents[2:])
    assert chosen(state, shown(state, PICTURE)) == 2
    assert chosen(state, shown(state, fewer)) == 0
    assert pressed(["2", "end", "page up"], height=2)[0].cursor == "agent-0002"


@pytest.mark.parametrize(
    ("keys", "act"),
    [
        (["2", "d"], Act("drain agent", "agent-0000")),
        (["2", "down", "p"], Act("pause agent", "agent-0001")),
        (["3", "p"], Act("pause method", METHODS[29])),
        (["1", "/", *"Service3/", "enter", "p"], Act("resume method", METHODS[3])),
        (["4", "c"], Act("cancel task", "0" * 16)),
        (["4", "enter", "c"], Act("cancel task", "0" * 16)),
    ],
)
def test_what_changes_the_mesh_is_confirmed(keys: list[str], act: Act) -> None:
    assert pressed([*keys, "y"])[1][-1] == act
    for other in ("n", "enter", "escape", act.name[0]):
        state, acts = pressed([*keys, other])
        assert [each for each in acts if each.name != "open"] == []
        assert (state.confirm, state.message) == (None, "nothing was done")


def test_the_ways_out() -> None:
    assert pressed(["q"])[1] == [Act("quit")]
    assert pressed(["4", "c", "quit"])[1] == [Act("quit")]
    assert pressed(["/", "q"])[1] == []
    assert pressed(["4", "enter", "q"])[1] == [Act("open", "0" * 16)]


_KEYS = st.lists(
    st.sampled_from(
        [*"12345sSr/?jkdpcqyn ", "tab", "back tab", "up", "down", "home", "end", "page up", "page down"]
    )
    | st.sampled_from(["enter", "escape", "backspace", "ü", "redraw"]),
    max_size=30,
)


@settings(max_examples=40)
@given(_KEYS, st.sampled_from([(80, 24), (120, 40), (40, 10), (200, 5), (10, 3)]), st.booleans())
def test_every_screen_fits(keys: list[str], size: tuple[int, int], empty: bool) -> None:
    """Whatever is typed. Columns that cannot be narrowed are cut by the terminal, on screens narrower than 80."""
    of = Picture(NOW, "t") if empty else PICTURE
    width, height = size
    state, _ = pressed(keys, of, body_height(height))
    lines = screen(state, of, width, height)
    assert len(lines) == min(height, body_height(height) + 4)
    assert not any("\n" in text or "\x1b" in text for text in lines)
    if width >= 80:
        assert max(map(width_of, lines)) <= width


def test_a_thousand_agents_are_pages() -> None:
    of = picture(agents=1000)
    state, _ = pressed(["2", "end"], of)
    lines = screen(state, of, 80, 24)
    assert any("› agent-0999" in text for text in lines)
    assert "1000 agents" in lines[0]
    assert [len(list(rows(of, tab))) for tab in TABS] == [30, 1000, 30, 30, 1]


def test_a_problem_stands_above_the_old_picture() -> None:
    lines = screen(TopState(), replace(PICTURE, problem="no coordinator answers"), 80, 24)
    assert "no coordinator answers" in lines[0]
    assert any("Service29/Method" in text for text in lines)
