"""The progress of a command: a bar in the last line of a terminal, else a plain line from time to time. On stderr.

Not rich's: results may be printed meanwhile, thousands a second, on another stream.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from weft.cli.terminal import output
from weft.rpc.visible import one_line

REDRAW_S = 0.2
PLAIN_S = 10.0
_MOST_BAR, _LEAST_BAR = 40, 8
# Sooner, the rate is chance.
_LEFT_AFTER_S = 2.0


@dataclass(frozen=True, slots=True)
class ProgressState:
    """How far something is.

    Args:
        total: None: not known.
        words: what else to say, such as "3 failed"; the most important first.
        estimated: the total is an estimate.
    """

    done: int
    total: int | None
    words: tuple[str, ...] = ()
    estimated: bool = False


@asynccontextmanager
async def progress_line(look: Callable[[], ProgressState]) -> AsyncIterator[None]:
    """Show what `look` gives while the body runs: at 5 times a second on a terminal, else every 10 s."""
    shown = _Shown(look)
    output.last_lines.append(shown)
    drawing = asyncio.create_task(shown.draw_on())
    try:
        yield
    finally:
        drawing.cancel()
        await asyncio.gather(drawing, return_exceptions=True)
        output.last_lines.remove(shown)
        shown.hide()


class _Shown:
    def __init__(self, look: Callable[[], ProgressState]) -> None:
        self._look = look
        self._began_s = time.monotonic()
        self._live = sys.stderr.isatty() and os.environ.get("TERM") != "dumb"
        # What stands in the last line; empty: nothing.
        self._drawn = self._text = ""

    async def draw_on(self) -> None:
        while True:
            await asyncio.sleep(REDRAW_S if self._live else PLAIN_S)
            took_s = time.monotonic() - self._began_s
            if self._live:
                width = shutil.get_terminal_size().columns - 1
                self.hide()
                self._text = bar_text(self._look(), took_s, width, ascii_only=not _has_signs())
                self.show_again()
            else:
                output.remark(plain_text(self._look(), took_s))

    def hide(self) -> None:
        if self._drawn:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()
            self._drawn = ""

    def show_again(self) -> None:
        sys.stderr.write(self._text)
        sys.stderr.flush()
        self._drawn = self._text


def _has_signs() -> bool:
    return (sys.stderr.encoding or "").lower().replace("-", "") == "utf8"


def plain_text(progress: ProgressState, took_s: float) -> str:
    """One line without a bar."""
    return ", ".join([_counts(progress), *progress.words, f"{took_s:.0f} s"])


def bar_text(progress: ProgressState, took_s: float, width: int, *, ascii_only: bool = False) -> str:
    """One line of at most `width` columns. What does not fit is left out, the last words first."""
    parts = [_counts(progress), *progress.words, *_pace(progress, took_s)]
    while len(parts) > 1 and len("  ".join(parts)) + 2 + _LEAST_BAR > width:
        parts.pop()
    text = one_line("  ".join(parts))
    room = width - len(text) - 2
    if not progress.total or room < _LEAST_BAR:
        return text[:width]
    columns = min(_MOST_BAR, room)
    full = int(columns * min(1.0, progress.done / progress.total))
    on, off = ("#", "-") if ascii_only else ("━", "╌")
    return f"{on * full}{off * (columns - full)}  {text}"


def _counts(progress: ProgressState) -> str:
    if progress.total is None:
        return f"{progress.done}"
    return f"{progress.done}/{'~' if progress.estimated else ''}{progress.total}"


def _pace(progress: ProgressState, took_s: float) -> list[str]:
    """How long it takes, and how long it may take yet."""
    parts = [_clock(took_s)]
    if progress.done and took_s >= _LEFT_AFTER_S:
        rate = progress.done / took_s
        if progress.total is not None and progress.total > progress.done:
            parts.append(f"{_clock((progress.total - progress.done) / rate)} left")
        parts.append(f"{rate:.0f}/s" if rate >= 10 else f"{rate:.1f}/s")
    return parts


def _clock(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
