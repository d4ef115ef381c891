"""The demo's output while it runs: messages with the time and, on a terminal, a progress bar."""

from __future__ import annotations

import textwrap
import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from weft.rpc.visible import visible

# Columns of the time before a message.
_INDENT = 9
_LEAST_WIDTH = 24


class DemoDisplay:
    """Prints messages and a progress bar: on stderr if stdout is for JSON."""

    def __init__(self, *, quiet_stdout: bool) -> None:
        self.console = Console(stderr=quiet_stdout, highlight=False)
        self._bar = Progress(
            TextColumn("{task.description:<9}"),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=self.console,
            transient=True,
            disable=not self.console.is_terminal,
        )
        self._shown: TaskID | None = None
        self._began = time.monotonic()

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def say(self, text: str) -> None:
        """Print a message with the time, on a terminal wrapped at spaces."""
        lines = [visible(text)]
        if self.console.is_terminal:
            lines = textwrap.wrap(
                lines[0],
                max(_LEAST_WIDTH, self.console.width - _INDENT),
                break_long_words=False,
                break_on_hyphens=False,
            )
        head = f"{time.monotonic() - self._began:5.1f} s".ljust(_INDENT)
        self.console.print(head + f"\n{' ' * _INDENT}".join(lines), markup=False, soft_wrap=True)

    def start_bar(self, what: str, total: int) -> None:
        """Start a new bar in place of the previous one."""
        if self._shown is not None:
            self._bar.remove_task(self._shown)
        self._shown = self._bar.add_task(what, total=total)

    def move_bar(self, done: int) -> None:
        """Move the bar to this count."""
        if self._shown is not None:
            self._bar.update(self._shown, completed=done)
