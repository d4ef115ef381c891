"""A process of isolated handlers from its start to its end, as the pool has it."""

from __future__ import annotations

import contextlib
import os
import pickle
import socket
import threading
import time
from collections.abc import Sequence
from typing import Any

from weft.agent.errors import HostingError
from weft.agent.handlers.isolated_children import IsolatedChild, SandboxedChild, SpawnedChild
from weft.agent.handlers.mesh_clients import MeshClients
from weft.agent.handlers.process_messages import BESIDE_BYTES, receive
from weft.agent.hosting.hosted_methods import FunctionSource, ServicerSource
from weft.agent.process.failure_log import log_raised
from weft.agent.sandboxing.sandbox import Sandbox
from weft.rpc.process import logs

_log = logs.get_logger("weft.agent")

# For spawn and imports: slow disks and large libraries are common.
START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 2.0
_UNTRUE = "an isolated process wrote what is no message into its pipe while it loaded the handlers"


class EndedAtStart(HostingError):
    """A signal has ended a process before it took tasks."""


class NoProcess(HostingError):
    """The system has no process, memory or open file left."""


class KeptWarm:
    """The processes of one sandbox, or of none: those that wait for a task, and what they are made with."""

    def __init__(self, sandbox: Sandbox | None, sources: Sequence[ServicerSource | FunctionSource]) -> None:
        self.sandbox = sandbox
        self.idle: list[PooledProcess] = []
        # Held while a process is started in advance: a task that needs a process waits for this one.
        self.warming = threading.Lock()
        try:
            self.sources = pickle.dumps(list(sources))
        except Exception as error:
            raise HostingError(
                f"isolate=True needs handlers that another process can import: {error}"
            ) from error


class PooledProcess:
    """One process and its pipe."""

    def __init__(self, kind: KeptWarm, clients: MeshClients) -> None:
        self.kind = kind
        self._child = _started(kind, clients)
        self.pipe = self._child.pipe
        self._lock = threading.Lock()
        self._ending = threading.Lock()
        self._reaped = False

    def wait_ready(self) -> None:
        """Wait until it takes tasks.

        Raises:
            EndedAtStart: a signal has ended it before.
            HostingError: it could not import the handlers, or did not start in time. Either way it has ended.
        """
        # It may stop in the middle of a message, too: then nothing but its end wakes who reads.
        ends_at_s = time.monotonic() + START_TIMEOUT_S
        late = threading.Timer(START_TIMEOUT_S, self.kill)
        late.daemon = True
        late.start()
        try:
            fault = self._first_fault(ends_at_s)
        finally:
            late.cancel()
        if fault is None:
            return
        in_time = time.monotonic() < ends_at_s
        words = self._child.words()
        self.kill()
        code = self.reap()
        if fault:
            raise HostingError(fault)
        kind = EndedAtStart if in_time and (code or 0) < 0 else HostingError
        raise kind(
            f"an isolated process did not start (exit code {code}){words and f': {words}'}; a script that runs an agent must do so under "
            "`if __name__ == '__main__':`"
        )

    def _first_fault(self, ends_at_s: float) -> str | None:
        """Read until it takes tasks. Returns why it does not; "": it has ended, or says nothing."""
        try:
            while self.pipe.poll(max(0.0, ends_at_s - time.monotonic())):
                match receive(self.pipe, BESIDE_BYTES):
                    case ("ready",):
                        return None
                    case ("failed", text):
                        return f"an isolated process could not load the handlers:\n{text}"
                    case ("log", level, event, fields):
                        relay(level, event, fields)
        except (EOFError, OSError):
            pass
        except Exception as error:
            # What it imports may write anything into the pipe.
            log_raised("isolated.message_invalid", error)
            return _UNTRUE
        return ""

    @property
    def pid(self) -> int:
        return self._child.pid

    def send(self, message: tuple[Any, ...]) -> None:
        with self._lock:
            self.pipe.send(message)

    def kill(self) -> None:
        """Kill it and all processes that its handlers have started. Harmless if it is gone."""
        with self._ending:
            if not self._reaped:
                self._child.kill()
                self._end_pipe()

    def _end_pipe(self) -> None:
        # Who reads it is woken, even if a process that has left the group has its other end. What has come can be read still.
        with contextlib.suppress(OSError), socket.socket(fileno=os.dup(self.pipe.fileno())) as end:
            end.shutdown(socket.SHUT_RDWR)

    def reap(self) -> int | None:
        """Wait for a process that has been killed or has died. Returns its exit code."""
        with self._ending:
            # From now on the system may give its number to another process.
            self._reaped = True
        self._child.join(STOP_TIMEOUT_S)
        self.pipe.close()
        return self._child.exit_code


def _started(kind: KeptWarm, clients: MeshClients) -> IsolatedChild:
    try:
        if kind.sandbox is None:
            return SpawnedChild(kind.sources, clients)
        return SandboxedChild(kind.sandbox, kind.sources, clients)
    except OSError as error:
        raise NoProcess(f"an isolated process cannot be started: {error}") from error


def relay(level: int, event: str, fields: dict[str, Any]) -> None:
    """Log what a process has logged."""
    _log.log(level, event, **fields)
