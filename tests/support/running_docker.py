"""A server that follows the published API of the Docker engine (1.41), whose containers run: programs in them, their input and output on connections that are taken over, pause,
and removal when process 1 ends. See container_runtime for what is not held."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import signal
from typing import Any

from aiohttp import web

from tests.support.container_runtime import RunningContainer
from tests.support.docker_engine import DockerEngineDouble

_UPGRADED = (
    b"HTTP/1.1 101 UPGRADED\r\nContent-Type: application/vnd.docker.raw-stream\r\n"
    b"Connection: Upgrade\r\nUpgrade: tcp\r\n\r\n"
)
_UNITS = {"m": 1 << 20, "k": 1 << 10, "g": 1 << 30}


class RunningDockerDouble(DockerEngineDouble):
    """The server. Ends its containers when it ends."""

    def __init__(self) -> None:
        super().__init__()
        # What containers were made with, by name.
        self.configs: dict[str, dict[str, Any]] = {}
        self._running: dict[str, RunningContainer] = {}
        self._started: dict[str, asyncio.Event] = {}
        self._execs: dict[str, dict[str, Any]] = {}
        self._exec_numbers = itertools.count(1)
        self._tasks: set[asyncio.Task[None]] = set()

    def add_routes(self, app: web.Application, prefix: str) -> None:
        super().add_routes(app, prefix)
        app.router.add_post(f"{prefix}/containers/{{name}}/attach", self._attach)
        app.router.add_post(f"{prefix}/containers/{{name}}/exec", self._exec)
        app.router.add_post(f"{prefix}/exec/{{exec}}/start", self._exec_start)
        app.router.add_get(f"{prefix}/exec/{{exec}}/json", self._exec_inspect)

    async def __aexit__(self, *about: object) -> None:
        for each in list(self._running.values()):
            await each.end()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await super().__aexit__(*about)

    async def end_container(self, number: str) -> None:
        """End one from outside."""
        await self._running[number].end()

    async def _create(self, request: web.Request) -> web.Response:
        answer = await super()._create(request)
        if answer.status == 201:
            self.configs[request.query["name"]] = await request.json()
        return answer

    async def _start(self, request: web.Request) -> web.Response:
        found = self._found(request)
        config = self.configs[found["Names"][0].removeprefix("/")]
        sizes = {}
        for path, options in config["HostConfig"]["Tmpfs"].items():
            size = dict(each.partition("=")[::2] for each in options.split(","))["size"]
            sizes[path] = int(size[:-1]) * _UNITS[size[-1]]
        variables = dict(each.split("=", 1) for each in config["Env"])
        made = await RunningContainer.start([*config["Entrypoint"], *config["Cmd"]], variables, sizes)
        self._running[found["Id"]] = made
        self._go(self._follow(found["Id"], made))
        answer = await super()._start(request)
        self._started.setdefault(found["Id"], asyncio.Event()).set()
        return answer

    async def _follow(self, number: str, made: RunningContainer) -> None:
        """As AutoRemove."""
        await made.first.wait()
        del self._running[number]
        self.containers.pop(number, None)

    async def _pause(self, request: web.Request) -> web.Response:
        answer = await super()._pause(request)
        if answer.status == 204:
            stops = not request.path.endswith("/unpause")
            self._running[self._found(request)["Id"]].signal_all(signal.SIGSTOP if stops else signal.SIGCONT)
        return answer

    async def _delete(self, request: web.Request) -> web.Response:
        running = self._running.get(self._found(request)["Id"])
        if running is not None:
            await running.end()
            return web.Response(status=204)
        return await super()._delete(request)

    async def _attach(self, request: web.Request) -> web.Response:
        number = self._found(request)["Id"]
        wire = await _take_over(request)
        await self._started.setdefault(number, asyncio.Event()).wait()
        await _join(wire, self._running[number].first)
        return web.Response()

    async def _exec(self, request: web.Request) -> web.Response:
        found, asked = self._found(request), await request.json()
        if found["State"] != "running":
            return web.json_response({"message": f"container is {found['State']}"}, status=409)
        number = f"{next(self._exec_numbers):064x}"
        self._execs[number] = {"Running": False, "ExitCode": None, "asked": asked, "at": found["Id"]}
        return web.json_response({"Id": number}, status=201)

    async def _exec_start(self, request: web.Request) -> web.Response:
        await request.read()
        made = self._execs[request.match_info["exec"]]
        # Entering is what a real one's runtime does.
        variables = dict(
            each.split("=", 1) for each in self._variables(made["at"]) + (made["asked"]["Env"] or [])
        )
        process = await self._running[made["at"]].run(made["asked"]["Cmd"], variables)
        made["Running"] = True
        try:
            await _join(await _take_over(request), process)
        finally:
            made["ExitCode"], made["Running"] = await process.wait(), False
        return web.Response()

    def _variables(self, number: str) -> list[str]:
        return list(self.configs[self.containers[number]["Names"][0].removeprefix("/")]["Env"])

    async def _exec_inspect(self, request: web.Request) -> web.Response:
        made = self._execs[request.match_info["exec"]]
        return web.json_response(
            {"Running": made["Running"], "ExitCode": made["ExitCode"], "ProcessConfig": {"tty": False}}
        )

    def _go(self, work: Any) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


async def _take_over(request: web.Request) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """The connection of a request, without HTTP from now on."""
    loop, transport = asyncio.get_running_loop(), request.transport
    assert transport is not None
    reader = asyncio.StreamReader()
    protocol = asyncio.StreamReaderProtocol(reader)
    transport.set_protocol(protocol)
    protocol.connection_made(transport)
    writer = asyncio.StreamWriter(transport, protocol, reader, loop)
    writer.write(_UPGRADED)
    return reader, writer


async def _join(
    wire: tuple[asyncio.StreamReader, asyncio.StreamWriter], process: asyncio.subprocess.Process
) -> None:
    """Input and output of a process on a connection, until it has ended."""
    reader, writer = wire
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None

    async def take(stdin: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(65536):
                stdin.write(data)
                await stdin.drain()
        stdin.close()

    async def give(kind: int, source: asyncio.StreamReader) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await source.read(65536):
                writer.write(bytes([kind, 0, 0, 0]) + len(data).to_bytes(4, "big") + data)
                await writer.drain()

    taking = asyncio.ensure_future(take(process.stdin))
    await asyncio.gather(give(1, process.stdout), give(2, process.stderr))
    taking.cancel()
    writer.close()
