"""A server that follows the published API of E2B, as far as their SDK uses it here: sandboxes by REST, and processes in them by envd's Connect RPC (`process.Process`, JSON).
Its sandboxes are run by bubblewrap; see container_runtime for what is not held. As there, connections to a sandbox are lost when it is paused."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import itertools
import json
import signal
from typing import Any, Self

from aiohttp import web

from tests.support.container_runtime import RunningContainer

_STAY = "import signal; signal.signal(signal.SIGCHLD, signal.SIG_IGN)\nwhile True: signal.pause()"
KEY = "e2b_" + "ab" * 20


class _Process:
    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.told: asyncio.Queue[dict[str, Any]] = asyncio.Queue(16)
        self.unsent: dict[str, Any] | None = None


class E2bDouble:
    """The server. Ends its sandboxes when it ends."""

    def __init__(self) -> None:
        self.url = ""
        self.sandboxes: dict[str, dict[str, Any]] = {}
        # What sandboxes were made with.
        self.made: list[dict[str, Any]] = []
        # Statuses with which REST calls are answered, by the end of their path.
        self.answers: dict[str, int] = {}
        self._numbers = itertools.count(100)
        self._runner: web.AppRunner | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        app = web.Application(middlewares=[self._check])
        app.router.add_post("/sandboxes", self._create)
        app.router.add_delete("/sandboxes/{id}", self._kill)
        app.router.add_post("/sandboxes/{id}/timeout", self._timeout)
        app.router.add_post("/sandboxes/{id}/pause", self._pause)
        app.router.add_post("/sandboxes/{id}/connect", self._connect)
        for name, handler in {
            "Start": self._start,
            "Connect": self._rejoin,
            "SendInput": self._input,
            "SendSignal": self._signal,
        }.items():
            app.router.add_post(f"/process.Process/{name}", handler)
        # 0 would be for ever.
        self._runner = web.AppRunner(app, shutdown_timeout=0.2)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        for name in list(self.sandboxes):
            await self.end(name)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        assert self._runner is not None
        await self._runner.cleanup()

    async def end(self, name: str) -> None:
        """As by its time, or from outside."""
        found = self.sandboxes.pop(name)
        self.cut(found)
        await found["container"].end()

    def cut(self, found: dict[str, Any]) -> None:
        """All its connections break."""
        for each in found["streams"]:
            each.abort()
        found["streams"].clear()

    @web.middleware
    async def _check(self, request: web.Request, handler: Any) -> web.StreamResponse:
        rest = request.path.startswith("/sandboxes")
        if rest and request.headers.get("X-API-Key") != KEY:
            return web.json_response({"code": 401, "message": "bad key"}, status=401)
        for path, code in self.answers.items():
            if request.path.endswith(path):
                return web.json_response({"code": code, "message": "refused"}, status=code)
        name = request.match_info.get("id") if rest else request.headers["E2b-Sandbox-Id"]
        if name is not None and name not in self.sandboxes:
            return web.json_response({"code": 404, "message": "sandbox not found"}, status=404)
        return await handler(request)

    async def _create(self, request: web.Request) -> web.Response:
        asked = await request.json()
        self.made.append(asked)
        name = f"i{next(self._numbers)}"
        sizes = {"/work": 4 << 20, "/tmp": 4 << 20}
        container = await RunningContainer.start(["python3", "-I", "-S", "-c", _STAY], {}, sizes)
        self.sandboxes[name] = {
            "container": container,
            "envs": asked["envVars"],
            "processes": {},
            "streams": [],
            "paused": False,
        }
        return web.json_response(self._view(name), status=201)

    def _view(self, name: str) -> dict[str, Any]:
        token = {"envdAccessToken": "t", "clientID": "c", "templateID": "base"}
        return {"sandboxID": name, "envdVersion": "0.4.0", "domain": None} | token

    async def _kill(self, request: web.Request) -> web.Response:
        await self.end(request.match_info["id"])
        return web.Response(status=204)

    async def _timeout(self, request: web.Request) -> web.Response:
        assert (await request.json())["timeout"] > 0
        return web.Response(status=204)

    async def _pause(self, request: web.Request) -> web.Response:
        found = self.sandboxes[request.match_info["id"]]
        found["paused"] = True
        found["container"].signal_all(signal.SIGSTOP)
        self.cut(found)
        return web.Response(status=204)

    async def _connect(self, request: web.Request) -> web.Response:
        found = self.sandboxes[request.match_info["id"]]
        found["paused"] = False
        found["container"].signal_all(signal.SIGCONT)
        return web.json_response(self._view(request.match_info["id"]), status=200)

    # -- envd -----------------------------------------------------------------------------------------------------

    def _of(self, request: web.Request) -> dict[str, Any]:
        return self.sandboxes[request.headers["E2b-Sandbox-Id"]]

    async def _start(self, request: web.Request) -> web.StreamResponse:
        found, asked = self._of(request), _unpacked(await request.read())["process"]
        variables = found["envs"] | asked.get("envs", {})
        process = await found["container"].run([asked["cmd"], *asked["args"]], variables)
        made, number = _Process(process), next(self._numbers)
        found["processes"][number] = made
        self._go(self._pump(found, made))
        return await self._stream(request, found, number)

    async def _rejoin(self, request: web.Request) -> web.StreamResponse:
        asked = _unpacked(await request.read())
        return await self._stream(request, self._of(request), int(asked["process"]["pid"]))

    async def _pump(self, found: dict[str, Any], made: _Process) -> None:
        async def give(kind: str, source: asyncio.StreamReader | None) -> None:
            assert source is not None
            while data := await source.read(16384):
                await made.told.put({"data": {kind: base64.b64encode(data).decode()}})

        await asyncio.gather(give("stdout", made.process.stdout), give("stderr", made.process.stderr))
        found["container"].go_on()
        code = await made.process.wait()
        await made.told.put({"end": {"exitCode": code if code >= 0 else 128 - code, "exited": True}})

    async def _stream(self, request: web.Request, found: dict[str, Any], number: int) -> web.StreamResponse:
        made = found["processes"][number]
        answer = web.StreamResponse(headers={"Content-Type": "application/connect+json"})
        await answer.prepare(request)
        assert request.transport is not None
        found["streams"].append(request.transport)
        await answer.write(_packed({"event": {"start": {"pid": number}}}))
        try:
            while True:
                if made.unsent is None:
                    made.unsent = await made.told.get()
                event = made.unsent
                await answer.write(_packed({"event": event}))
                made.unsent = None
                if "end" in event:
                    del found["processes"][number]
                    await answer.write(_packed({}, 2))
                    return answer
        except ConnectionError:
            return answer

    async def _input(self, request: web.Request) -> web.Response:
        asked = await request.json()
        made = self._of(request)["processes"].get(int(asked["process"]["pid"]))
        if made is None:
            return web.json_response({"code": "not_found", "message": "no process"}, status=404)
        with contextlib.suppress(ConnectionError):
            made.process.stdin.write(base64.b64decode(asked["input"]["stdin"]))
            await made.process.stdin.drain()
        return web.json_response({})

    async def _signal(self, request: web.Request) -> web.Response:
        return web.json_response({})

    def _go(self, work: Any) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _unpacked(data: bytes) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(data[5:])
    return found


def _packed(message: dict[str, Any], flags: int = 0) -> bytes:
    data = json.dumps(message).encode()
    return bytes([flags]) + len(data).to_bytes(4, "big") + data
