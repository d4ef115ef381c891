"""The API of EndpointSlices (discovery.k8s.io/v1) as Kubernetes publishes it, as far as weft uses it: lists, watches, server-side apply and deletion. Without a cluster."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from aiohttp import web

from tests.support.kubernetes_api import KubernetesApiDouble, status_answer

_PATH = "/apis/discovery.k8s.io/v1/namespaces/{space}/endpointslices"


class EndpointSlicesDouble(KubernetesApiDouble):
    """The server. Point KUBECONFIG at what `write_config` writes."""

    def __init__(self) -> None:
        super().__init__()
        self.slices: dict[str, dict[str, Any]] = {}
        self.version = 1
        self.shown: list[str] = []
        # Lines that each watch gets once, instead of events.
        self.lines: list[bytes] = []
        self._events: list[tuple[int, str, dict[str, Any]]] = []
        self._changed = asyncio.Event()
        self.watches = 0

    def add_routes(self, app: web.Application) -> None:
        super().add_routes(app)
        app.router.add_get(_PATH, self._slices)
        app.router.add_patch(_PATH + "/{name}", self._apply)
        app.router.add_delete(_PATH + "/{name}", self._remove)

    def put(self, *addresses: str, service: str = "weft") -> None:
        """Make these the ready addresses of a Service, in one slice that Kubernetes manages."""
        ports = sorted({int(each.rpartition(":")[2]) for each in addresses})
        body = {
            "metadata": {"name": f"{service}-abc", "labels": {"kubernetes.io/service-name": service}},
            "addressType": "IPv4",
            "ports": [{"name": "grpc", "port": port, "protocol": "TCP"} for port in ports],
            "endpoints": [
                {"addresses": [each.rpartition(":")[0]], "conditions": {"ready": True}} for each in addresses
            ],
        }
        self.store(body)

    def store(self, body: dict[str, Any]) -> bool:
        """Keep a slice; whether it is new."""
        name = body["metadata"]["name"]
        new = name not in self.slices
        self.version += 1
        body["metadata"]["resourceVersion"] = str(self.version)
        self.slices[name] = body
        self._tell("ADDED" if new else "MODIFIED", body)
        return new

    def addresses(self, service: str) -> set[str]:
        """Of the endpoints of a Service."""
        fitting = [
            each
            for each in self.slices.values()
            if each["metadata"]["labels"]["kubernetes.io/service-name"] == service
        ]
        return {
            f"{address}:{some['ports'][0]['port']}"
            for some in fitting
            for each in some["endpoints"]
            for address in each["addresses"]
        }

    def _tell(self, kind: str, body: dict[str, Any]) -> None:
        self._events.append((self.version, kind, body))
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    async def _slices(self, request: web.Request) -> web.StreamResponse:
        self.shown.append(request.headers.get("Authorization", ""))
        if self.refuses:
            return status_answer(self.refuses, "Forbidden")
        wanted = dict(part.split("=") for part in request.query.get("labelSelector", "").split(",") if part)
        if request.query.get("watch") == "true":
            return await self._watch(request, wanted)
        found = [each for each in self.slices.values() if _fits(each, wanted)]
        body = {
            "kind": "EndpointSliceList",
            "metadata": {"resourceVersion": str(self.version)},
            "items": found,
        }
        return web.json_response(body)

    async def _watch(self, request: web.Request, wanted: dict[str, str]) -> web.StreamResponse:
        self.watches += 1
        answer = web.StreamResponse(headers={"Content-Type": "application/json"})
        await answer.prepare(request)
        seen = int(request.query["resourceVersion"])
        if self.lines:
            await answer.write(self.lines.pop(0) + b"\n")
        while True:
            for version, kind, body in list(self._events):
                if version > seen and _fits(body, wanted):
                    seen = version
                    await answer.write(json.dumps({"type": kind, "object": body}).encode() + b"\n")
            await self._changed.wait()

    async def _apply(self, request: web.Request) -> web.Response:
        self.shown.append(request.headers.get("Authorization", ""))
        if self.refuses:
            return status_answer(self.refuses, "Forbidden")
        if request.content_type != "application/apply-patch+yaml" or "fieldManager" not in request.query:
            return status_answer(415, "UnsupportedMediaType")
        body = json.loads(await request.read())
        if (
            body["metadata"]["name"] != request.match_info["name"]
            or body["apiVersion"] != "discovery.k8s.io/v1"
        ):
            return status_answer(400, "BadRequest")
        return web.json_response(body, status=201 if self.store(body) else 200)

    async def _remove(self, request: web.Request) -> web.Response:
        body = self.slices.pop(request.match_info["name"], None)
        if body is None:
            return status_answer(404, "NotFound")
        self.version += 1
        self._tell("DELETED", body)
        return status_answer(200, "")


def _fits(body: dict[str, Any], wanted: dict[str, str]) -> bool:
    labels = body["metadata"].get("labels") or {}
    return all(labels.get(name) == value for name, value in wanted.items())
