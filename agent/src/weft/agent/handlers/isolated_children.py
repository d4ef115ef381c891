"""The processes of isolated handlers, as the agent's side starts and ends them: plain ones, and those in sandboxes."""

from __future__ import annotations

import contextlib
import dataclasses
import multiprocessing
import multiprocessing.spawn
import os
import socket
import sys
import sysconfig
from collections.abc import Iterable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Protocol

from weft.agent.errors import HostingError, SandboxError
from weft.agent.handlers import isolated_process
from weft.agent.handlers.mesh_clients import MeshClients
from weft.agent.process import search_path
from weft.agent.sandboxing import sandbox_process
from weft.agent.sandboxing.sandbox import Sandbox
from weft.rpc.process import logs, process_group
from weft.rpc.telemetry import traces


class IsolatedChild(Protocol):
    """A process that runs handlers, and the agent's end of its pipe."""

    pipe: Connection[Any, Any]

    @property
    def pid(self) -> int: ...

    @property
    def exit_code(self) -> int | None: ...

    def kill(self) -> None:
        """Kill it and all that its handlers have started. Not after `join`: its number may be another's."""
        ...

    def words(self) -> str:
        """What it said before it could say it to the agent."""
        ...

    def join(self, timeout_s: float) -> None:
        """Wait for one that has been killed or has died."""
        ...


class SpawnedChild:
    """A process of multiprocessing, by spawn."""

    def __init__(self, sources: bytes, clients: MeshClients) -> None:
        spawn = multiprocessing.get_context("spawn")
        self.pipe: Connection[Any, Any]
        self.pipe, theirs = spawn.Pipe()
        # A daemon: the exit of this process never waits for it. It may still have children, see `main`.
        self._process = spawn.Process(
            target=isolated_process.main,
            args=(theirs, sources, clients, search_path.added(), logs.threshold(), traces.exported_as()),
            name="weft-isolated",
            daemon=True,
        )
        try:
            self._process.start()
        except BaseException:
            self.pipe.close()
            raise
        finally:
            # This end belongs to the child alone: else the broken pipe would never be noticed.
            theirs.close()

    @property
    def pid(self) -> int:
        return self._process.pid or 0

    @property
    def exit_code(self) -> int | None:
        return self._process.exitcode

    def kill(self) -> None:
        process_group.kill(self.pid)
        self._process.kill()

    def words(self) -> str:
        return ""

    def join(self, timeout_s: float) -> None:
        self._process.join(timeout_s)


_START = "import sys; sys.path[:] = {path!r}; from weft.agent.handlers.sandboxed_process import main; main({number}, {errors})"


class SandboxedChild:
    """A process in a sandbox. It can read the interpreter and what the program imports from, and what its sandbox names.

    Raises:
        HostingError: a sandbox cannot be made here; the message says why.
    """

    def __init__(self, sandbox: Sandbox, sources: bytes, clients: MeshClients) -> None:
        mine, theirs = socket.socketpair()
        errors = os.dup(2)
        path = [each for each in sys.path if Path(each).is_dir()]
        widened = with_readable(sandbox, _imported_from(path))
        code = _START.format(
            path=[str(Path(each).absolute()) for each in path], number=theirs.fileno(), errors=errors
        )
        try:
            self._process = sandbox_process.start(
                widened,
                [sys.executable, "-c", code],
                pass_fds=[theirs.fileno(), errors],
                stdout=1,
            )
        except SandboxError as error:
            mine.close()
            raise HostingError(f"an isolated process cannot have its sandbox: {error.message}") from error
        finally:
            theirs.close()
            os.close(errors)
        self.pipe: Connection[Any, Any] = Connection(mine.detach())
        prepared = multiprocessing.spawn.get_preparation_data("weft-isolated")
        kept = {name: prepared[name] for name in prepared if name.startswith("init_main")}
        allowed = clients if sandbox.network else clients.without_network()
        exported_as = traces.exported_as() if sandbox.network else None
        # If it has ended, whoever waits for its first message is told.
        with contextlib.suppress(OSError):
            self.pipe.send((kept, (sources, allowed, search_path.added(), logs.threshold(), exported_as)))

    @property
    def pid(self) -> int:
        return self._process.process_id

    @property
    def exit_code(self) -> int | None:
        return self._process.exit_code

    def kill(self) -> None:
        self._process.kill()

    def words(self) -> str:
        return self._process.words()

    def join(self, timeout_s: float) -> None:  # noqa: ARG002 - it has a bound of its own
        self._process.close()


def with_readable(sandbox: Sandbox, paths: Iterable[str]) -> Sandbox:
    """The same sandbox with more to read. /usr is there already."""
    found: list[str] = []
    for path in sorted({str(Path(each).absolute()) for each in (*sandbox.readable, *paths)}):
        inside = any(path == each or path.startswith(f"{each}/") for each in (*found, "/usr"))
        if not inside:
            found.append(path)
    return dataclasses.replace(sandbox, readable=tuple(found))


def _imported_from(path: list[str]) -> list[str]:
    executable = str(Path(sys.executable).resolve().parent)
    return [
        *path,
        *search_path.added(),
        sys.prefix,
        sys.base_prefix,
        executable,
        *(sysconfig.get_path(name) for name in ("stdlib", "platstdlib")),
    ]
