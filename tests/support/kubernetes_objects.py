"""A server that follows the published API of Kubernetes for objects of a namespace, as far as operators use it: lists, watches with bookmarks, server-side apply, status apart,
conflicts, versions that are forgotten. Nothing stands behind it: a Deployment has no pods. The same tests run on a real kube-apiserver."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import itertools
import json
import uuid
from collections import deque
from typing import Any

from aiohttp import web

from tests.support.kubernetes_api import KubernetesApiDouble, status_answer

Object = dict[str, Any]
_COLLECTION = "/apis/{group}/{version}/namespaces/{space}/{plural}"
_KEPT = 1000


class KubernetesObjectsDouble(KubernetesApiDouble):
    """The server. From outside: `answers` lets calls fail, `cut` breaks watches, `forget` makes old versions expire."""

    def __init__(self) -> None:
        super().__init__()
        self._objects: dict[tuple[str, str], Object] = {}
        # What each manager has applied to an object, and to its status.
        self._applied: dict[tuple[str, str, str], Object] = {}
        self._versions = itertools.count(1)
        self._version = 0
        self._events: deque[tuple[int, str, str, Object]] = deque(maxlen=_KEPT)
        self._oldest = 0
        self._news = asyncio.Condition()
        self._watches: set[web.StreamResponse] = set()
        # Statuses with which calls are answered, by method and the path's end.
        self.answers: dict[tuple[str, str], int] = {}
        self.asked: list[tuple[str, str]] = []
        self.bookmark_s = 0.2

    def add_routes(self, app: web.Application) -> None:
        one = _COLLECTION + "/{name}"
        app.middlewares.append(self._fault)
        app.router.add_get(_COLLECTION, self._list_or_watch)
        app.router.add_post(_COLLECTION, self._create_object)
        app.router.add_get(one, self._read)
        app.router.add_put(one, self._replace)
        app.router.add_delete(one, self._delete_object)
        app.router.add_patch(one, self._apply)
        app.router.add_patch(one + "/status", self._apply)

    # -- from outside ---------------------------------------------------------------------------------------------

    def cut(self) -> None:
        """All watches break."""
        for each in list(self._watches):
            if (transport := each._req and each._req.transport) is not None:
                transport.abort()

    def forget(self) -> None:
        """What happened so far is known as its result alone."""
        self._events.clear()
        self._oldest = self._version

    # -- the API --------------------------------------------------------------------------------------------------

    @web.middleware
    async def _fault(self, request: web.Request, handler: Any) -> web.StreamResponse:
        self.asked.append((request.method, request.path_qs))
        for (method, end), code in self.answers.items():
            if request.method == method and request.path.endswith(end):
                return status_answer(code, "Refused")
        answer: web.StreamResponse = await handler(request)
        return answer

    async def _list_or_watch(self, request: web.Request) -> web.StreamResponse:
        if request.query.get("watch") == "true":
            return await self._watch(request)
        found = [
            each
            for (path, _), each in self._objects.items()
            if path == request.path and _chosen(each, request)
        ]
        first, limit = int(request.query.get("continue") or 0), int(request.query.get("limit") or 500)
        about = {"resourceVersion": str(self._version)}
        if len(found) > first + limit:
            about["continue"] = str(first + limit)
        # Within a list nothing says again what it is.
        items = [
            {key: value for key, value in each.items() if key not in ("apiVersion", "kind")}
            for each in found[first : first + limit]
        ]
        return web.json_response({"kind": "List", "metadata": about, "items": items})

    async def _watch(self, request: web.Request) -> web.StreamResponse:
        since = int(request.query["resourceVersion"])
        answer = web.StreamResponse()
        await answer.prepare(request)
        if since < self._oldest:
            about = {
                "kind": "Status",
                "code": 410,
                "reason": "Expired",
                "message": "too old resource version",
            }
            await answer.write(_line("ERROR", about))
            return answer
        self._watches.add(answer)
        with contextlib.suppress(ConnectionError):
            while True:
                for version, path, kind, found in list(self._events):
                    if version > since and path == request.path and _chosen(found, request):
                        await answer.write(_line(kind, found))
                since = self._version
                await self._wait(since)
                if since == self._version:
                    await answer.write(_line("BOOKMARK", {"metadata": {"resourceVersion": str(since)}}))
        self._watches.discard(answer)
        return answer

    async def _wait(self, since: int) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self.bookmark_s), self._news:
                await self._news.wait_for(lambda: self._version > since)

    async def _create_object(self, request: web.Request) -> web.Response:
        given = await request.json()
        key = (request.path, given["metadata"]["name"])
        if key in self._objects:
            return status_answer(409, "AlreadyExists")
        return web.json_response(await self._store(key, _fresh(given, request)), status=201)

    async def _read(self, request: web.Request) -> web.Response:
        found = self._objects.get(_key(request))
        return status_answer(404, "NotFound") if found is None else web.json_response(found)

    async def _replace(self, request: web.Request) -> web.Response:
        key, given = _key(request), await request.json()
        if (stored := self._objects.get(key)) is None:
            return status_answer(404, "NotFound")
        if (
            given["metadata"].get("resourceVersion", stored["metadata"]["resourceVersion"])
            != stored["metadata"]["resourceVersion"]
        ):
            return status_answer(409, "Conflict")
        kept = {name: stored["metadata"][name] for name in ("uid", "generation", "namespace")}
        return web.json_response(await self._store(key, given | {"metadata": given["metadata"] | kept}))

    async def _delete_object(self, request: web.Request) -> web.Response:
        key = _key(request)
        if (found := self._objects.pop(key, None)) is None:
            return status_answer(404, "NotFound")
        for each in [each for each in self._applied if each[:2] == key]:
            del self._applied[each]
        await self._tell(key, "DELETED", found)
        return status_answer(200, "")

    async def _apply(self, request: web.Request) -> web.Response:
        """Server-side apply: fields that the manager has had and leaves out now are removed; lists are taken whole."""
        assert request.headers["Content-Type"] == "application/apply-patch+yaml"
        of_status, key = request.path.endswith("/status"), _key(request)
        given, manager = await request.json(), request.query["fieldManager"]
        stored = self._objects.get(key)
        if stored is None and of_status:
            return status_answer(404, "NotFound")
        if (
            stored is not None
            and given["metadata"].get("uid", stored["metadata"]["uid"]) != stored["metadata"]["uid"]
        ):
            return status_answer(409, "Conflict")
        if fault := _fault_of(given):
            return web.json_response({"kind": "Status", "code": 422, "message": fault}, status=422)
        given = (
            {"status": given.get("status", {})}
            if of_status
            else {k: v for k, v in given.items() if k != "status"}
        )
        made = _fresh(given, request) if stored is None else copy.deepcopy(stored)
        owned = (*key, manager + ("/status" if of_status else ""))
        _remove(made, self._applied.get(owned, {}), given)
        _merge(made, given)
        self._applied[owned] = given
        return web.json_response(made if made == stored else await self._store(key, made))

    async def _store(self, key: tuple[str, str], made: Object) -> Object:
        stored = self._objects.get(key)
        made = copy.deepcopy(made)
        if stored is not None and made.get("spec") != stored.get("spec"):
            made["metadata"]["generation"] = stored["metadata"]["generation"] + 1
        self._objects[key] = made
        await self._tell(key, "ADDED" if stored is None else "MODIFIED", made)
        return made

    async def _tell(self, key: tuple[str, str], kind: str, found: Object) -> None:
        self._version = next(self._versions)
        found["metadata"]["resourceVersion"] = str(self._version)
        self._events.append((self._version, key[0], kind, copy.deepcopy(found)))
        async with self._news:
            self._news.notify_all()


def _key(request: web.Request) -> tuple[str, str]:
    path = request.path.removesuffix("/status")
    collection, _, name = path.rpartition("/")
    return collection, name


def _chosen(found: Object, request: web.Request) -> bool:
    """Whether an object has the label that is asked for."""
    selector = request.query.get("labelSelector")
    return not selector or selector in (found["metadata"].get("labels") or {})


def _fresh(given: Object, request: web.Request) -> Object:
    metadata = {"uid": str(uuid.uuid4()), "generation": 1, "namespace": request.match_info["space"]}
    return given | {"metadata": given["metadata"] | metadata}


def _fault_of(given: Object) -> str:
    """Why a Deployment is refused, in Kubernetes' words."""
    if given.get("kind") != "Deployment" or "template" not in given.get("spec", {}):
        return ""
    containers = given["spec"]["template"]["spec"]["containers"]
    if any("image" not in each for each in containers):
        return "spec.template.spec.containers[0].image: Required value"
    return ""


def _merge(into: Object, given: Object) -> None:
    for key, value in given.items():
        if isinstance(value, dict) and isinstance(into.get(key), dict):
            _merge(into[key], value)
        else:
            into[key] = copy.deepcopy(value)


def _remove(of: Object, before: Object, now: Object) -> None:
    for key, value in before.items():
        if key not in now:
            of.pop(key, None)
        elif isinstance(value, dict) and isinstance(of.get(key), dict) and isinstance(now[key], dict):
            _remove(of[key], value, now[key])


def _line(kind: str, found: Object) -> bytes:
    return json.dumps({"type": kind, "object": found}).encode() + b"\n"
