"""What a command or an agent has left behind: processes, control groups, mounts."""

from __future__ import annotations

import contextlib
from collections.abc import Collection
from pathlib import Path

import psutil

from tests.support.sandboxed import groups_of, mounts_of_sandboxes


def processes_of(folder: Path) -> list[str]:
    """Command lines of living processes that name the folder, or have it in their environment."""
    return list(processes_that_name(str(folder)).values())


def processes_that_name(*words: str) -> dict[int, str]:
    """Command lines, by number, of living processes with one of these words there or in their environment."""
    found = {}
    for process in psutil.process_iter():
        said: list[str] = []
        with contextlib.suppress(psutil.Error):
            said += process.cmdline()
        # Another user's is not told.
        with contextlib.suppress(psutil.Error):
            said += process.environ().values()
        if any(word in each for word in words for each in said) and lives(process.pid):
            found[process.pid] = " ".join(said)[:300]
    return found


def lives(process_id: int) -> bool:
    """Whether a process has not ended, whether it was waited for or not."""
    try:
        return psutil.Process(process_id).status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def left_of_agents(process_ids: Collection[int], marker: str) -> list[str]:
    """What killed agents have left: they themselves, what has the marker in its command or environment, keepers of their control groups, these
    groups, mounts."""
    groups = [f"weft-sandboxes-{each}-" for each in process_ids]
    found = [f"agent {each} lives" for each in process_ids if lives(each)]
    found += [f"process {pid}: {line}" for pid, line in processes_that_name(marker, *groups).items()]
    found += [f"control group {each}" for pid in process_ids for each in groups_of(pid)]
    return [*found, *(f"mount {each}" for each in mounts_of_sandboxes())]
