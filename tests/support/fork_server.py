"""Starts processes of weft by a fork of one that has loaded weft already, which saves each of them 0.3 s of imports; and servers
that know nothing of weft by a fork of one that has loaded gRPC.

They are processes as any: with their own session, environment, folder, files, settings, sockets and end. How a process starts
by itself is tried by the tests that start `weft` or `python -m weft`, and by the long tests with the mark `real_starts`;
`WEFT_TEST_STARTS=real` is for every start.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import pkgutil
import re
import runpy
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any

# Commands that start by themselves: they start weft, or load what others do not. So does whatever has variables that are
# read at the start of Python or gRPC.
BY_THEMSELVES = frozenset({"bench", "conformance", "demo", "service", "top", "up"})
_READ_LATER = ("WEFT_", "OTEL_")
_COMMAND = "weft.cli.main"
_LARGEST = 1 << 20
_ENDED = (
    "the fork server of the tests has ended: its traceback is in the captured output of a test;"
    " with WEFT_TEST_STARTS=real the tests do without it"
)
# Their modules are loaded before the forks, and what these load when they are first used.
_PARTS = ("weft.agent", "weft.client", "weft.coordinator", "weft.rpc", "weft.cli")
# Other commands have these for themselves.
_LEFT_OUT = re.compile(r"weft\.cli\.(bench|conformance|demo|top)\b|.*\.__main__")
# What a stock server loads.
_STOCK = (
    "grpc.aio",
    "grpc_health.v1.health",
    "grpc_health.v1.health_pb2_grpc",
    "grpc_reflection.v1alpha.reflection",
    "grpc_status.rpc_status",
    "google.rpc.error_details_pb2",
)
_USED_LATER = (
    "grpc.experimental.aio",
    "grpc_status.rpc_status",
    "multiprocessing.popen_spawn_posix",
    "typer._adapters",
    "typer._click._textwrap",
    "typer._click.decorators",
    "uvloop",
)


def forks() -> bool:
    """Whether anything is started so."""
    return sys.platform == "linux" and os.environ.get("WEFT_TEST_STARTS") != "real"


def serves(args: Sequence[str], extra: Mapping[str, str]) -> bool:
    """Whether such a command may be started so."""
    return (
        forks()
        and args[:1] != ()
        and args[0] not in BY_THEMSELVES
        and all(name.startswith(_READ_LATER) for name in extra)
    )


class ForkedChild:
    """A process that the server has forked, with those methods of `subprocess.Popen` that tests use."""

    def __init__(self, server: ForkServer, pid: int) -> None:
        self._server = server
        self.pid = pid

    @property
    def returncode(self) -> int | None:
        return self._server.status(self.pid)

    def poll(self) -> int | None:
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def wait(self, timeout: float) -> int:
        ends_at = time.monotonic() + timeout
        while (status := self.poll()) is None:
            if time.monotonic() > ends_at:
                raise TimeoutError(f"process {self.pid} has not ended")
            time.sleep(0.005)
        return status


class ForkServer:
    """This process' end of a server. `stock`: of one that has not loaded weft."""

    def __init__(self, leash: Sequence[str], env: Mapping[str, str], cwd: str, *, stock: bool) -> None:
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._lock = threading.Lock()
        self._ended: dict[int, int] = {}
        with theirs:
            words = [str(theirs.fileno()), *(("stock",) if stock else ())]
            command = [*leash, sys.executable, "-m", "tests.support.fork_server", *words]
            # In a session of its own: an interrupt at the terminal is for the tests.
            subprocess.Popen(command, pass_fds=[theirs.fileno()], env=env, cwd=cwd, start_new_session=True)

    def start(
        self,
        args: Sequence[str],
        *,
        env: Mapping[str, str],
        cwd: str,
        files: Sequence[int],
        leads: bool,
        module: str = "",
    ) -> ForkedChild:
        """Start `weft ARGS` with these files as standard input, output and error.

        Args:
            leads: a session of its own.
            module: start `python -m MODULE ARGS` instead.
        """
        asked = {"args": list(args), "env": dict(env), "cwd": cwd, "leads": leads, "module": module}
        ask = json.dumps(asked).encode()
        with self._lock:
            try:
                socket.send_fds(self._socket, [ask], list(files))
                while (pid := self._receive()) is None:
                    pass
            except ConnectionError:
                raise RuntimeError(_ENDED) from None
        return ForkedChild(self, pid)

    def status(self, pid: int) -> int | None:
        with self._lock:
            while pid not in self._ended and select.select([self._socket], [], [], 0)[0]:
                self._receive()
            return self._ended.get(pid)

    def _receive(self) -> int | None:
        """Take one message: the number of what has started, or an end."""
        message = self._socket.recv(_LARGEST)
        if not message:
            raise RuntimeError(_ENDED)
        told = json.loads(message)
        if "ended" in told:
            self._ended[told["ended"]] = told["status"]
            return None
        pid: int = told["started"]
        self._ended.pop(pid, None)
        return pid


def _serve(tests: socket.socket) -> dict[str, Any] | None:
    """Fork on demand; gives what was asked in the child, and None in the server at the end of the tests."""
    import ctypes

    libc = ctypes.CDLL(None)
    wakes, wake = os.pipe()
    os.set_blocking(wakes, False)
    os.set_blocking(wake, False)
    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    while True:
        ready = select.select([tests, wakes], [], [])[0]
        if wakes in ready:
            with contextlib.suppress(BlockingIOError):
                os.read(wakes, 4096)
            _tell_ended(tests)
        if tests not in ready:
            continue
        message, files, _flags, _address = socket.recv_fds(tests, _LARGEST, 3)
        if not message:
            return None
        asked: dict[str, Any] = json.loads(message)
        server = os.getpid()
        pid = os.fork()
        if pid:
            for number in files:
                os.close(number)
            continue
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        libc.prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
        if os.getppid() != server:
            os._exit(1)
        if asked["leads"]:
            os.setsid()
        # By the child: who is told of it may signal its session at once.
        tests.send(json.dumps({"started": os.getpid()}).encode())
        for number, file in enumerate(files):
            os.dup2(file, number)
        for number in (*files, wakes, wake, tests.detach()):
            os.close(number)
        return asked


def _tell_ended(tests: socket.socket) -> None:
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return
        with contextlib.suppress(BrokenPipeError):
            tests.send(json.dumps({"ended": pid, "status": os.waitstatus_to_exitcode(status)}).encode())


def load_all() -> None:
    """Load whatever a process of weft may load. What an extra that is not installed brings is missed by who needs it."""
    for part in _PARTS:
        package = importlib.import_module(part)
        for module in pkgutil.walk_packages(package.__path__, f"{part}."):
            if not _LEFT_OUT.match(module.name):
                _load(module.name)
    for name in _USED_LATER:
        _load(name)


def _load(name: str) -> None:
    with contextlib.suppress(ImportError):
        importlib.import_module(name)


def main() -> None:
    import gc

    if sys.argv[2:] == ["stock"]:
        for name in _STOCK:
            importlib.import_module(name)
    else:
        # As of `weft coordinator` and `weft agent`.
        os.environ.update(importlib.import_module(_COMMAND)._ONE_POLLING_THREAD, GRPC_VERBOSITY="NONE")
        load_all()
    gc.collect()
    gc.freeze()
    asked = _serve(socket.socket(fileno=int(sys.argv[1])))
    if asked is None:
        return
    os.environ.clear()
    os.environ.update(asked["env"])
    os.chdir(asked["cwd"])
    if asked["module"]:
        sys.argv[1:] = asked["args"]
        runpy.run_module(asked["module"], run_name="__main__", alter_sys=True)
        return
    command = importlib.import_module(_COMMAND)
    sys.argv = [str(command.__file__), *asked["args"]]
    # The name under which children of multiprocessing import the main module.
    sys.modules["__main__"] = command
    command.main()


if __name__ == "__main__":
    # The current folder is not looked in first, as in `weft`.
    del sys.path[0]
    main()
