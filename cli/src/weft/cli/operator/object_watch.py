"""A collection of objects as the API has it: listed once, then followed by a watch from that version on; listed again when the API has forgotten that version."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping
from contextlib import aclosing
from http import HTTPStatus

from weft.cli.operator.agent_pool import Object, ObjectPlace, place_of
from weft.cli.operator.cluster_api import ApiAway, ApiRefused, ClusterApi, Expired
from weft.rpc.process.logs import get_logger

log = get_logger(__name__)

_PAGE = "500"
_LEAST_WAIT_S, _MOST_WAIT_S = 0.1, 30.0
_ADVICE: dict[int, str] = {
    HTTPStatus.NOT_FOUND: "install the definition of WeftAgentPool: docs/deploy/operator.md",
    HTTPStatus.FORBIDDEN: "give the service account the rights of deploy/kubernetes/operator",
}


class ObjectWatch:
    """The objects of a collection. `run` follows them until it is cancelled.

    Args:
        path: of the collection.
        selector: of labels; empty: all objects.
        changed: is called after each change.
    """

    def __init__(self, api: ClusterApi, path: str, selector: str, changed: Callable[[], None]) -> None:
        self._api = api
        self._path = path
        self._query = {"labelSelector": selector} if selector else {}
        self._changed = changed
        self._objects: dict[ObjectPlace, Object] = {}
        # Up to which the objects are known; empty: they are to be listed.
        self._version = ""
        self._wait_s = _LEAST_WAIT_S
        # The collection was listed once.
        self.listed = asyncio.Event()

    @property
    def objects(self) -> Mapping[ObjectPlace, Object]:
        return self._objects

    def put(self, found: Object) -> None:
        """An object as the API has just answered with it: the watch tells it later."""
        self._objects[place_of(found)] = found

    async def run(self) -> None:
        """Follow the collection, whatever happens to the API."""
        now_s = asyncio.get_running_loop().time
        while True:
            began_s = now_s()
            try:
                if not self._version:
                    await self._list()
                await self._follow()
            except Expired:
                log.info("watch.expired", path=self._path)
                self._version = ""
            except ApiAway as error:
                log.warning("watch.broken", path=self._path, error=str(error))
            except ApiRefused as error:
                log.warning("watch.refused", path=self._path, error=str(error), do=_ADVICE.get(error.status))
                self._version = ""
            if now_s() - began_s > _MOST_WAIT_S:
                self._wait_s = _LEAST_WAIT_S
            # Not all clients of an API that was away come at the same moment.
            await asyncio.sleep(self._wait_s * random.uniform(0.5, 1.0))  # noqa: S311
            self._wait_s = min(self._wait_s * 2, _MOST_WAIT_S)

    async def _list(self) -> None:
        found: dict[ObjectPlace, Object] = {}
        more: dict[str, str] = {}
        while True:
            page = await self._api.get(self._path, **self._query, limit=_PAGE, **more)
            about = page.get("metadata") or {}
            for each in page.get("items") or ():
                found[checked_place(each)] = each
            if not about.get("continue"):
                break
            more = {"continue": str(about["continue"])}
        self._objects = found
        self._version = str(about.get("resourceVersion") or "")
        self.listed.set()
        self._changed()

    async def _follow(self) -> None:
        """Follow changes until the API ends the watch."""
        query = self._query | {"resourceVersion": self._version}
        async with aclosing(self._api.watch(self._path, **query)) as events:
            async for kind, found in events:
                if kind == "DELETED":
                    self._objects.pop(checked_place(found), None)
                elif kind != "BOOKMARK":
                    self._objects[checked_place(found)] = found
                self._version = str((found.get("metadata") or {}).get("resourceVersion") or self._version)
                self._wait_s = _LEAST_WAIT_S
                if kind != "BOOKMARK":
                    self._changed()


def checked_place(found: Object) -> ObjectPlace:
    """The place of an object that came from outside.

    Raises:
        ApiAway: it is none.
    """
    try:
        return place_of(found)
    except (ValueError, AttributeError) as error:
        raise ApiAway(f"the Kubernetes API has answered with what is no object: {error}") from error
