"""Child processes of the demo and the benchmark: coordinators and agents of this installation.

Each child leads a session of its own, so Ctrl-C in the terminal reaches only the parent. The parent ends all children before it
ends; if it is killed, `parent_death` ends them.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Coroutine, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, NoReturn, Self, TypeVar

from weft.cli.process import parent_death
from weft.cli.terminal.failure import Failure, status_of_child
from weft.client import AgentState, Mesh
from weft.rpc.process import process_group
from weft.rpc.process.settings_files import CONFIG, OFF

T = TypeVar("T")

START_S = 30.0
_POLL_S = 0.005
_ASK_S = 0.02
_TAIL_LINES = 20
_WEFT = (sys.executable, "-P", "-m", "weft.cli.main")


class Child:
    """One process. Its output goes to one file."""

    def __init__(self, name: str, process: subprocess.Popen[bytes], log: Path) -> None:
        self.name = name
        self.log = log
        self._process = process

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    @property
    def pid(self) -> int:
        return self._process.pid

    def kill(self) -> None:
        """Send SIGKILL to the process and everything that it started, and wait for its end: some milliseconds."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            process_group.kill(self._process.pid)
            self._process.kill()
        self._process.wait()

    def finished(self) -> bool:
        """Whether it has ended with status 0. Raises Failure, with the end of its log, if it ended otherwise."""
        if self._process.poll():
            self._fail()
        return not self.alive

    def must_live(self) -> None:
        """Raises Failure, with the end of its log, if the process has ended."""
        if not self.alive:
            self._fail()

    def _fail(self) -> NoReturn:
        lines = self.log.read_text(errors="replace").splitlines()[-_TAIL_LINES:]
        status = self._process.returncode
        raise Failure(f"{self.name} has exited with status {status}", *lines, status=status_of_child(status))


class Children:
    """Starts processes, and ends the remaining ones when the `with` block ends.

    Args:
        folder: for the stores and the logs.
        path: folders from which the children import.
        passed_on: variables of weft that the children have too; else they have none.
    """

    def __init__(self, folder: Path, path: Sequence[Path] = (), passed_on: Collection[str] = ()) -> None:
        self._passed_on = passed_on
        self.folder = folder
        self._path = path
        self._all: list[Child] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for child in self._all:
            child.kill()

    def kill(self, child: Child) -> None:
        """Kill one child on purpose: `hosted` does not miss it."""
        self._all.remove(child)
        child.kill()

    def python(self, name: str, *args: str, env: Mapping[str, str] | None = None) -> Child:
        """Start a Python process with these arguments."""
        return self._start(name, (sys.executable, *args), env or {})

    def program(self, name: str, *command: str) -> Child:
        """Start another program."""
        return self._start(name, command, {})

    async def coordinator(
        self,
        name: str,
        *,
        store: Path | str,
        durability: str,
        listen: str = "127.0.0.1:0",
        env: Mapping[str, str] | None = None,
    ) -> tuple[Child, str]:
        """Start a coordinator and wait until it serves. Returns the child and the bound address."""
        address = self.folder / f"{name}.address"
        address.unlink(missing_ok=True)
        flags = ["--listen", listen, "--store", str(store), "--durability", durability]
        child = self._start(name, (*_WEFT, "coordinator", *flags, "--address-file", str(address)), env or {})
        await until(
            lambda: address.exists() and bool(address.read_text().strip()), [child], f"{name} to listen"
        )
        return child, address.read_text().strip()

    def agent(
        self, agent_id: str, program: str, target: str, *, slots: int, env: Mapping[str, str] | None = None
    ) -> Child:
        """Start an agent. Does not wait until it is connected."""
        flags = ["--target", target, "--id", agent_id, "--slots", str(slots)]
        return self._start(agent_id, (*_WEFT, "agent", program, *flags), env or {})

    async def hosted(self, mesh: Mesh, method: str, *, agents: int) -> None:
        """Wait until that many agents host the method.

        Raises:
            Failure: they do not in time, or a child has ended.
        """
        ends_at = time.monotonic() + START_S
        while True:
            found = await mesh.fleet.agents(method)
            if sum(agent.state is AgentState.ACTIVE for agent in found) >= agents:
                return
            for child in self._all:
                child.must_live()
            if time.monotonic() > ends_at:
                raise Failure(f"only {len(found)} of {agents} agents connected within {START_S:g} s")
            await asyncio.sleep(_ASK_S)

    def _start(self, name: str, command: Sequence[str], env: Mapping[str, str]) -> Child:
        inherited = {
            key: value
            for key, value in os.environ.items()
            if not key.startswith("WEFT_") or key in self._passed_on
        }
        path = [*map(str, self._path), *filter(None, [inherited.get("PYTHONPATH")])]
        own = {
            "PYTHONPATH": os.pathsep.join(path),
            "PYTHONUNBUFFERED": "1",
            # The files of the working folder are not for these processes.
            CONFIG: OFF,
        } | parent_death.child_environment()
        log = self.folder / f"{name}.log"
        with log.open("ab") as output:
            process = subprocess.Popen(  # noqa: S603
                command,
                env=inherited | own | dict(env),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        child = Child(name, process, log)
        self._all.append(child)
        return child


async def until(
    condition: Callable[[], bool], children: Sequence[Child], what: str, *, timeout_s: float = START_S
) -> None:
    """Wait until the condition holds.

    Raises:
        Failure: it does not in time, or a child has ended.
    """
    ends_at = time.monotonic() + timeout_s
    while not condition():
        for child in children:
            child.must_live()
        if time.monotonic() > ends_at:
            raise Failure(f"waited {timeout_s:g} s for {what}, without success")
        await asyncio.sleep(_POLL_S)


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine that owns children. SIGTERM, SIGHUP and Ctrl-C cancel it."""
    from weft.rpc.process import event_loops
    from weft.rpc.process.signals import handle_stop_signals

    signalled: list[signal.Signals] = []

    async def guarded() -> T:
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        assert task is not None

        def stop(number: signal.Signals) -> None:
            # Only the first signal cancels: cleaning up must not be interrupted.
            if not signalled:
                task.cancel()
            signalled.append(number)

        handle_stop_signals(loop, stop)
        return await main

    try:
        return event_loops.run(guarded())
    except asyncio.CancelledError:
        if not signalled:
            raise
        raise SystemExit(128 + signalled[0]) from None


def free_port() -> int:
    """A port of the loopback that nobody listens at."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
