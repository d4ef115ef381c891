"""What a command has left behind: processes of its folder."""

from __future__ import annotations

from pathlib import Path

import psutil


def processes_of(folder: Path) -> list[str]:
    """Command lines of living processes that name the folder, or have it in their environment."""
    found = []
    for process in psutil.process_iter():
        try:
            words = [*process.cmdline(), *process.environ().values()]
        except psutil.Error:
            continue
        if process.status() != psutil.STATUS_ZOMBIE and any(str(folder) in word for word in words):
            found.append(" ".join(process.cmdline()))
    return found
