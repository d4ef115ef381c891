"""`weft up`: a coordinator and agents as child processes of one terminal, for development."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from weft.cli.command_line.examples import examples
from weft.cli.command_line.operators_options import Hooks
from weft.cli.command_line.service_options import Services, service_names
from weft.cli.command_line.shared_options import DEFAULT_TARGET
from weft.cli.process import parent_death
from weft.cli.terminal.failure import Failure, status_of_child
from weft.cli.terminal.output import Styled, line, remark
from weft.rpc import bounded_json
from weft.rpc.process import event_loops, process_group
from weft.rpc.process.settings_files import in_force
from weft.rpc.process.signals import handle_stop_signals, hurries
from weft.rpc.process.steady_output import make_steady

if TYPE_CHECKING:
    from weft.rpc.security.tls import Tls

EXAMPLE = "examples.corpus.agent:agent"
DRAIN_GRACE_S = 5.0
# The time from SIGTERM until a child is killed.
_STOP_S = 12.0
_START_S = 20.0
# Time for contracts to be accepted, once agents are connected: one with rules takes a second or two.
_ACCEPT_S = 30.0
_COLOURS = ("cyan", "green", "yellow", "magenta", "blue")
_LINE_BYTES = 1024 * 1024
_OF_ONE = {
    **dict.fromkeys(("WEFT_METRICS", "WEFT_AGENT_METRICS", "WEFT_CHANNELZ", "WEFT_AGENT_CHANNELZ"), ""),
    # The coordinator is on this machine: no proxy is needed.
    **dict.fromkeys(("WEFT_USE_PROXY", "WEFT_AGENT_USE_PROXY"), "false"),
}


@examples(
    "weft up",
    "weft up worker:agent --agents 3 --reload",
    "weft up acme.worker:agent --store redis://127.0.0.1:6379/0",
    "weft up --with hardware --agents 1",
)
def up(
    program: Annotated[
        str | None,
        typer.Argument(
            metavar="MODULE:OBJECT",
            help="The agents' program, such as acme.worker:agent. [default: the example, unless there is --with]",
        ),
    ] = None,
    services: Services = None,
    agents: Annotated[int, typer.Option("--agents", "-n", metavar="N", min=0, help="Number of agents.")] = 2,
    listen: Annotated[
        str | None,
        typer.Option(
            metavar="HOST:PORT", help="Address that the coordinator listens on. [default: 127.0.0.1:7700]"
        ),
    ] = None,
    store: Annotated[
        str | None,
        typer.Option(
            metavar="PATH|URL",
            help="The store's file, or a Redis: redis://HOST:PORT/DB, rediss://…, unix://…,"
            " redis+sentinel://H:P,H:P/SERVICE or redis+cluster://H:P,H:P. [default: weft.db]",
        ),
    ] = None,
    slots: Annotated[
        int | None, typer.Option(metavar="N", help="How many calls each agent runs at a time.")
    ] = None,
    metrics: Annotated[
        str | None,
        typer.Option(
            metavar="HOST:PORT",
            help="Let Prometheus scrape the coordinator's metrics there, and those of the agents at the next ports.",
        ),
    ] = None,
    hooks: Hooks = None,
    reload: Annotated[
        bool, typer.Option("--reload", help="Restart the agents when a Python file changes.")
    ] = False,
) -> None:
    """Start a coordinator and agents, show their logs, and stop everything in order at Ctrl-C."""
    # The output is a log: if it cannot be written, the processes go on.
    make_steady()
    paths: Sequence[Path] = ()
    names = service_names(services)
    if program is None and not names:
        from weft.cli.demo.corpus import import_paths

        program, paths = EXAMPLE, import_paths()
    hosted = [*([] if program is None else [program]), *(["--with", ",".join(names)] if names else [])]
    flags = [] if slots is None else ["--slots", str(slots)]
    flags += ["--reload"] if reload else []
    given = {"--listen": listen, "--store": store, "--hooks": hooks}
    event_loops.run(_Up(hosted, agents, flags, paths, metrics).run(given))


class _Child:
    """A child process. Its output goes to this process' output, each line with the child's name in front."""

    def __init__(
        self, name: str, words: Sequence[str], process: asyncio.subprocess.Process, colour: str, width: int
    ) -> None:
        self.name = name
        # Subcommand and arguments, for another start.
        self.words = words
        self.colour = colour
        self.process = process
        self._tag = Styled(f"{name:<{width}} │", colour)
        self.reader = asyncio.create_task(self._pass_on())

    async def _pass_on(self) -> None:
        assert self.process.stdout is not None
        while True:
            try:
                text = await self.process.stdout.readline()
            except ValueError:  # the line is longer than _LINE_BYTES
                continue
            if not text:
                return
            # If the terminal is gone, keep reading: a full pipe would block the child.
            with contextlib.suppress(OSError):
                for part in readable(text.decode(errors="replace").rstrip()).split("\n"):
                    line((self._tag, f" {part}"))

    def terminate(self) -> None:
        """Ask the process to end. On Windows, where nothing can ask, it ends at once."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            self.process.terminate()

    def kill(self) -> None:
        """Kill the process and everything that it started."""
        process_group.kill(self.process.pid)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            self.process.kill()

    async def stop(self) -> None:
        """Send SIGTERM, wait, then send SIGKILL to the process and everything that it started."""
        self.terminate()
        try:
            async with asyncio.timeout(_STOP_S):
                await self.process.wait()
        except TimeoutError:
            with contextlib.suppress(OSError):
                remark(f"{self.name} did not stop within {_STOP_S:g} s: killed")
        self.kill()
        await self.process.wait()
        await self.reader


class _Up:
    """The processes of one `weft up`."""

    def __init__(
        self,
        hosted: Sequence[str],
        count: int,
        flags: Sequence[str],
        paths: Sequence[Path],
        metrics: str | None,
    ) -> None:
        self._metrics = metrics
        # What each agent hosts, as arguments of `weft agent`.
        self._hosted = hosted
        self._names = [f"agent-{number}" for number in range(1, count + 1)]
        self._flags = flags
        self._env = dict(os.environ)
        # Settings for a single process must not reach all of them. An empty variable comes before a file's value.
        self._env |= _OF_ONE
        path = [*map(str, paths), *filter(None, [self._env.get("PYTHONPATH")])]
        self._env |= {"PYTHONPATH": os.pathsep.join(path), "PYTHONUNBUFFERED": "1"}
        self._width = max(map(len, ("coordinator", *self._names)))
        self._children: list[_Child] = []
        self._stop = asyncio.Event()

    async def run(self, given: Mapping[str, str | None]) -> None:
        """Start all, wait for Ctrl-C or for a child's exit, and stop all: agents first.

        Args:
            given: options of the coordinator.
        """
        handle_stop_signals(asyncio.get_running_loop(), self._signalled)
        try:
            with tempfile.TemporaryDirectory() as folder:
                gone = await self._start(given, Path(folder) / "address")
                gone = gone or await self._until_over()
        finally:
            await self._stop_all()
        if gone is not None:
            raise Failure(
                f"{gone.name} has exited with status {gone.process.returncode}; its last lines are above",
                status=status_of_child(gone.process.returncode),
            )

    def _signalled(self, number: int) -> None:
        if self._stop.is_set() and hurries(number):
            for child in self._children:
                child.kill()
        self._stop.set()

    async def _start(self, given: Mapping[str, str | None], address_file: Path) -> _Child | None:
        """Start all. Returns a child that has exited meanwhile, if there is one."""
        args = ["--address-file", str(address_file), *self._scraped(0)]
        for option, value in given.items():
            args += [] if value is None else [option, value]
        coordinator = await self._spawn("coordinator", "coordinator", *args)
        ends_at = time.monotonic() + _START_S
        while not (target := _read(address_file)):
            if coordinator.process.returncode is not None:
                return coordinator
            if self._stop.is_set():
                return None
            if time.monotonic() > ends_at:
                raise Failure(f"the coordinator did not serve within {_START_S:g} s")
            await asyncio.sleep(0.02)
        for number, name in enumerate(self._names, 1):
            args = ["--target", target, "--id", name, "--drain-grace-s", str(DRAIN_GRACE_S), *self._flags]
            await self._spawn(name, "agent", *self._hosted, *args, *self._scraped(number))
        return await self._announce(target)

    def _scraped(self, number: int) -> list[str]:
        """Where the metrics of a process are scraped, as options; the coordinator's number is 0."""
        if not self._metrics:
            return []
        host, _, port = self._metrics.rpartition(":")
        # Port 0 is any free one, for each.
        place = f"{host}:{int(port) + number}" if port.isdecimal() and int(port) else self._metrics
        return ["--metrics", place]

    async def _announce(self, target: str) -> _Child | None:
        """Wait until the agents are connected and their contracts accepted, and print their methods. Returns a child that has exited meanwhile."""
        from weft.client import connect

        # A contract may be refused: the log says so, and what runs is announced all the same.
        patient_until = time.monotonic() + _ACCEPT_S
        async with connect(target, tls=_tls_of_files()) as mesh:
            while not self._stop.is_set():
                gone = self._gone()
                if gone is not None:
                    return gone
                connected = {agent.id: agent for agent in await mesh.fleet.agents() if agent.connected_at}
                methods = sorted({method for agent in connected.values() for method in agent.methods})
                all_there = connected.keys() >= set(self._names)
                # An agent's methods are listed when its contract is accepted.
                accepted = all(agent.methods for agent in connected.values())
                if all_there and (accepted or time.monotonic() > patient_until):
                    remark(f"serving on {target}; Ctrl-C stops all")
                    for method in methods:
                        remark(
                            f"  weft call {method} '{{}}'"
                            + ("" if target == DEFAULT_TARGET else f" --target {target}")
                        )
                    return None
                await asyncio.sleep(0.05)
        return None

    async def _spawn(self, name: str, *words: str) -> _Child:
        colour = _COLOURS[len(self._children) % len(_COLOURS)]
        self._children.append(child := await self._started(name, words, colour))
        return child

    async def _started(self, name: str, words: Sequence[str], colour: str) -> _Child:
        env = self._env
        if words[0] != "coordinator":
            # Agents do not get the store's credentials.
            env = {key: value for key, value in env.items() if not key.startswith("WEFT_STORE")}
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            # Do not import weft's modules from the current folder.
            "-P",
            "-m",
            "weft.cli.main",
            *words,
            env=env | parent_death.child_environment(),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            # Ctrl-C in the terminal reaches only this process, which stops the others in order.
            start_new_session=True,
            limit=_LINE_BYTES,
        )
        return _Child(name, words, process, colour, self._width)

    def _gone(self) -> _Child | None:
        return next((child for child in self._children if child.process.returncode is not None), None)

    async def _until_over(self) -> _Child | None:
        """Wait for a stop signal (returns None) or for a child's exit. An agent that asks for a restart is started again."""
        from weft.agent.errors import RESTART_STATUS

        while True:
            await self._until_change()
            if self._stop.is_set():
                return None
            gone = self._gone()
            if gone is None or gone.process.returncode != RESTART_STATUS:
                return gone
            # End the processes that it has left behind.
            gone.kill()
            await gone.reader
            remark(f"{gone.name} is started again")
            self._children[self._children.index(gone)] = await self._started(
                gone.name, gone.words, gone.colour
            )

    async def _until_change(self) -> None:
        waits = [asyncio.create_task(child.process.wait()) for child in self._children]
        stop = asyncio.create_task(self._stop.wait())
        try:
            await asyncio.wait([stop, *waits], return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (stop, *waits):
                task.cancel()

    async def _stop_all(self) -> None:
        # Agents first: they release and report their attempts to the coordinator.
        await asyncio.gather(*(child.stop() for child in self._children[1:]))
        for child in self._children[:1]:
            await child.stop()


def _tls_of_files() -> Tls | None:
    """The certificates of a client, if files may have them; None: as the environment says."""
    if in_force() is None:
        return None
    from weft.cli.process.client_settings import client_settings

    return client_settings().tls


def _read(file: Path) -> str:
    """The text of a file; empty while the file does not exist."""
    return file.read_text().strip() if file.exists() else ""


def readable(text: str) -> str:
    """A JSON log line as plain text; any other line unchanged."""
    if not text.startswith("{"):
        return text
    try:
        entry: dict[str, Any] = bounded_json.loads(text)
    except ValueError:
        return text
    event = entry.pop("event", None)
    if event is None:
        return text
    moment = str(entry.pop("timestamp", ""))[11:23]
    level = str(entry.pop("level", "info"))
    exception = entry.pop("exception", "")
    facts = "".join(f" {key}={value}" for key, value in entry.items())
    return f"{moment} {level:<7} {event}{facts}" + (f"\n{exception}" if exception else "")
