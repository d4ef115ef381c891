"""The demo's output while it runs: messages with the time and, on a terminal, a progress bar."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from weft.rpc.visible import visible


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
        self.console.print(
            f"{time.monotonic() - self._began:5.1f} s  {visible(text)}", markup=False, soft_wrap=True
        )

    def start_bar(self, what: str, total: int) -> None:
        """Start a new bar in place of the previous one."""
        if self._shown is not None:
            self._bar.remove_task(self._shown)
        self._shown = self._bar.add_task(what, total=total)

    def move_bar(self, done: int) -> None:
        """Move the bar to this count."""
        if self._shown is not None:
            self._bar.update(self._shown, completed=done)
