"""The cgroup of this process, of version 1 or 2: its limits, and what holds it back. From any thread.

    /proc/self/cgroup        0::/kubepods/pod3f/9c…           version 2: one folder for all controllers
                             4:memory:/docker/9c…             version 1: a folder for each controller
    /sys/fs/cgroup/…         the files of the folder; in a container its own folder may be mounted as the root

A limit of a folder above holds too: the least one counts. Files that are missing, unreadable or have other contents set no limit.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

Number = TypeVar("Number", int, float)

_MOUNT = Path("/sys/fs/cgroup")
_OWN = Path("/proc/self/cgroup")
# Version 1 says "none" by the largest number of pages.
_NO_LIMIT = 1 << 60
_MOST_BYTES = 64 * 1024
# Folders above each other that are looked at.
_MOST_LEVELS = 32


class OwnCgroup:
    """Reads the files anew each time.

    Args:
        mount: where the cgroups are mounted.
        own: the file that names those of this process.
    """

    def __init__(self, mount: Path = _MOUNT, own: Path = _OWN) -> None:
        self._mount = mount
        self._own = own

    def cpu_limit(self) -> float | None:
        """Cores that the process may use; None: there is no limit."""
        return _least(self._found("cpu", ("cpu.max",), _cores), self._cores_v1())

    def memory_limit(self) -> int | None:
        """Bytes that the process may use; None: there is no limit."""
        return _least(self._found("memory", ("memory.max", "memory.limit_in_bytes"), _bytes))

    def throttled_s(self) -> float | None:
        """How long the process was kept from running because it had used its cores; None: it is not known."""
        for folder in self._folders("cpu"):
            figures = _figures(folder / "cpu.stat")
            for name, unit in (("throttled_usec", 1e6), ("throttled_time", 1e9)):
                if name in figures:
                    return figures[name] / unit
        return None

    def used_memory(self) -> int | None:
        """Bytes that the cgroup uses, without those of files that can be dropped; None: it is not known."""
        for folder in self._folders("memory"):
            used = _text(folder / "memory.current") or _text(folder / "memory.usage_in_bytes")
            if used is not None and used.isdecimal():
                figures = _figures(folder / "memory.stat")
                dropped = figures.get("inactive_file", figures.get("total_inactive_file", 0))
                return max(0, int(used) - dropped)
        return None

    def memory_kills(self) -> int | None:
        """How often the kernel has killed something in the cgroup for want of memory; None: it is not known."""
        for folder in self._folders("memory"):
            for name in ("memory.events", "memory.oom_control"):
                if (found := _figures(folder / name).get("oom_kill")) is not None:
                    return found
        return None

    def _cores_v1(self) -> Iterator[float]:
        for folder in self._folders("cpu"):
            quota, period = (_text(folder / f"cpu.cfs_{name}_us") or "" for name in ("quota", "period"))
            if quota.isdecimal() and period.isdecimal() and int(quota) and int(period):
                yield int(quota) / int(period)

    def _found(
        self, controller: str, names: tuple[str, ...], read: Callable[[str], Number | None]
    ) -> Iterator[Number]:
        for folder in self._folders(controller):
            for name in names:
                text = _text(folder / name)
                value = None if text is None else read(text)
                if value is not None:
                    yield value

    def _folders(self, controller: str) -> Iterator[Path]:
        """The process' folder of a controller, and those above it."""
        seen = set()
        for mount, path in self._places(controller):
            folder = mount
            if ".." not in Path(path).parts and (mount / path).is_dir():
                folder = mount / path
            for _ in range(_MOST_LEVELS):
                if folder not in seen:
                    seen.add(folder)
                    yield folder
                if folder == mount:
                    break
                folder = folder.parent

    def _places(self, controller: str) -> Iterator[tuple[Path, str]]:
        paths = {"": "", controller: ""}
        for line in (_text(self._own) or "").splitlines():
            _, _, rest = line.partition(":")
            controllers, _, path = rest.partition(":")
            for each in controllers.split(","):
                if each in paths:
                    paths[each] = path.lstrip("/")
        yield self._mount, paths[""]
        yield self._mount / "unified", paths[""]
        yield self._mount / controller, paths[controller]


def _cores(text: str) -> float | None:
    """The contents of cpu.max, such as "150000 100000"."""
    quota, _, period = text.partition(" ")
    if not quota.isdecimal() or not int(quota) or not (period or "100000").isdecimal():
        return None
    return int(quota) / (int(period or "100000") or 100_000)


def _bytes(text: str) -> int | None:
    return int(text) if text.isdecimal() and len(text) < 24 and int(text) < _NO_LIMIT else None


def _least(*found: Iterator[Number]) -> Number | None:
    return min((each for one in found for each in one), default=None)


def _figures(path: Path) -> dict[str, int]:
    """The contents of a file with a name and a number a line, such as memory.stat."""
    words = (_text(path) or "").split()
    return {
        name: int(value)
        for name, value in zip(words[::2], words[1::2], strict=False)
        if value.isdecimal() and len(value) < 24
    }


def _text(path: Path) -> str | None:
    with contextlib.suppress(OSError), path.open("rb") as file:
        return file.read(_MOST_BYTES).decode("ascii", errors="replace").strip()
    return None
