"""A server that follows the published API of the Docker engine (1.41), as far as pools and the hardware service use it, without an engine behind it: containers are
states. SIGTERM ends one, but for images named "stubborn"."""

from __future__ import annotations

import itertools
import json
import time
from typing import Any, Self

from aiohttp import web


class DockerEngineDouble:
    """The server. `url` is for DOCKER_HOST."""

    def __init__(self) -> None:
        self.containers: dict[str, dict[str, Any]] = {}
        self.images: set[str] = set()
        # What /stats answers, by container id; others answer 404.
        self.stats: dict[str, dict[str, Any]] = {}
        self._numbers = itertools.count(1)
        self._runner: web.AppRunner | None = None
        self.url = ""

    async def __aenter__(self) -> Self:
        app = web.Application()
        for prefix in ("", "/{version:v[0-9.]+}"):
            self.add_routes(app, prefix)
        self._runner = web.AppRunner(app)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"tcp://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    def add_routes(self, app: web.Application, prefix: str) -> None:
        """What it answers."""
        app.router.add_get(f"{prefix}/version", self._version)
        app.router.add_get(f"{prefix}/containers/json", self._list)
        app.router.add_post(f"{prefix}/containers/create", self._create)
        app.router.add_get(f"{prefix}/containers/{{name}}/json", self._inspect)
        app.router.add_get(f"{prefix}/containers/{{name}}/logs", self._logs)
        app.router.add_get(f"{prefix}/containers/{{name}}/stats", self._stats)
        app.router.add_post(f"{prefix}/containers/{{name}}/start", self._start)
        app.router.add_post(f"{prefix}/containers/{{name}}/kill", self._kill)
        app.router.add_post(f"{prefix}/containers/{{name}}/pause", self._pause)
        app.router.add_post(f"{prefix}/containers/{{name}}/unpause", self._pause)
        app.router.add_delete(f"{prefix}/containers/{{name}}", self._delete)
        app.router.add_post(f"{prefix}/images/create", self._pull)

    async def __aexit__(self, *_: object) -> None:
        assert self._runner is not None
        await self._runner.cleanup()

    def end(self, member_id: str) -> None:
        """End a member's container from outside."""
        for each in self.containers.values():
            if each["Labels"]["weft.member"] == member_id:
                each["State"], each["Status"] = "exited", "Exited (137) 1 second ago"

    def _found(self, request: web.Request) -> dict[str, Any]:
        name = request.match_info["name"]
        for each in self.containers.values():
            if name in (each["Id"], each["Names"][0].removeprefix("/")):
                return each
        raise web.HTTPNotFound(
            text=json.dumps({"message": f"No such container: {name}"}), content_type="application/json"
        )

    async def _version(self, _: web.Request) -> web.Response:
        return web.json_response({"ApiVersion": "1.41", "Version": "20.10"})

    async def _list(self, request: web.Request) -> web.Response:
        filters = json.loads(request.query.get("filters", "{}"))
        wanted = dict(text.split("=") for text in filters.get("label", ()))
        every = request.query.get("all", "0").lower() in {"1", "true"}
        found = [
            each
            for each in self.containers.values()
            if wanted.items() <= each["Labels"].items() and (every or each["State"] == "running")
        ]
        statuses = filters.get("status", ("created", "running", "paused", "exited"))
        return web.json_response([each for each in found if each["State"] in statuses])

    async def _create(self, request: web.Request) -> web.Response:
        config, name = await request.json(), f"/{request.query['name']}"
        if config["Image"] not in self.images:
            return web.json_response({"message": f"No such image: {config['Image']}"}, status=404)
        if any(each["Names"] == [name] for each in self.containers.values()):
            return web.json_response({"message": "Conflict. The container name is in use"}, status=409)
        made = f"{next(self._numbers):064x}"
        self.containers[made] = {
            "Id": made,
            "Names": [name],
            "Image": config["Image"],
            "Labels": config["Labels"],
            "Env": config["Env"],
            "State": "created",
            "Status": "Created",
            "Created": int(time.time()),
        }
        return web.json_response({"Id": made, "Warnings": []}, status=201)

    async def _inspect(self, request: web.Request) -> web.Response:
        found = self._found(request)
        return web.json_response(
            {"Id": found["Id"], "State": {"Status": found["State"]}, "Config": {"Tty": False}}
        )

    async def _logs(self, request: web.Request) -> web.Response:
        self._found(request)
        words = b"its last words\n"
        return web.Response(
            body=b"\x01\0\0\0" + len(words).to_bytes(4) + words,
            content_type="application/vnd.docker.multiplexed-stream",
        )

    async def _stats(self, request: web.Request) -> web.Response:
        found = self.stats.get(self._found(request)["Id"])
        return web.json_response(found or {"message": "gone"}, status=200 if found else 404)

    async def _start(self, request: web.Request) -> web.Response:
        found = self._found(request)
        found["State"], found["Status"] = "running", "Up 1 second"
        return web.Response(status=204)

    async def _kill(self, request: web.Request) -> web.Response:
        found = self._found(request)
        if found["State"] != "running":
            return web.json_response({"message": "is not running"}, status=409)
        if request.query["signal"] == "SIGKILL" or "stubborn" not in found["Image"]:
            found["State"], found["Status"] = "exited", "Exited (143) 1 second ago"
        return web.Response(status=204)

    async def _pause(self, request: web.Request) -> web.Response:
        found = self._found(request)
        before, after = ("paused", "running") if request.path.endswith("/unpause") else ("running", "paused")
        if found["State"] != before:
            return web.json_response({"message": f"is not {before}"}, status=409)
        found["State"] = after
        return web.Response(status=204)

    async def _delete(self, request: web.Request) -> web.Response:
        found = self._found(request)
        if found["State"] == "running" and "force" not in request.query:
            return web.json_response({"message": "You cannot remove a running container"}, status=409)
        del self.containers[found["Id"]]
        return web.Response(status=204)

    async def _pull(self, request: web.Request) -> web.Response:
        name = request.query["fromImage"]
        self.images |= {name, f"{name}:{request.query.get('tag', 'latest')}"}
        return web.Response(
            text=json.dumps({"status": "Pull complete"}) + "\n", content_type="application/json"
        )
