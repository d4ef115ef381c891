"""A server that follows the published API of Kubernetes (core/v1, pods), as far as pools and the hardware service use it, without a cluster behind it: pods are states."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Self

from aiohttp import web


class KubernetesApiDouble:
    """The server. `config` is the text of a KUBECONFIG."""

    def __init__(self) -> None:
        self.pods: dict[str, dict[str, Any]] = {}
        # Answers every list with this status.
        self.refuses = 0
        self._runner: web.AppRunner | None = None
        self.address = ""

    async def __aenter__(self) -> Self:
        app = web.Application()
        self.add_routes(app)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.address = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    def add_routes(self, app: web.Application) -> None:
        pods = "/api/v1/namespaces/{space}/pods"
        app.router.add_get(pods, self._list)
        app.router.add_get("/api/v1/pods", self._list)
        app.router.add_post(pods, self._create)
        app.router.add_delete(pods + "/{name}", self._delete)

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
                    "clusters": [{**named, "cluster": {"server": self.address}}],
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
        if self.refuses:
            return status_answer(self.refuses, "Refused")
        found = list(self.pods.values())
        if "labelSelector" in request.query:
            name, _, value = request.query["labelSelector"].partition("=")
            found = [pod for pod in found if pod["metadata"]["labels"].get(name) == value]
        if "fieldSelector" in request.query:
            node = request.query["fieldSelector"].removeprefix("spec.nodeName=")
            found = [pod for pod in found if pod["spec"].get("nodeName") == node]
        space = request.match_info.get("space")
        found = [pod for pod in found if space in (None, pod["metadata"].get("namespace", space))]
        first, limit = int(request.query.get("continue") or 0), int(request.query.get("limit") or 500)
        rest = str(first + limit) if len(found) > first + limit else ""
        page = {"metadata": {"continue": rest}, "items": found[first : first + limit]}
        return web.json_response({"apiVersion": "v1", "kind": "PodList"} | page)

    async def _create(self, request: web.Request) -> web.Response:
        pod = await request.json()
        name = pod["metadata"]["name"]
        if name in self.pods:
            return status_answer(409, "AlreadyExists")
        self.pods[name] = pod | {"status": {"phase": "Running"}}
        return web.json_response(self.pods[name], status=201)

    async def _delete(self, request: web.Request) -> web.Response:
        if self.pods.pop(request.match_info["name"], None) is None:
            return status_answer(404, "NotFound")
        return status_answer(200, "")


def status_answer(code: int, reason: str) -> web.Response:
    body = {
        "apiVersion": "v1",
        "kind": "Status",
        "status": "Success" if code == 200 else "Failure",
        "reason": reason,
    }
    return web.json_response(body | {"code": code}, status=code)
