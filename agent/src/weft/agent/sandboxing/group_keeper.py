"""A process that removes the control groups of an agent's sandboxes when the agent has gone, however it went.

It reads a pipe that nobody writes: its end is the agent's end. It runs alone, by a plain interpreter, and imports nothing of weft.
"""

import contextlib
import os
import signal
import sys
import time
from pathlib import Path

_WAIT_S = 5.0


def remove(folder: Path, ends_at_s: float = 0.0) -> bool:
    """End the processes of a group, and remove it. Returns False if it is still there after some seconds."""
    ends_at_s = ends_at_s or time.monotonic() + _WAIT_S
    pause_s = 0.001
    while True:
        try:
            folder.rmdir()
        except FileNotFoundError:
            return True
        except OSError:
            if time.monotonic() > ends_at_s:
                return False
            _end(folder)
            time.sleep(pause_s)
            pause_s = min(0.05, pause_s * 2)
        else:
            return True


def remove_tree(folder: Path, ends_at_s: float = 0.0) -> bool:
    """As `remove`, with the groups in it."""
    with contextlib.suppress(OSError):
        for inner in folder.iterdir():
            if inner.is_dir():
                remove(inner, ends_at_s)
    return remove(folder, ends_at_s)


def _end(folder: Path) -> None:
    with contextlib.suppress(OSError):
        (folder / "cgroup.kill").write_text("1")
        return
    with contextlib.suppress(OSError):
        for line in (folder / "cgroup.procs").read_text().split():
            # 0: a process that this one cannot see.
            if int(line) > 0:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(int(line), signal.SIGKILL)


def main() -> None:
    """Wait for the agent's end, then remove the groups that the arguments name."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    while os.read(0, 1):
        pass
    for path in sys.argv[1:]:
        remove_tree(Path(path))


if __name__ == "__main__":
    main()
