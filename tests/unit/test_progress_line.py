"""The line of progress: its text at every width, and that it stays below what is printed."""

from __future__ import annotations

import asyncio
import io
import sys

import pytest

from weft.cli.steering.drain_wait import LeftCalls
from weft.cli.terminal import output, progress_line
from weft.cli.terminal.progress_line import ProgressState, bar_text, plain_text

HALF = ProgressState(1500, 3000, ("30 failed", "512 wait or run"), estimated=True)


class Terminal(io.StringIO):
    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("width", "text"),
    [
        (120, f"{'━' * 20}{'╌' * 20}  1500/~3000  30 failed  512 wait or run  0:10  0:10 left  150/s"),
        (79, f"{'━' * 7}{'╌' * 8}  1500/~3000  30 failed  512 wait or run  0:10  0:10 left  150/s"),
        (40, f"{'━' * 8}{'╌' * 9}  1500/~3000  30 failed"),
        (8, "1500/~30"),
    ],
)
def test_the_bar_fits(width: int, text: str) -> None:
    assert bar_text(HALF, 10.0, width) == text


def test_no_width_and_no_count_is_too_much() -> None:
    for width in range(1, 200):
        for state in (
            HALF,
            ProgressState(0, None),
            ProgressState(0, 0),
            ProgressState(10**12, 10**9, ("x" * 90,)),
        ):
            for took_s in (0.0, 3.0, 1e6):
                assert len(bar_text(state, took_s, width)) <= width


def test_without_signs_and_without_a_terminal() -> None:
    assert bar_text(ProgressState(1, 2), 1.0, 30, ascii_only=True) == f"{'#' * 9}{'-' * 10}  1/2  0:01"
    assert plain_text(HALF, 12.4) == "1500/~3000, 30 failed, 512 wait or run, 12 s"
    assert bar_text(ProgressState(7, None), 3700.0, 80) == "7  1:01:40  0.0/s"


async def test_what_is_printed_stands_above_it(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Terminal()
    monkeypatch.setattr(progress_line, "REDRAW_S", 0.0)
    monkeypatch.setattr(sys, "stdout", screen)
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setenv("TERM", "xterm")
    async with progress_line.progress_line(lambda: HALF):
        while "1500" not in screen.getvalue():
            await asyncio.sleep(0)
        output.line("a result")
        drawn = screen.getvalue()
    assert "\r\x1b[Ka result\n━" in drawn
    assert screen.getvalue().endswith("\r\x1b[K")
    assert output.last_lines == []


async def test_a_pipe_gets_plain_lines_and_a_file_of_results_nothing_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    out, err = io.StringIO(), io.StringIO()
    monkeypatch.setattr(progress_line, "PLAIN_S", 0.0)
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", err)
    async with progress_line.progress_line(lambda: HALF):
        while not err.getvalue():
            await asyncio.sleep(0)
        output.line("a result")
    assert out.getvalue() == "a result\n"
    assert set(err.getvalue().splitlines()) == {"1500/~3000, 30 failed, 512 wait or run, 0 s"}


def test_a_drain_counts_down() -> None:
    class Agent:
        def __init__(self, agent_id: str, in_flight: int) -> None:
            self.id, self.in_flight, self.used_slots = agent_id, in_flight, 0

    left = LeftCalls()
    assert left.progress() == ProgressState(0, 0, ("0 calls left",))
    left.found([Agent("a", 1), Agent("b", 4)])  # type: ignore[list-item]
    assert left.progress() == ProgressState(0, 5, ("5 calls left", "b 4", "a 1"))
    left.found([Agent("b", 1)])  # type: ignore[list-item]
    assert left.progress() == ProgressState(4, 5, ("1 call left",))
