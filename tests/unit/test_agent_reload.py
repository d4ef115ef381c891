"""`--reload`: a real child, a real file that changes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from tests.support.processes import environment

PROGRAM = """
import os, pathlib, signal, sys, time
import value
with open("starts", "a") as starts:
    starts.write(f"{os.getpid()} {value.VALUE}\\n")
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
time.sleep(60)
"""
RELOAD = "import sys; from weft.agent.program.reload import run_with_reload; sys.exit(run_with_reload(sys.argv[1:]))"


def until(condition: Callable[[], bool], what: str, timeout_s: float = 20.0) -> None:
    end_at = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end_at, f"not within {timeout_s} s: {what}"
        time.sleep(0.02)


def test_a_change_starts_the_child_again_and_sigterm_ends_both(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(PROGRAM)
    (tmp_path / "value.py").write_text("VALUE = 1\n")
    starts = tmp_path / "starts"

    def lines() -> list[list[str]]:
        return [line.split() for line in starts.read_text().splitlines()] if starts.exists() else []

    parent = subprocess.Popen(
        [sys.executable, "-c", RELOAD, sys.executable, "program.py"], cwd=tmp_path, env=environment()
    )
    try:
        until(lambda: len(lines()) == 1, "the first start")
        changed = 1

        def restarted() -> bool:
            # Written until seen: the watch may not have begun when the first child has.
            nonlocal changed
            changed += 1
            # Of another size each time: Python takes a file of the same second and size for the one that it has compiled.
            (tmp_path / "value.py").write_text(f"VALUE = {changed}{'#' * changed}\n")
            time.sleep(0.3)
            return len(lines()) > 1

        until(restarted, "the second start")
        assert int(lines()[1][1]) > 1
        parent.send_signal(signal.SIGTERM)
        parent.wait(20)
        until(lambda: not _alive(int(lines()[-1][0])), "the child's end")
    finally:
        parent.kill()
        parent.wait(10)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
