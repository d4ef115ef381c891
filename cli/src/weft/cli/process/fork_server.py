"""A process that has loaded what `weft agent` loads, and forks members of a pool: each is spared the import.

It is started as a member is: with the same words, folder and environment, except for the variables that each member has of its own. So whatever
Python and libraries read at their start is right for all of them. It waits in front of the command. It has one thread, and no object of gRPC.

    keeper ──member, its own variables, its log──► fork server ──fork──► (between) ──fork──► member
    keeper ◄──started, with the pid; or failed, or stale────────────────────┘

The process between ends at once: so the kernel gives the member to the keeper, which is its parent as if it had started it.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import importlib
import json
import os
import signal
import site
import socket
import sys
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from weft.rpc.process.pool_member import OWN

# Changed when the messages change: a keeper of another version starts its members itself.
PROTOCOL = 1
# Modules of an agent, with all that they import; and what they import when it is first used.
_LOADED = (
    "weft.agent",
    "weft.agent.program.loader",
    "weft.cli.commands.run_agent_command",
)
_LOADED_LATER = (
    "grpc.experimental.aio",
    "pynvml",
    "typer._adapters",
    "uvloop",
    "weft.rpc.process.service_notices",
    "weft.rpc.telemetry.metrics_export",
)
_MAX_MESSAGE_BYTES = 1024 * 1024
_CHECK_S = 0.2
# For the kernel to give a member to the keeper.
_ADOPTED_S = 5.0
_LOOK_S = 0.0005
# <sys/prctl.h>
_PR_SET_PDEATHSIG = 1
# proc_pid_stat(5), counted from the state, which is field 3.
_ENV_START, _ENV_END = 50 - 3, 51 - 3


class _Stale(Exception):
    """Something that is loaded here has changed since."""


def serve(number: int, variables: Mapping[str, str]) -> None:
    """Fork members until the keeper closes the socket, which ends the process. Returns in a member, which is to run its command.

    Args:
        number: of the socket's file.
        variables: to be set before gRPC is loaded, unless they are set already.
    """
    keeper = os.getppid()
    asked = socket.socket(fileno=number)
    # A child that the command starts has none of it.
    asked.set_inheritable(False)
    for name, text in variables.items():
        os.environ.setdefault(name, text)
    try:
        loaded = _Loaded()
        places = _own_places()
    except Exception as error:
        _tell(asked, unfit=f"{type(error).__name__}: {error}")
        os._exit(1)
    if len(list(Path("/proc/self/task").iterdir())) > 1:
        _tell(asked, unfit="a module that was loaded has started a thread")
        os._exit(1)
    gc.collect()
    gc.freeze()
    _tell(asked, ready=PROTOCOL)
    while True:
        message, files, _, _ = socket.recv_fds(asked, _MAX_MESSAGE_BYTES, 1)
        if not message:
            os._exit(0)
        request = json.loads(message)
        try:
            loaded.check(request["folder"])
            own = _own_texts(request["env"], places)
        except _Stale as error:
            _tell(asked, member=request["member"], stale=str(error))
        except ValueError as error:
            _tell(asked, member=request["member"], failed=str(error))
        else:
            if _fork(asked, request["member"]):
                _become(own, files[0], keeper)
                return
        for file in files:
            os.close(file)


def _tell(asked: socket.socket, **told: Any) -> None:
    with contextlib.suppress(OSError):
        asked.send(json.dumps(told).encode())


# -- the fork -------------------------------------------------------------------------------------------------------


def _fork(asked: socket.socket, member: str) -> bool:
    """Fork a member. True: this process is the member, and its pid was told."""
    sys.stdout.flush()
    sys.stderr.flush()
    # A member begins when its pid was told: the keeper must not wait for a child that it does not know.
    go, goes = os.pipe()
    try:
        between = os.fork()
    except OSError as error:
        _tell(asked, member=member, failed=str(error))
        os.close(go)
        os.close(goes)
        return False
    if between:
        os.close(go)
        os.close(goes)
        if status := os.waitpid(between, 0)[1]:
            _tell(asked, member=member, failed=f"its first half ended: {os.waitstatus_to_exitcode(status)}")
        return False
    try:
        pid = os.fork()
        if pid:
            asked.send(json.dumps({"member": member, "started": pid}).encode())
            os.write(goes, b"!")
            os._exit(0)
        os.close(goes)
        began = os.read(go, 1)
        os.close(go)
    except BaseException:
        # It must not return to the server's loop.
        os._exit(1)
    if not began:
        os._exit(1)
    asked.close()
    return True


def _become(own: Iterable[_OwnText], log: int, keeper: int) -> None:
    """Make the forked process what one is that the keeper has started."""
    os.setsid()
    ends_at = time.monotonic() + _ADOPTED_S
    while os.getppid() != keeper and time.monotonic() < ends_at:
        time.sleep(_LOOK_S)
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != keeper:
        os._exit(1)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.close(log)
    for each in own:
        # Where the kernel, and so `ps`, shows it, and the C library has it.
        ctypes.memmove(each.address, each.text, len(each.text))
        os.environb[each.name.encode()] = each.text
    importlib.invalidate_caches()
    if (processes := sys.modules.get("multiprocessing.process")) is not None:
        # Processes that know it may send each other anything.
        processes.current_process().authkey = os.urandom(32)


# -- what was loaded ------------------------------------------------------------------------------------------------


class _Loaded:
    """What this process has loaded, and whether a new process would load the same.

    Raises:
        _Stale: something has changed meanwhile.
    """

    def __init__(self) -> None:
        began_at = time.time()
        gc.disable()
        for name in _LOADED:
            importlib.import_module(name)
        for name in _LOADED_LATER:
            with contextlib.suppress(ImportError):
                importlib.import_module(name)
        gc.enable()
        self._marks = {place: _mark(place) for place in _places()}
        self._checked_at = time.monotonic()
        if any(mark is not None and mark[0] > began_at for mark in self._marks.values()):
            raise _Stale("a file has changed while it was loaded")

    def check(self, folder: str) -> None:
        """
        Args:
            folder: of the member.

        Raises:
            _Stale
        """
        try:
            if not Path(folder).samefile("."):
                raise _Stale("the folder is another one")
        except OSError as error:
            raise _Stale(str(error)) from None
        now = time.monotonic()
        if now - self._checked_at < _CHECK_S:
            return
        for place, mark in self._marks.items():
            if _mark(place) != mark:
                raise _Stale(f"{place} has changed")
        self._checked_at = now


def _places() -> Iterable[str]:
    """The files of all that is loaded, and the folders of installed packages."""
    files = {getattr(module, "__file__", None) for module in list(sys.modules.values())}
    yield from (file for file in files if file)
    yield sys.executable
    yield from (*site.getsitepackages(), site.getusersitepackages())


def _mark(place: str) -> tuple[float, int, int, int] | None:
    try:
        found = os.stat(place)  # noqa: PTH116 - a thousand of them
    except OSError:
        return None
    return found.st_ctime, found.st_ino, found.st_size, found.st_mtime_ns


# -- the environment ------------------------------------------------------------------------------------------------


class _OwnText(NamedTuple):
    """The text of a variable that each member has of its own."""

    name: str
    text: bytes
    address: int


def _own_places() -> dict[str, tuple[int, int]]:
    """Where the texts of those variables are in this process' memory: the addresses, and the lengths.

    Raises:
        ValueError: the kernel does not say so.
    """
    stat = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    start, end = int(stat[_ENV_START]), int(stat[_ENV_END])
    raw = ctypes.string_at(start, end - start) if 0 < start < end else b""
    if not raw or raw != Path("/proc/self/environ").read_bytes():
        raise ValueError("the kernel does not tell where the environment is")
    places: dict[str, tuple[int, int]] = {}
    for name in OWN:
        if (text := os.environb.get(name.encode())) is None:
            continue
        at = (b"\0" + raw).find(b"\0%s=%s\0" % (name.encode(), text))
        if at < 0:
            raise ValueError(f"{name} is not where it should be")
        places[name] = start + at + len(name) + 1, len(text)
    return places


def _own_texts(env: Mapping[str, str], places: Mapping[str, tuple[int, int]]) -> list[_OwnText]:
    """The texts of a member, each for its place.

    Raises:
        ValueError: they do not fit.
    """
    own = [_OwnText(name, os.fsencode(env.get(name, "")), address) for name, (address, _) in places.items()]
    if env.keys() != places.keys() or any(len(each.text) != places[each.name][1] for each in own):
        raise ValueError("its variables do not have the lengths of others")
    return own
