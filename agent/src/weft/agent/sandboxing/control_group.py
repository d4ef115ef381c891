"""Control groups of sandboxes: limits that hold for all processes of one together. Versions 1 and 2, where this process may write them.

    the agent's own group ─► weft-sandboxes-PID-START, one an agent ─► a number, one a sandbox

A small process of its own removes them when the agent has gone: see group_keeper. What an agent left whose keeper went, too, is removed by the next.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path

from weft.agent.sandboxing import group_keeper
from weft.agent.sandboxing.sandbox import OWN_PROCESSES, Sandbox
from weft.rpc.process import logs

_log = logs.get_logger("weft.agent")

CONTROLLERS = ("memory", "pids", "cpu")
_PREFIX = "weft-sandboxes-"
_OWN_NAME = re.compile(_PREFIX + r"(\d+)-(\d+)")
_PERIOD_US = 100_000
_MEBIBYTE = 1 << 20


class ControlGroup:
    """The groups of one sandbox: one folder (version 2), or one for each controller (version 1).

    Args:
        folders: by controller.
    """

    def __init__(self, folders: Mapping[str, Path], version: int) -> None:
        self.version = version
        self._folders = folders

    @property
    def controllers(self) -> frozenset[str]:
        """What is limited."""
        return frozenset(self._folders)

    def limit(self, sandbox: Sandbox) -> None:
        """Set the limits.

        Raises:
            OSError: the kernel refuses one.
        """
        for file, value in limits_of(sandbox, self.version, self.controllers):
            controller = "cpu" if file.startswith("cpu") else file.partition(".")[0]
            try:
                (self._folders[controller] / file).write_text(value)
            except FileNotFoundError:
                # Kernels without accounting of swap have no such file, and then no limit is needed.
                if "swap" not in file and "memsw" not in file and file != "memory.oom.group":
                    raise

    def add(self, process_id: int) -> None:
        """Put a process, and what it starts from now on, into the group."""
        for folder in set(self._folders.values()):
            (folder / "cgroup.procs").write_text(str(process_id))

    def processes(self) -> list[int]:
        """The processes in it; also those that have ended and were not waited for."""
        folder = next(iter(self._folders.values()))
        with contextlib.suppress(OSError):
            return [int(line) for line in (folder / "cgroup.procs").read_text().split()]
        return []

    def memory_bytes(self) -> int:
        """What its processes use; 0: it is not known."""
        folder = self._folders.get("memory")
        if folder is None:
            return 0
        with contextlib.suppress(OSError, ValueError):
            return int(
                (folder / ("memory.current" if self.version == 2 else "memory.usage_in_bytes")).read_text()
            )
        return 0

    def cpu_s(self) -> float:
        """The time on cores that its processes have used; negative: it is not known."""
        folder = self._folders.get("cpu")
        if folder is not None and self.version == 2:
            with contextlib.suppress(OSError):
                return _field((folder / "cpu.stat").read_text(), "usage_usec") / 1e6
        return -1.0

    def killed_for_memory(self) -> int:
        """How often the kernel has ended processes of it for its memory."""
        folder = self._folders.get("memory")
        if folder is None:
            return 0
        with contextlib.suppress(OSError):
            file = "memory.events" if self.version == 2 else "memory.oom_control"
            return _field((folder / file).read_text(), "oom_kill")
        return 0

    def remove(self) -> None:
        """End what is in it, and remove it. Waits for the kernel, at most some seconds."""
        for folder in set(self._folders.values()):
            if not group_keeper.remove(folder):
                _log.warning("sandbox.group_left", path=str(folder), do="its agent's keeper tries again")


def limits_of(
    sandbox: Sandbox, version: int, controllers: frozenset[str] | set[str]
) -> list[tuple[str, str]]:
    """Files and their values, in the order in which they are written."""
    memory = str(sandbox.memory_mb * _MEBIBYTE)
    quota = str(max(1000, int(sandbox.cpus * _PERIOD_US)))
    processes = str(sandbox.max_processes + OWN_PROCESSES)
    if version == 2:
        made = [
            ("memory.max", memory),
            ("memory.swap.max", "0"),
            ("memory.oom.group", "0"),
            ("pids.max", processes),
            ("cpu.max", f"{quota} {_PERIOD_US}"),
        ]
    else:
        made = [
            ("memory.limit_in_bytes", memory),
            ("memory.memsw.limit_in_bytes", memory),
            ("pids.max", processes),
            ("cpu.cfs_period_us", str(_PERIOD_US)),
            ("cpu.cfs_quota_us", quota),
        ]
    return [(file, value) for file, value in made if file.partition(".")[0] in controllers]


class GroupParent:
    """The agent's own group of sandboxes' groups, and the process that removes them when the agent is gone.

    Args:
        parents: folders that this process may write, by controller.
    """

    def __init__(self, parents: Mapping[str, Path], version: int) -> None:
        self.version = version
        name = f"{_PREFIX}{os.getpid()}-{start_time(os.getpid())}"
        self._parents = parents
        self._folders = {controller: parent / name for controller, parent in parents.items()}
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()
        self._keeper: subprocess.Popen[bytes] | None = None

    def make(self, sandbox: Sandbox) -> ControlGroup:
        """A group with the limits of a sandbox.

        Raises:
            OSError: the kernel refuses it.
        """
        with self._lock:
            self._prepare()
        number = str(next(self._numbers))
        made = ControlGroup({name: folder / number for name, folder in self._folders.items()}, self.version)
        try:
            for folder in set(self._folders.values()):
                (folder / number).mkdir()
            made.limit(sandbox)
        except OSError:
            made.remove()
            raise
        return made

    def left(self) -> list[Path]:
        """The groups of sandboxes that are not removed."""
        with contextlib.suppress(FileNotFoundError):
            return [
                each
                for folder in set(self._folders.values())
                for each in sorted(folder.iterdir())
                if each.is_dir()
            ]
        return []

    def _prepare(self) -> None:
        if self._keeper is not None and self._keeper.poll() is None:
            return
        folders = sorted(set(self._folders.values()))
        for parent in set(self._parents.values()):
            _remove_left(parent)
        for folder in folders:
            folder.mkdir(exist_ok=True)
            if self.version == 2:
                _give(folder, self._folders)
        arguments = [sys.executable, "-I", "-S", group_keeper.__file__, *map(str, folders)]
        self._keeper = subprocess.Popen(  # noqa: S603 - this interpreter, and a file of weft
            arguments,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
            env={},
            start_new_session=True,
        )


@functools.lru_cache(maxsize=4)
def group_parent(process_id: int) -> GroupParent | None:
    """Where this process makes groups; None: it may not.

    Args:
        process_id: of this process: what a forked child has inherited is not its own.
    """
    assert process_id == os.getpid()
    with contextlib.suppress(OSError, ValueError):
        memberships = Path("/proc/self/cgroup").read_text()
        mounts = Path("/proc/self/mountinfo").read_text()
        first = find_folders(mounts, memberships, 1)
        usable = {name: path for name, path in first.items() if os.access(path, os.W_OK)}
        if usable:
            return GroupParent(usable, 1)
        for path in set(find_folders(mounts, memberships, 2).values()):
            if os.access(path, os.W_OK) and (given := _give(path, CONTROLLERS)):
                return GroupParent(dict.fromkeys(given, path), 2)
    return None


def find_folders(mounts: str, memberships: str, version: int) -> dict[str, Path]:
    """The own group's folder of each controller. Pure.

    Args:
        mounts: as /proc/self/mountinfo.
        memberships: as /proc/self/cgroup.
    """
    own: dict[str, str] = {}
    for line in memberships.splitlines():
        _, names, path = line.split(":", 2)
        for name in names.split(",") if names else ("",):
            own[name] = path
    found: dict[str, Path] = {}
    for line in mounts.splitlines():
        left, _, right = line.partition(" - ")
        kind, _, options = right.split(" ", 2)
        root, place = left.split(" ")[3:5]
        if kind != ("cgroup2" if version == 2 else "cgroup"):
            continue
        for name in CONTROLLERS:
            group = own.get("" if version == 2 else name)
            if group is None or (version == 1 and name not in options.split(" ")[-1].split(",")):
                continue
            # A container's mount begins at its own group.
            inner = os.path.relpath(group, root) if group.startswith(root) else "."
            found.setdefault(name, Path(os.path.normpath(f"{place}/{inner}")))
    return found


def _give(folder: Path, controllers: Mapping[str, Path] | tuple[str, ...]) -> set[str]:
    """Let groups below a folder of version 2 have controllers. Returns those that they have."""
    control = folder / "cgroup.subtree_control"
    for name in controllers:
        # EBUSY: the folder has processes of its own.
        with contextlib.suppress(OSError):
            control.write_text(f"+{name}")
    return set(control.read_text().split()) & set(controllers)


def _remove_left(parent: Path) -> None:
    """Remove the groups of agents that are gone."""
    with contextlib.suppress(OSError):
        for folder in parent.iterdir():
            found = _OWN_NAME.fullmatch(folder.name)
            if found is not None and start_time(int(found[1])) != found[2]:
                group_keeper.remove_tree(folder, time.monotonic() + 1)


def start_time(process_id: int) -> str:
    """When a process was started, in the kernel's ticks; "": there is no such process. Tells it from another of its number."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{process_id}/stat").read_text().rpartition(")")[2].split()[19]
    return ""


def _field(text: str, name: str) -> int:
    for line in text.splitlines():
        key, _, value = line.partition(" ")
        if key == name:
            return int(value)
    return 0
