"""The command line of bubblewrap: namespaces, a read-only system, one small disk. Pure, but for looks at which system folders there are.

    root's agent:  [unshare, mounts of hidden folders] ─► setpriv: a user that nobody has ─► prlimit ─► bwrap ─► the program
    other agents:                                                                            prlimit ─► bwrap ─► the program

All of these replace each other in one process, whose parent is the agent.
"""

from __future__ import annotations

import functools
import os
import random
import shlex
import shutil
import stat
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from weft.agent.errors import SandboxError
from weft.agent.sandboxing.sandbox import SHARED_MB, WORK, Sandbox

USER = 1000
PASSWD = f"root:x:0:0:root:/:/bin/false\nsandbox:x:{USER}:{USER}:sandbox:{WORK}:/bin/sh\n"
GROUP = f"root:x:0:\nsandbox:x:{USER}:\n"
_MEBIBYTE = 1 << 20
# Of the system, with /usr: links to it, or folders of their own.
_FOLDERS = ("bin", "sbin", "lib", "lib32", "lib64", "libx32")
# Files of /etc that programs need and that are the same everywhere; with a network those that name servers, too.
_ETC = ("ld.so.cache", "ld.so.conf", "ld.so.conf.d", "alternatives", "localtime", "mime.types")
_ETC_NETWORK = (
    "resolv.conf",
    "hosts",
    "nsswitch.conf",
    "services",
    "protocols",
    "ssl/certs",
    "ca-certificates",
)
# Users of root's sandboxes: one each, far from all that systems give to people, services and containers.
_FIRST_USER, _USERS = 1_900_000_000, 100_000_000
# Where hidden folders are mounted, in a mount namespace of the sandbox's own.
_STAGE = "/mnt"
_NEEDED = ("--disable-userns", "--size", "--block-fd", "--info-fd", "--as-pid-1")


@functools.cache
def find_bubblewrap() -> str:
    """The path of bubblewrap.

    Raises:
        SandboxError: there is none here, or one that is too old.
    """
    path = shutil.which("bwrap")
    if path is None:
        raise SandboxError("there is no bubblewrap (bwrap) on this machine: install the package bubblewrap")
    found = subprocess.run(  # noqa: S603 - a program of the system
        [path, "--help"], capture_output=True, text=True, check=False, timeout=10
    )
    told = found.stdout + found.stderr
    if lacks := [option for option in _NEEDED if option not in told]:
        raise SandboxError(f"{path} is too old: it has no {lacks[0]}; bubblewrap 0.8 or later is needed")
    return path


class Descriptors:
    """Numbers of the open files that bubblewrap gets."""

    def __init__(self, *, info: int, release: int, passwd: int, group: int) -> None:
        self.info = info
        self.release = release
        self.passwd = passwd
        self.group = group


def command(
    sandbox: Sandbox,
    argv: Sequence[str],
    descriptors: Descriptors,
    limits: Mapping[str, int],
    *,
    first_process: bool,
    as_root: bool,
) -> list[str]:
    """The command that runs `argv` in a sandbox.

    Args:
        limits: of each process, as prlimit names them.
        first_process: the program is process 1, which reaps what others leave, and with which all end.
        as_root: this process is root, and the sandbox gets a user of its own.

    Raises:
        SandboxError: bubblewrap, or what it needs beside it, is not there.
    """
    readable = [os.path.normpath(path) for path in sandbox.readable]
    limited = [_tool("prlimit"), *(f"--{name}={value}:{value}" for name, value in limits.items())]
    limited.append(find_bubblewrap())
    if not as_root:
        return [*limited, *_options(sandbox, descriptors, first_process, {}), "--", *argv]
    hidden = {
        path: f"{_STAGE}/{number}"
        for number, path in enumerate(dict.fromkeys(readable))
        if not _seen_by_others(path)
    }
    user = str(_FIRST_USER + random.randrange(_USERS))  # noqa: S311 - two with one user harm nobody
    changed = [_tool("setpriv"), "--reuid", user, "--regid", user, "--clear-groups", "--no-new-privs"]
    inner = [*changed, *limited, *_options(sandbox, descriptors, first_process, hidden), "--", *argv]
    if not hidden:
        return inner
    return [_tool("unshare"), "--mount", "--propagation", "private", "sh", "-c", _stage(hidden), "sh", *inner]


def _options(
    sandbox: Sandbox, descriptors: Descriptors, first_process: bool, staged: dict[str, str]
) -> Iterable[str]:
    for kind in ("user", "ipc", "pid", "uts", "cgroup-try"):
        yield f"--unshare-{kind}"
    if not sandbox.network:
        yield "--unshare-net"
    # No namespaces within: these open most of the kernel that its bugs were found in.
    yield from ("--disable-userns", "--die-with-parent", "--new-session", "--cap-drop", "ALL")
    if first_process:
        yield "--as-pid-1"
    yield from ("--uid", str(USER), "--gid", str(USER), "--hostname", "sandbox")
    yield from ("--clearenv", "--setenv", "PATH", "/usr/local/bin:/usr/bin:/bin", "--setenv", "HOME", WORK)
    yield from ("--setenv", "LANG", "C.UTF-8")
    for name, value in sandbox.variables.items():
        yield from ("--setenv", name, value)
    yield from ("--ro-bind", "/usr", "/usr")
    for name in _FOLDERS:
        path = Path("/", name)
        if path.is_symlink():
            yield from ("--symlink", str(path.readlink()), str(path))
        elif path.is_dir():
            yield from ("--ro-bind", str(path), str(path))
    yield from ("--ro-bind-data", str(descriptors.passwd), "/etc/passwd")
    yield from ("--ro-bind-data", str(descriptors.group), "/etc/group")
    for name in _ETC + (_ETC_NETWORK if sandbox.network else ()):
        yield from ("--ro-bind-try", f"/etc/{name}", f"/etc/{name}")
    yield from ("--proc", "/proc", "--dev", "/dev")
    yield from ("--size", str(SHARED_MB * _MEBIBYTE), "--tmpfs", "/dev/shm")  # noqa: S108
    yield from ("--size", str(sandbox.disk_mb * _MEBIBYTE), "--tmpfs", WORK)
    yield from ("--size", str(sandbox.disk_mb * _MEBIBYTE), "--tmpfs", "/tmp")  # noqa: S108
    for shown in dict.fromkeys(os.path.normpath(each) for each in sandbox.readable):
        yield from ("--ro-bind", staged.get(shown, shown), shown)
    # /proc, too: some of its files change the machine, and are open to its root.
    for closed in ("/dev", "/proc", "/"):
        yield from ("--remount-ro", closed)
    yield from ("--chdir", WORK, "--info-fd", str(descriptors.info), "--block-fd", str(descriptors.release))


def _seen_by_others(path: str) -> bool:
    """Whether a user that nobody has reaches a path: bubblewrap runs as such a one.

    Raises:
        SandboxError: only its owner may read it.
    """
    try:
        found = Path(path).resolve(strict=True)
        mode = found.stat().st_mode
        reached = all(each.stat().st_mode & stat.S_IXOTH for each in found.parents)
    except OSError as error:
        raise SandboxError(f"a sandbox cannot read {path}: {error.strerror}") from error
    if not (mode & stat.S_IROTH and (mode & stat.S_IXOTH or not stat.S_ISDIR(mode))):
        raise SandboxError(
            f"a sandbox cannot read {path}: its mode {stat.S_IMODE(mode):o} lets its owner read it, and no others"
        )
    return reached


def _stage(hidden: dict[str, str]) -> str:
    """A script that mounts what other users cannot reach where they can, seen by this process alone; then runs its arguments."""
    lines = ["set -e", f"mount -t tmpfs -o mode=755,size=1m weft {_STAGE}"]
    for path, place in hidden.items():
        make = "mkdir" if Path(path).is_dir() else "touch"
        lines += [f"{make} {place}", f"mount --bind {shlex.quote(path)} {place}"]
    return "\n".join([*lines, 'exec "$@"'])


@functools.cache
def _tool(name: str) -> str:
    path = shutil.which(name)
    if path is None:
        raise SandboxError(f"sandboxes need {name}: install the package util-linux")
    return path
