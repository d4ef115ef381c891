"""A server that follows the published HTTP API of a Consul agent, as far as weft uses it: the catalogue of its own services, TTL checks that end, and queries that wait
for an index. Without a cluster behind it."""

from __future__ import annotations

import asyncio
import time
from typing import Any, Self

from aiohttp import web


class ConsulDouble:
    """The server. `target` is the URL of a source."""

    def __init__(self) -> None:
        self.services: dict[str, dict[str, Any]] = {}
        # When a TTL check was last told that its service lives.
        self.passed_at_s: dict[str, float] = {}
        self.tokens: list[str] = []
        self.queries: list[dict[str, str]] = []
        # Answers instead of the API, if set.
        self.instead: web.Response | None = None
        self.index = 10
        self.port = 0
        self._changed = asyncio.Event()
        self._runner: web.AppRunner | None = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def start(self) -> None:
        """Serve; on the same port, if it has served before."""
        app = web.Application(middlewares=[self._watched])
        app.router.add_get("/v1/health/service/{name}", self._health)
        app.router.add_get("/v1/agent/service/{id}", self._service)
        app.router.add_put("/v1/agent/service/register", self._register)
        app.router.add_put("/v1/agent/service/deregister/{id}", self._deregister)
        app.router.add_put("/v1/agent/check/pass/{check}", self._pass)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self.port, reuse_address=True).start()
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        """End, with what it knows kept."""
        assert self._runner is not None
        runner, self._runner = self._runner, None
        await runner.cleanup()

    async def __aexit__(self, *_: object) -> None:
        if self._runner is not None:
            await self.stop()

    @property
    def server(self) -> str:
        return f"consul://127.0.0.1:{self.port}"

    @property
    def target(self) -> str:
        return f"{self.server}/weft"

    def put(self, *addresses: str, name: str = "weft", tags: tuple[str, ...] = ()) -> None:
        """Make these the only instances of a service."""
        self.services = {key: each for key, each in self.services.items() if each["Name"] != name}
        for address in addresses:
            host, _, port = address.rpartition(":")
            given = {
                "ID": f"{name}-{address}",
                "Name": name,
                "Address": host,
                "Port": int(port),
                "Tags": list(tags),
            }
            self.services[given["ID"]] = given
        self.change()

    def change(self) -> None:
        """There is something newer."""
        self.index += 1
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    def addresses(self, name: str) -> set[str]:
        """Of the healthy instances of a service."""
        return {f"{each['Address']}:{each['Port']}" for each in self._healthy(name)}

    def _healthy(self, name: str) -> list[dict[str, Any]]:
        return [each for each in self.services.values() if each["Name"] == name and self._lives(each)]

    def _lives(self, service: dict[str, Any]) -> bool:
        ttl = (service.get("Check") or {}).get("TTL")
        if not ttl:
            return True
        return time.monotonic() - self.passed_at_s[service["ID"]] < float(ttl.removesuffix("s"))

    @web.middleware
    async def _watched(self, request: web.Request, handler: Any) -> web.StreamResponse:
        self.tokens.append(request.headers.get("X-Consul-Token", ""))
        self.queries.append(dict(request.query))
        if self.instead is not None:
            await asyncio.sleep(0)
            made, answer = self.instead, web.Response(status=self.instead.status, body=self.instead.body)
            answer.headers.update(
                {key: value for key, value in made.headers.items() if key != "Content-Length"}
            )
            return answer
        found: web.StreamResponse = await handler(request)
        return found

    async def _health(self, request: web.Request) -> web.Response:
        asked = int(request.query.get("index") or 0)
        wait_s = float(request.query.get("wait", "300s").removesuffix("s"))
        if asked and asked >= self.index:
            try:
                async with asyncio.timeout(wait_s):
                    await self._changed.wait()
            except TimeoutError:
                pass
        tags = set(request.query.getall("tag", []))
        found = [
            each for each in self._healthy(request.match_info["name"]) if tags <= set(each.get("Tags") or ())
        ]
        body = [
            {"Node": {"Node": "n1", "Address": "127.0.0.1"}, "Service": as_told(each), "Checks": []}
            for each in found
        ]
        return web.json_response(body, headers={"X-Consul-Index": str(self.index)})

    async def _service(self, request: web.Request) -> web.Response:
        found = self.services.get(request.match_info["id"])
        if found is None:
            return web.Response(status=404, text="unknown service ID")
        return web.json_response(as_told(found))

    async def _register(self, request: web.Request) -> web.Response:
        given = await request.json()
        if not given.get("Name"):
            return web.Response(status=400, text="Missing service name")
        self.services[given["ID"]] = given
        self.passed_at_s[given["ID"]] = time.monotonic()
        self.change()
        return web.Response()

    async def _deregister(self, request: web.Request) -> web.Response:
        if self.services.pop(request.match_info["id"], None) is None:
            return web.Response(status=404, text="Unknown service ID")
        self.change()
        return web.Response()

    async def _pass(self, request: web.Request) -> web.Response:
        service = request.match_info["check"].removeprefix("service:")
        if service not in self.services:
            return web.Response(status=404, text=f"Unknown check ID {request.match_info['check']!r}")
        self.passed_at_s[service] = time.monotonic()
        return web.Response()


def as_told(given: dict[str, Any]) -> dict[str, Any]:
    """A service as it is read."""
    return {
        "ID": given["ID"],
        "Service": given["Name"],
        "Tags": given.get("Tags") or [],
        "Address": given.get("Address", ""),
        "Port": given.get("Port", 0),
        "Meta": given.get("Meta") or {},
    }
