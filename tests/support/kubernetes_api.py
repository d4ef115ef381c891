"""A server that follows the published API of Kubernetes (core/v1, pods), as far as pools use it, without a cluster behind it: pods are states."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Self

from aiohttp import web


class KubernetesApiDouble:
    """The server. `config` is the text of a KUBECONFIG."""

    def __init__(self) -> None:
        self.pods: dict[str, dict[str, Any]] = {}
        self._runner: web.AppRunner | None = None
        self._address = ""

    async def __aenter__(self) -> Self:
        app = web.Application()
        pods = "/api/v1/namespaces/{space}/pods"
        app.router.add_get(pods, self._list)
        app.router.add_post(pods, self._create)
        app.router.add_delete(pods + "/{name}", self._delete)
        self._runner = web.AppRunner(app)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self._address = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._runner is not None
        await self._runner.cleanup()

    def write_config(self, path: Path) -> None:
        named = {"name": "test"}
        path.write_text(
            json.dumps(
                {
                    "apiVersion": "v1",
                    "kind": "Config",
                    "current-context": "test",
                    "clusters": [{**named, "cluster": {"server": self._address}}],
                    "users": [{**named, "user": {"token": "t"}}],
                    "contexts": [{**named, "context": {"cluster": "test", "user": "test"}}],
                }
            )
        )

    def end(self, member_id: str) -> None:
        """End a member's pod from outside."""
        for pod in self.pods.values():
            if pod["metadata"]["labels"]["weft.dev/member"] == member_id:
                ended = {"exitCode": 137, "reason": "OOMKilled"}
                state = {"name": "agent", "state": {"terminated": ended}, "ready": False, "restartCount": 0}
                state |= {"image": "i", "imageID": "i"}
                pod["status"] = {"phase": "Failed", "containerStatuses": [state]}

    async def _list(self, request: web.Request) -> web.Response:
        name, _, value = request.query["labelSelector"].partition("=")
        found = [pod for pod in self.pods.values() if pod["metadata"]["labels"].get(name) == value]
        return web.json_response({"apiVersion": "v1", "kind": "PodList", "metadata": {}, "items": found})

    async def _create(self, request: web.Request) -> web.Response:
        pod = await request.json()
        name = pod["metadata"]["name"]
        if name in self.pods:
            return _status(409, "AlreadyExists")
        self.pods[name] = pod | {"status": {"phase": "Running"}}
        return web.json_response(self.pods[name], status=201)

    async def _delete(self, request: web.Request) -> web.Response:
        if self.pods.pop(request.match_info["name"], None) is None:
            return _status(404, "NotFound")
        return _status(200, "")


def _status(code: int, reason: str) -> web.Response:
    body = {
        "apiVersion": "v1",
        "kind": "Status",
        "status": "Success" if code == 200 else "Failure",
        "reason": reason,
    }
    return web.json_response(body | {"code": code}, status=code)
