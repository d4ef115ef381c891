"""The terminal of `weft top`: its own screen, keys one by one, and everything as before on every way out."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sys
import termios
import tty
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from weft.cli.terminal.streams import Unwritable

# The other screen, no cursor, long lines are cut; and back.
_ENTER = "\x1b[?1049h\x1b[?25l\x1b[?7l"
_LEAVE = "\x1b[0m\x1b[?7h\x1b[?25h\x1b[?1049l"
_READ_BYTES = 1024


class Screen:
    """A context: inside, the terminal is ours."""

    def __init__(self) -> None:
        self._input = sys.stdin.fileno()
        self._before = termios.tcgetattr(self._input)

    def __enter__(self) -> Self:
        self._take()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._give_back()

    @property
    def input(self) -> int:
        """The descriptor that keys come from."""
        return self._input

    def read(self) -> bytes:
        """What was typed. Empty: the terminal is gone."""
        try:
            return os.read(self._input, _READ_BYTES)
        except OSError:
            return b""

    @staticmethod
    def size() -> tuple[int, int]:
        """Columns and lines."""
        return shutil.get_terminal_size()

    @staticmethod
    def draw(lines: Sequence[str]) -> None:
        """Show these lines in place of the ones before, without a flicker: each is overwritten, and its rest cleared."""
        sys.stdout.write("\x1b[H" + "\x1b[K\r\n".join(lines) + "\x1b[K\x1b[J")
        sys.stdout.flush()

    def suspend(self) -> None:
        """Stop, as Ctrl-Z asks; go on with the shell's `fg`."""
        self._give_back()
        os.kill(os.getpid(), signal.SIGTSTP)
        self._take()

    def _take(self) -> None:
        tty.setcbreak(self._input)
        # Ctrl-C and Ctrl-Z are keys: each way out gives the terminal back.
        mode = termios.tcgetattr(self._input)
        mode[3] &= ~termios.ISIG
        termios.tcsetattr(self._input, termios.TCSADRAIN, mode)
        sys.stdout.write(_ENTER)
        sys.stdout.flush()

    def _give_back(self) -> None:
        try:
            sys.stdout.write(_LEAVE)
            sys.stdout.flush()
        except Unwritable:
            # The terminal is gone.
            pass
        finally:
            with contextlib.suppress(termios.error):
                termios.tcsetattr(self._input, termios.TCSANOW, self._before)
