"""A process of isolated handlers from its start to its end, as the pool has it."""

from __future__ import annotations

import contextlib
import pickle
import threading
from collections.abc import Sequence
from typing import Any

from weft.agent.errors import HostingError
from weft.agent.handlers.isolated_children import IsolatedChild, SandboxedChild, SpawnedChild
from weft.agent.handlers.mesh_clients import MeshClients
from weft.agent.handlers.process_messages import BESIDE_BYTES, BadMessage, receive
from weft.agent.hosting.hosted_methods import FunctionSource, ServicerSource
from weft.agent.sandboxing.sandbox import Sandbox
from weft.rpc.process import logs

_log = logs.get_logger("weft.agent")

# For spawn and imports: slow disks and large libraries are common.
START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 2.0


class EndedAtStart(HostingError):
    """A signal has ended a process before it took tasks."""


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
        self._child: IsolatedChild = (
            SpawnedChild(kind.sources, clients)
            if kind.sandbox is None
            else SandboxedChild(kind.sandbox, kind.sources, clients)
        )
        self.pipe = self._child.pipe
        self._lock = threading.Lock()
        self._ending = threading.Lock()
        self._reaped = False

    def wait_ready(self) -> None:
        """Wait until it takes tasks.

        Raises:
            EndedAtStart: a signal has ended it before.
            HostingError: it could not import the handlers, or did not start in time.
        """
        in_time = False
        with contextlib.suppress(EOFError, OSError, BadMessage):
            while in_time := self.pipe.poll(START_TIMEOUT_S):
                match receive(self.pipe, BESIDE_BYTES):
                    case ("ready",):
                        return
                    case ("failed", text):
                        self.kill()
                        self.reap()
                        raise HostingError(f"an isolated process could not load the handlers:\n{text}")
                    case ("log", level, event, fields):
                        relay(level, event, fields)
        words = self._child.words()
        self.kill()
        code = self.reap()
        kind = EndedAtStart if in_time and (code or 0) < 0 else HostingError
        raise kind(
            f"an isolated process did not start (exit code {code}){words and f': {words}'}; a script that runs an agent must do so under "
            "`if __name__ == '__main__':`"
        )

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

    def reap(self) -> int | None:
        """Wait for a process that has been killed or has died. Returns its exit code."""
        with self._ending:
            # From now on the system may give its number to another process.
            self._reaped = True
        self._child.join(STOP_TIMEOUT_S)
        self.pipe.close()
        return self._child.exit_code


def started(kind: KeptWarm, clients: MeshClients) -> PooledProcess:
    """A process that takes tasks. One that a signal ends at its start is started once more: what somebody kills is no mistake of the program, which would end
    its agent.

    Raises:
        HostingError: it could not import the handlers, or did not start.
    """
    process = PooledProcess(kind, clients)
    try:
        process.wait_ready()
    except EndedAtStart as error:
        _log.warning("isolated.start_failed", error=error.message)
        process = PooledProcess(kind, clients)
        process.wait_ready()
    return process


def relay(level: int, event: str, fields: dict[str, Any]) -> None:
    """Log what a process has logged."""
    _log.log(level, event, **fields)
