"""What a sandbox lets its processes use and see."""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Mapping
from pathlib import Path

from weft.agent.errors import HostingError

# The home of the processes, and the one folder that they can write.
WORK = "/work"
# Shared memory of processes by name, beside the disk.
SHARED_MB = 16
# Of bubblewrap itself, in and around it.
OWN_PROCESSES = 3


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Sandbox:
    """What processes in a sandbox may use and see.

        @agent.method("acme.v1.Analyst/Analyze", isolate=Sandbox(memory_mb=512, network=False))

    They see the system's programs, read-only, and what `readable` names; they write in /work and /tmp alone, which are empty at first and gone with the
    sandbox. They see no processes, users, files or variables of the machine.

    Args:
        memory_mb: memory of all its processes together, with what they write. 16 to 1,048,576.
        cpus: cores, such as 0.5. 0.01 to 1024.
        max_processes: processes and threads at a time. 1 to 100,000.
        max_open_files: files that a process has open at a time. 16 to 1,000,000.
        disk_mb: what is written below /work, and as much again below /tmp: both are in memory. 1 to 1,048,576.
        network: reach what the machine reaches. Without it there is a loopback alone.
        readable: folders and files of the machine that it may read, at the same paths: absolute paths. Root's sandboxes have a user of their own,
            who reads what all users may read; the folders around these need not be open.
        variables: its environment.

    Raises:
        HostingError: a value is out of its range.
    """

    memory_mb: int = 512
    cpus: float = 1.0
    max_processes: int = 128
    max_open_files: int = 1024
    disk_mb: int = 256
    network: bool = False
    readable: tuple[str, ...] = ()
    variables: Mapping[str, str] = dataclasses.field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        for name, least, most in _RANGES:
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise HostingError(f"Sandbox({name}={value!r}): it is a number")
            if not (math.isfinite(value) and least <= value <= most):
                raise HostingError(f"Sandbox({name}={value!r}): it is {least} to {most}")
        for path in self.readable:
            if not Path(path).is_absolute() or "\0" in path:
                raise HostingError(f"Sandbox(readable={path!r}): it is an absolute path")
            if os.path.normpath(path).split("/")[1] in _NEVER:
                raise HostingError(
                    f"Sandbox(readable={path!r}): name the folders that it may read; none of /proc, /dev and /sys"
                )
        for name, value in self.variables.items():
            if not name or "=" in name or "\0" in name + value:
                raise HostingError(f"Sandbox(variables): {name!r} cannot be a variable")


# The first part of paths that tell of the machine, or change it; "": all of it.
_NEVER = frozenset({"", "proc", "dev", "sys"})
_RANGES = (
    ("memory_mb", 16, 1_048_576),
    ("cpus", 0.01, 1024),
    ("max_processes", 1, 100_000),
    ("max_open_files", 16, 1_000_000),
    ("disk_mb", 1, 1_048_576),
)
