"""A control group for a test, of version 2 or 1, with limits: for processes that are to be throttled for real."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

_MOUNT = Path("/sys/fs/cgroup")


class ControlGroup:
    """The folders of the group: one, or one for each controller."""

    def __init__(self, folders: list[Path]) -> None:
        self._folders = folders

    def add(self, process_id: int) -> None:
        """Move a process into it."""
        for folder in self._folders:
            (folder / "cgroup.procs").write_text(str(process_id))


@contextlib.contextmanager
def control_group(cores: float, memory_bytes: int) -> Iterator[ControlGroup]:
    """A group with these limits. Skips the test where none can be made."""
    name = f"weft-test-{os.getpid()}"
    made: list[Path] = []
    try:
        try:
            if (_MOUNT / "cgroup.controllers").exists():
                made.append(_folder(_MOUNT / name))
                (made[0] / "cpu.max").write_text(f"{int(cores * 100_000)} 100000")
                # First of all groups, up to its limit: also on a busy machine it comes to that.
                (made[0] / "cpu.weight").write_text("10000")
                (made[0] / "memory.max").write_text(str(memory_bytes))
            else:
                made.append(_folder(_MOUNT / "cpu" / name))
                (made[0] / "cpu.cfs_quota_us").write_text(str(int(cores * 100_000)))
                (made[0] / "cpu.shares").write_text("100000")
                made.append(_folder(_MOUNT / "memory" / name))
                (made[1] / "memory.limit_in_bytes").write_text(str(memory_bytes))
        except OSError as error:
            pytest.skip(f"no control group can be made here: {error}")
        yield ControlGroup(made)
    finally:
        for folder in made:
            folder.rmdir()


def _folder(path: Path) -> Path:
    path.mkdir()
    return path
