"""A server that follows the published API of Kubernetes (core/v1 pods with exec and attach, network policies) and of agent-sandbox (`Sandbox`, agents.x-k8s.io), whose pods run:
programs in them, by websockets of v4.channel.k8s.io. Whoever calls has the rights of deploy/kubernetes/sandboxes.yaml. The part of agent-sandbox's controller is a pod for each
resource. See container_runtime for what is not held."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import json
import re
from pathlib import Path
from typing import Any

import yaml
from aiohttp import WSMsgType, web

from tests.support.container_runtime import RunningContainer
from tests.support.kubernetes_api import KubernetesApiDouble, status_answer

_PROTOCOL = "v4.channel.k8s.io"
_UNITS = {"Mi": 1 << 20, "Ki": 1 << 10, "Gi": 1 << 30}
_GROUP = "/apis/agents.x-k8s.io/{version}"
MANIFESTS = Path(__file__).parents[2] / "deploy/kubernetes/sandboxes.yaml"
# Of a path: the group, and what is in it. With a name a GET is "get", else "list".
_USED = re.compile(
    r"/(?:api|apis/(?P<group>[^/]+))/v\w+/namespaces/(?P<space>[^/]+)/(?P<kind>[a-z]+)(?:/(?P<name>[^/]+))?(?:/(?P<sub>\w+))?"
)
_VERBS = {"POST": "create", "DELETE": "delete"}


class RunningKubernetesDouble(KubernetesApiDouble):
    """The server. Ends its pods when it ends.

    Args:
        versions: of agent-sandbox that are installed.
    """

    def __init__(self, versions: tuple[str, ...] = ("v1alpha1",)) -> None:
        super().__init__()
        self.versions = versions
        self.resources: dict[str, dict[str, Any]] = {}
        # What pods were made with, by name, also of those that are gone.
        self.made: dict[str, dict[str, Any]] = {}
        self.posted: list[dict[str, Any]] = []
        self.manifests = list(yaml.safe_load_all(MANIFESTS.read_text(encoding="utf-8")))
        self.all_policies = {
            each["metadata"]["name"]: each["spec"]
            for each in self.manifests
            if each["kind"] == "NetworkPolicy"
        }
        self.policies = self.all_policies
        # Answers nothing.
        self.silent = False
        self._over = asyncio.Event()
        # Pods stay in this state, which is that of a container.
        self.waiting: dict[str, str] | None = None
        # Statuses with which the calls of these methods and paths are answered.
        self.answers: dict[tuple[str, str], int] = {}
        # Output of programs breaks off after so many bytes.
        self.cut_after = 0
        # Paths of exec and attach, with what is asked.
        self.asked: list[str] = []
        self.sockets: dict[str, list[tuple[str, web.WebSocketResponse]]] = {}
        self._running: dict[str, RunningContainer] = {}
        self._ended: set[str] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    def add_routes(self, app: web.Application) -> None:
        super().add_routes(app)
        app.middlewares.append(self._fault)
        pod = "/api/v1/namespaces/{space}/pods/{name}"
        app.router.add_get(pod, self._get)
        app.router.add_get(pod + "/exec", self._exec)
        app.router.add_get(pod + "/attach", self._attach)
        policy = "/apis/networking.k8s.io/v1/namespaces/{space}/networkpolicies/{name}"
        app.router.add_get(policy, self._policy)
        app.router.add_get(_GROUP, self._discover)
        resources = _GROUP + "/namespaces/{space}/sandboxes"
        app.router.add_get(resources, self._list_resources)
        app.router.add_post(resources, self._create_resource)
        app.router.add_delete(resources + "/{name}", self._delete_resource)

    async def __aexit__(self, *about: object) -> None:
        self._over.set()
        for name in list(self._running):
            await self.end(name)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await super().__aexit__(*about)

    # -- from outside ---------------------------------------------------------------------------------------------

    async def end(self, name: str) -> None:  # type: ignore[override]
        """Its process 1 ends."""
        self._ended.add(name)
        await self._running[name].end()

    async def evict(self, name: str) -> None:
        """As a node does that lacks memory."""
        self.pods[name]["status"] |= {"phase": "Failed", "reason": "Evicted", "message": "low on memory"}
        await self.end(name)

    def cut(self, name: str, kind: str) -> None:
        """All connections of a kind ("exec", "attach") break."""
        for of, socket in self.sockets.get(name, []):
            if of == kind:
                _abort(socket)

    # -- the API --------------------------------------------------------------------------------------------------

    @web.middleware
    async def _fault(self, request: web.Request, handler: Any) -> web.StreamResponse:
        if self.silent:
            await self._over.wait()
        if not self._may(request):
            return status_answer(403, "Forbidden")
        for (method, path), code in self.answers.items():
            if request.method == method and re.search(path, request.path):
                return status_answer(code, "Refused")
        return await handler(request)

    def _may(self, request: web.Request) -> bool:
        """As the manifests' role says."""
        found = _USED.fullmatch(request.path)
        if found is None:
            return True
        verb = _VERBS.get(request.method) or ("get" if found["name"] else "list")
        kind = found["kind"] + (f"/{found['sub']}" if found["sub"] else "")
        (role,) = (each for each in self.manifests if each["kind"] == "Role")
        return found["space"] == role["metadata"]["namespace"] and any(
            (found["group"] or "") in rule["apiGroups"]
            and kind in rule["resources"]
            and verb in rule["verbs"]
            and found["name"] in rule.get("resourceNames", [found["name"]])
            for rule in role["rules"]
        )

    async def _create(self, request: web.Request) -> web.Response:
        pod = await request.json()
        if pod["metadata"]["name"] in self.pods:
            return status_answer(409, "AlreadyExists")
        return web.json_response(self._add(pod), status=201)

    def _add(self, pod: dict[str, Any]) -> dict[str, Any]:
        name = pod["metadata"]["name"]
        pod["metadata"]["creationTimestamp"] = _now()
        container = {"name": "sandbox", "image": "i", "imageID": "", "ready": False, "restartCount": 0}
        state = {"waiting": self.waiting or {"reason": "ContainerCreating"}}
        pod["status"] = {"phase": "Pending", "containerStatuses": [container | {"state": state}]}
        self.pods[name] = self.made[name] = pod
        if self.waiting is None:
            self._go(self._start(pod))
        return pod

    async def _start(self, pod: dict[str, Any]) -> None:
        container = pod["spec"]["containers"][0]
        limits = {each["name"]: each["emptyDir"]["sizeLimit"] for each in pod["spec"]["volumes"]}
        sizes = {
            each["mountPath"]: int(limits[each["name"]][:-2]) * _UNITS[limits[each["name"]][-2:]]
            for each in container["volumeMounts"]
        }
        argv = [_replaced(word) for word in (*container["command"], *container["args"])]
        made = await RunningContainer.start(argv, _variables(pod), sizes)
        name = pod["metadata"]["name"]
        self._running[name] = made
        state = pod["status"]["containerStatuses"][0]
        pod["status"]["phase"] = "Running"
        state["state"] = {"running": {"startedAt": _now()}}
        code = await made.first.wait()
        del self._running[name]
        ended = {
            "exitCode": code if code >= 0 else 128 - code,
            "reason": "Completed" if not code else "Error",
        }
        state["state"] = {"terminated": ended}
        if pod["status"]["phase"] == "Running":
            pod["status"]["phase"] = "Failed" if code else "Succeeded"

    async def _get(self, request: web.Request) -> web.Response:
        found = self.pods.get(request.match_info["name"])
        return status_answer(404, "NotFound") if found is None else web.json_response(found)

    async def _delete(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        if name not in self.pods:
            return status_answer(404, "NotFound")
        self._remove(name)
        return status_answer(200, "")

    def _remove(self, name: str) -> None:
        async def remove() -> None:
            if name in self._running:
                await self.end(name)
            self.pods.pop(name, None)

        self.pods[name]["metadata"]["deletionTimestamp"] = _now()
        self._go(remove())

    async def _policy(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        if name not in self.policies:
            return status_answer(404, "NotFound")
        return web.json_response({"metadata": {"name": name}, "spec": self.policies[name]})

    # -- agent-sandbox --------------------------------------------------------------------------------------------

    async def _discover(self, request: web.Request) -> web.Response:
        version = request.match_info["version"]
        if version not in self.versions:
            return status_answer(404, "NotFound")
        kind = {"name": "sandboxes", "singularName": "sandbox", "kind": "Sandbox", "namespaced": True}
        about = {"groupVersion": f"agents.x-k8s.io/{version}", "resources": [kind | {"verbs": ["create"]}]}
        return web.json_response({"kind": "APIResourceList", "apiVersion": "v1"} | about)

    async def _create_resource(self, request: web.Request) -> web.Response:
        resource = await request.json()
        name = resource["metadata"]["name"]
        if name in self.resources:
            return status_answer(409, "AlreadyExists")
        resource["metadata"]["creationTimestamp"] = _now()
        self.resources[name] = resource
        self.posted.append(resource)
        template = resource["spec"]["podTemplate"]
        self._add({"metadata": {"name": name} | template["metadata"], "spec": template["spec"]})
        return web.json_response(resource, status=201)

    async def _list_resources(self, request: web.Request) -> web.Response:
        return web.json_response({"items": list(self.resources.values())})

    async def _delete_resource(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        if self.resources.pop(name, None) is None:
            return status_answer(404, "NotFound")
        if name in self.pods:
            self._remove(name)
        return status_answer(200, "")

    # -- connections ----------------------------------------------------------------------------------------------

    async def _exec(self, request: web.Request) -> web.StreamResponse:
        name = request.match_info["name"]
        if name not in self._running:
            return status_answer(404, "NotFound")
        socket = await self._joined(request, "exec")
        container = self._running[name]
        process = await container.run(request.query.getall("command"), _variables(self.pods[name]))
        taking = asyncio.ensure_future(_take(socket, process.stdin))
        try:
            budget = [self.cut_after or 1 << 60]
            await asyncio.gather(
                _give(socket, 1, process.stdout, budget), _give(socket, 2, process.stderr, budget)
            )
            # Of those that were stopped meanwhile, their starters are still.
            container.go_on()
            code = await process.wait()
            if name in self._ended:
                # Its node has killed all; nobody tells the status.
                _abort(socket)
            else:
                await socket.send_bytes(b"\x03" + json.dumps(_ended(code)).encode())
        except (ConnectionError, RuntimeError):
            _abort(socket)
        finally:
            taking.cancel()
            await asyncio.wait({taking})
            assert process.stdin is not None
            process.stdin.close()
            with contextlib.suppress(Exception):
                await socket.close()
        return socket

    async def _attach(self, request: web.Request) -> web.StreamResponse:
        name = request.match_info["name"]
        if name not in self._running:
            return status_answer(404, "NotFound")
        socket = await self._joined(request, "attach")
        first = self._running[name].first
        giving = asyncio.ensure_future(_give(socket, 1, first.stdout, [1 << 60]))
        taking = asyncio.ensure_future(_take(socket, first.stdin))
        try:
            await asyncio.wait({giving, taking}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for each in (giving, taking):
                each.cancel()
            await asyncio.wait({giving, taking})
            with contextlib.suppress(Exception):
                await socket.close()
        return socket

    async def _joined(self, request: web.Request, kind: str) -> web.WebSocketResponse:
        assert request.headers["sec-websocket-protocol"] == _PROTOCOL
        self.asked.append(request.path_qs)
        socket = web.WebSocketResponse(protocols=[_PROTOCOL])
        await socket.prepare(request)
        self.sockets.setdefault(request.match_info["name"], []).append((kind, socket))
        for channel in (1, 2, 3):
            # As theirs do at first.
            await socket.send_bytes(bytes([channel]))
        return socket

    def _go(self, work: Any) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _abort(socket: web.WebSocketResponse) -> None:
    if (transport := socket._req and socket._req.transport) is not None:
        transport.abort()


async def _take(socket: web.WebSocketResponse, stdin: asyncio.StreamWriter | None) -> None:
    assert stdin is not None
    with contextlib.suppress(ConnectionError):
        async for message in socket:
            assert message.type is WSMsgType.BINARY
            assert message.data[0] == 0
            stdin.write(message.data[1:])
            await stdin.drain()


async def _give(
    socket: web.WebSocketResponse, channel: int, source: asyncio.StreamReader | None, budget: list[int]
) -> None:
    """Args: budget: of bytes, after which the connection breaks."""
    assert source is not None
    while data := await source.read(16384):
        await socket.send_bytes(bytes([channel]) + data[: budget[0]])
        budget[0] -= len(data)
        if budget[0] <= 0:
            raise ConnectionError


def _variables(pod: dict[str, Any]) -> dict[str, str]:
    return {each["name"]: _replaced(each["value"]) for each in pod["spec"]["containers"][0]["env"]}


def _replaced(text: str) -> str:
    """As Kubernetes replaces variables in arguments and variables: none is known here."""
    return re.sub(r"\$(\$|\(([A-Za-z_][A-Za-z0-9_]*)\))", lambda at: "$" if at[1] == "$" else at[0], text)


def _ended(code: int) -> dict[str, Any]:
    if not code:
        return {"metadata": {}, "status": "Success"}
    words = str(code if code > 0 else 128 - code)
    causes = {"causes": [{"reason": "ExitCode", "message": words}]}
    return {"metadata": {}, "status": "Failure", "reason": "NonZeroExitCode", "details": causes}


def _now() -> str:
    return dt.datetime.now(dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
