"""A process in a sandbox, from its start to its end, with nothing left behind.

    group made ─► bwrap started; it waits ─► its process into the group, its limits set ─► let go ─► ... ─► killed ─► group removed

What it was told to run begins only when all limits hold. With the agent's end it ends, too: by the parent-death signal, by the end of its pid namespace,
and by the keeper of groups.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from weft.agent.errors import SandboxError
from weft.agent.sandboxing import bubblewrap
from weft.agent.sandboxing.control_group import ControlGroup, group_parent
from weft.agent.sandboxing.limit_watch import LimitWatch
from weft.agent.sandboxing.sandbox import OWN_PROCESSES, WORK, Sandbox

START_S = 20.0
_END_S = 10.0
_MOST_TOLD = 2000
T = TypeVar("T")
# The parent-death signal comes when the parent's *thread* ends: all are started by one that stays.
_starter = ThreadPoolExecutor(1, thread_name_prefix="sandbox-starter")
_watch = LimitWatch()


class SandboxProcess:
    """One sandbox and its processes. Its methods may be called from any thread; they block for milliseconds.

    Args:
        bwrap: bubblewrap, outside of the sandbox.
        inner_id: the first process in the sandbox, by the machine's number.
        group: None: no group can be written here.
        said: a file with what it wrote to a stderr that nobody reads.
    """

    def __init__(
        self,
        bwrap: subprocess.Popen[bytes],
        inner_id: int,
        group: ControlGroup | None,
        sandbox: Sandbox,
        said: int,
    ) -> None:
        self.process_id = inner_id
        self.sandbox = sandbox
        self.group = group
        self.held_by = held_by(group)
        # Why it was ended from here; "": it was not.
        self.ended_for = ""
        self._bwrap = bwrap
        # Ends with the pid namespace: after all of its processes, which bubblewrap does not wait for.
        self._inner = _process_file(inner_id)
        self._said = said
        self._lock = threading.Lock()
        self._closed = False

    @property
    def exit_code(self) -> int | None:
        """The status of its program; negative: the signal that ended it; None: it runs."""
        code = self._bwrap.poll()
        # bubblewrap tells of signals as shells do.
        return 128 - code if code is not None and code > 128 else code

    def words(self) -> str:
        """The begin of what it wrote to a stderr that nobody reads; "" after `close`."""
        with self._lock:
            return (
                "" if self._closed else os.pread(self._said, _MOST_TOLD, 0).decode(errors="replace").strip()
            )

    @property
    def bubblewrap_id(self) -> int:
        """The process that ends when the sandbox has ended."""
        return self._bwrap.pid

    def wait(self, timeout_s: float | None = None) -> int:
        """Wait for its end.

        Raises:
            TimeoutError: it still runs.
        """
        try:
            self._bwrap.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise TimeoutError("the sandbox still runs") from None
        assert self.exit_code is not None
        return self.exit_code

    def kill(self, why: str = "") -> None:
        """End all of its processes. Returns at once; `close` waits."""
        with self._lock:
            if self._bwrap.poll() is not None or self._closed:
                return
            self.ended_for = self.ended_for or why
            with contextlib.suppress(ProcessLookupError, PermissionError):
                # As bubblewrap, its parent, runs, nobody else has its number. With it the pid namespace ends.
                os.kill(self.process_id, signal.SIGKILL)
            self._bwrap.kill()

    def close(self) -> None:
        """End all of its processes, and remove what is left of it. Harmless if it was called before."""
        self.kill()
        with self._lock:
            if self._closed:
                return
            self._closed = True
            os.close(self._said)
        _watch.leave(self)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._bwrap.wait(_END_S)
        if self._inner is not None:
            _readable(self._inner, _END_S)
            os.close(self._inner)
        if self.group is not None:
            self.group.remove()


def start(
    sandbox: Sandbox,
    argv: Sequence[str],
    *,
    pass_fds: Sequence[int] = (),
    stdin: int = subprocess.DEVNULL,
    stdout: int = subprocess.DEVNULL,
    stderr: int = subprocess.DEVNULL,
    first_process: bool = False,
) -> SandboxProcess:
    """Run a program in a sandbox of its own. Takes some 10 ms; blocks.

    Args:
        argv: the program, as it is found in the sandbox.
        pass_fds: open files that it gets under the same numbers.
        stdin, stdout, stderr: open files, or as subprocess has them: DEVNULL, STDOUT. bubblewrap has the same stderr; of DEVNULL, some is
            kept for `words`.
        first_process: the program is process 1, which must wait for what others leave.

    Raises:
        SandboxError: a sandbox cannot be made here; the message says why.
    """
    if sys.platform != "linux":
        raise SandboxError("a sandbox of this machine needs Linux: bubblewrap makes it of Linux' namespaces")

    def run() -> SandboxProcess:
        parent = group_parent(os.getpid())
        try:
            group = None if parent is None else parent.make(sandbox)
        except OSError as error:
            raise SandboxError(f"no control group for a sandbox: {error}") from error
        try:
            outputs = (stdin, stdout, stderr)
            return _start(sandbox, list(argv), group, list(pass_fds), outputs, first_process)
        except BaseException:
            if group is not None:
                group.remove()
            raise

    return in_starter(run)


def in_starter(function: Callable[[], T]) -> T:
    """Run a function in the thread that starts sandboxes, and wait for it."""
    return _starter.submit(function).result()


def _start(
    sandbox: Sandbox,
    argv: list[str],
    group: ControlGroup | None,
    pass_fds: list[int],
    outputs: tuple[int, int, int],
    first_process: bool,
) -> SandboxProcess:
    with contextlib.ExitStack() as opened:
        theirs = opened.enter_context(contextlib.ExitStack())
        info, info_theirs = _pipe(opened, theirs)
        release, release_theirs = _pipe(opened, theirs, reads=False)
        said = _memory_file(opened, "")
        passwd, users = _memory_file(opened, bubblewrap.PASSWD), _memory_file(opened, bubblewrap.GROUP)
        given = bubblewrap.Descriptors(info=info_theirs, release=release_theirs, passwd=passwd, group=users)
        as_root = os.geteuid() == 0
        limits = limits_of_each(sandbox, group, as_root)
        stdin, stdout, stderr = outputs
        line = bubblewrap.command(sandbox, argv, given, limits, first_process=first_process, as_root=as_root)
        try:
            bwrap = subprocess.Popen(  # noqa: S603 - what runs is the caller's choice, and shut in
                line,
                stdin=stdin,
                stdout=stdout,
                stderr=said if stderr == subprocess.DEVNULL else stderr,
                pass_fds=[*pass_fds, info_theirs, release_theirs, passwd, users],
                cwd="/",
                env={"PATH": os.environ.get("PATH", "/usr/bin:/bin")},
                close_fds=True,
            )
        except OSError as error:
            raise SandboxError(f"a sandbox cannot be started: {error}") from error
        # These ends are bubblewrap's alone: else its end would not be noticed.
        theirs.close()
        try:
            inner_id = _inner_process(info)
            _limit(sandbox, inner_id, group, as_root)
            os.write(release, b"x")
        except TimeoutError as error:
            _end(bwrap)
            raise SandboxError(str(error)) from error
        except OSError as error:
            # It may have ended: then it says why.
            code = _end(bwrap)
            text = os.pread(said, _MOST_TOLD, 0).decode(errors="replace").strip()
            why = text or f"{error}; it ended with status {code}, and its words are on stderr"
            raise SandboxError(f"bubblewrap cannot make a sandbox: {why}") from error
        except BaseException:
            _end(bwrap)
            raise
        made = SandboxProcess(bwrap, inner_id, group, sandbox, os.dup(said))
        if group is None:
            _watch.join(made)
        return made


def _end(bwrap: subprocess.Popen[bytes]) -> int:
    # A moment to say what is wrong, if it ends by itself.
    with contextlib.suppress(subprocess.TimeoutExpired):
        return bwrap.wait(0.2)
    bwrap.kill()
    return bwrap.wait()


def _inner_process(info: int) -> int:
    """The first process of the sandbox, as bubblewrap tells it. It waits there.

    Raises:
        TimeoutError: it takes too long.
        OSError: bubblewrap has ended.
    """
    told, ends_at_s = b"", time.monotonic() + START_S
    while not told.rstrip().endswith(b"}"):
        if not _readable(info, ends_at_s - time.monotonic()):
            raise TimeoutError(f"bubblewrap did not start within {START_S:.0f} s")
        read = os.read(info, 4096)
        if not read:
            raise OSError("bubblewrap has ended")
        told += read
    return int(json.loads(told)["child-pid"])


def _process_file(process_id: int) -> int | None:
    """A file that can be read when a process has ended; None: this kernel has no such files (before Linux 5.3)."""
    with contextlib.suppress(OSError):
        return os.pidfd_open(process_id)
    return None


def _readable(file: int, within_s: float) -> bool:
    """Wait until a file can be read. Of any number: `select` knows the first 1024 alone."""
    waits = select.poll()
    waits.register(file, select.POLLIN)
    return bool(waits.poll(max(0.0, within_s) * 1000))


def limits_of_each(sandbox: Sandbox, group: ControlGroup | None, own_user: bool) -> dict[str, int]:
    """The limits of each process, as prlimit names them.

    Args:
        own_user: the sandbox has a user of its own, whose processes are counted.
    """
    made = {
        "core": 0,
        "nofile": sandbox.max_open_files,
        "fsize": sandbox.disk_mb << 20,
        "memlock": 64 << 10,
        "msgqueue": 64 << 10,
    }
    if own_user:
        made["nproc"] = sandbox.max_processes + OWN_PROCESSES
    if group is None or "memory" not in group.controllers:
        made["data"] = sandbox.memory_mb << 20
    return made


def _limit(sandbox: Sandbox, inner_id: int, group: ControlGroup | None, as_root: bool) -> None:
    if not as_root:
        # Now, as the kernel counts those of this sandbox's user namespace alone. Before, all of the agent's user would count.
        most = sandbox.max_processes + OWN_PROCESSES
        import resource

        resource.prlimit(inner_id, resource.RLIMIT_NPROC, (most, most))
    if group is None or "cpu" not in group.controllers:
        os.setpriority(os.PRIO_PROCESS, inner_id, 10)
    if group is not None:
        group.add(inner_id)


def held_by(group: ControlGroup | None) -> Mapping[str, str]:
    """What holds each limit here, by the names of `Sandbox`."""
    have = frozenset[str]() if group is None else group.controllers
    named = "" if group is None else f"control group (version {group.version})"
    watched = "limit of each process; a look at all of them, each 0.2 s"
    return {
        "memory_mb": named if "memory" in have else watched,
        "cpus": named if "cpu" in have else "not held: a lower priority alone",
        "max_processes": named if "pids" in have else "limit of its user",
        "max_open_files": "limit of each process",
        "disk_mb": f"size of {WORK}",
        "network": "network namespace",
    }


def _pipe(own: contextlib.ExitStack, theirs: contextlib.ExitStack, *, reads: bool = True) -> tuple[int, int]:
    """The own end of a pipe, which reads or writes, and the other one."""
    read, write = os.pipe2(os.O_CLOEXEC)
    mine, other = (read, write) if reads else (write, read)
    own.callback(os.close, mine)
    theirs.callback(os.close, other)
    return mine, other


def _memory_file(opened: contextlib.ExitStack, text: str) -> int:
    made = os.memfd_create("weft-sandbox", os.MFD_CLOEXEC)
    opened.callback(os.close, made)
    os.write(made, text.encode())
    os.lseek(made, 0, os.SEEK_SET)
    return made
