"""What Kubernetes' controllers do for Deployments, by the API: pods are agents, as processes of a mesh; a Deployment whose owner is gone goes, too."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path
from typing import Any, Self

import httpx

from tests.support import tasks
from tests.support.mesh import MeshHarness
from tests.support.processes import Process

Object = dict[str, Any]
_LOOK_S = 0.05
POOLS = "/apis/weft.dev/v1alpha1/namespaces/{}/weftagentpools"
DEPLOYMENTS = "/apis/apps/v1/namespaces/{}/deployments"


class ApiClient:
    """A client of the API in one namespace, as somebody with the token in the account's folder. Close it."""

    def __init__(self, address: str, account: Path, space: str) -> None:
        self.address, self.account, self.space = address, account, space
        self.pools, self.deployments = POOLS.format(space), DEPLOYMENTS.format(space)
        trust: ssl.SSLContext | bool = False
        if (authority := account / "ca.crt").exists():
            trust = ssl.create_default_context(cafile=str(authority))
        who = {"Authorization": f"Bearer {(account / 'token').read_text()}"}
        self._client = httpx.AsyncClient(
            base_url=address, verify=trust, headers=who, timeout=20, trust_env=False
        )

    async def close(self) -> None:
        await self._client.aclose()

    async def ask(self, method: str, path: str, body: Object | None = None, **query: str) -> Object | None:
        """None: there is no such object."""
        kind = "application/apply-patch+yaml" if method == "PATCH" else "application/json"
        answer = await self._client.request(
            method, path, params=query, json=body, headers={"Content-Type": kind}
        )
        if answer.status_code == httpx.codes.NOT_FOUND:
            return None
        assert not answer.is_error, answer.text
        found: Object = answer.json()
        return found

    async def apply(self, path: str, body: Object, manager: str = "a-user") -> Object:
        found = await self.ask("PATCH", path, body, fieldManager=manager, force="true")
        assert found is not None
        return found

    async def pool(self, name: str) -> Object:
        found = await self.ask("GET", f"{self.pools}/{name}")
        assert found is not None
        return found

    async def conditions(self, name: str) -> dict[str, tuple[str, str]]:
        """Status and reason of each condition of a pool."""
        found = (await self.pool(name)).get("status", {}).get("conditions", [])
        return {each["type"]: (each["status"], each["reason"]) for each in found}

    async def deployment(self, name: str) -> Object | None:
        return await self.ask("GET", f"{self.deployments}/{name}")


class DeploymentController:
    """Keeps as many agents as Deployments say, until the end of the block. `starts`: how many it has started."""

    def __init__(self, api: ApiClient, mesh: MeshHarness) -> None:
        self._api = api
        self._mesh = mesh
        self.running: dict[str, list[Process]] = {}
        self.most = 0
        self.starts = 0
        self._ending: set[asyncio.Task[int]] = set()
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._run())
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._task is not None
        self._task.cancel()
        await asyncio.wait({self._task})
        assert self._task.cancelled(), self._task.exception()
        for each in [each for found in self.running.values() for each in found]:
            self._ending.add(asyncio.create_task(each.terminate(timeout_s=40)))
        assert set(await asyncio.gather(*self._ending)) <= {0}

    async def _run(self) -> None:
        while True:
            listed = await self._api.ask("GET", self._api.deployments, labelSelector="weft.dev/agent-pool")
            pools = await self._api.ask("GET", self._api.pools)
            assert listed is not None
            assert pools is not None
            owners = {each["metadata"]["uid"] for each in pools["items"]}
            present = {each["metadata"]["name"]: each for each in listed["items"]}
            for name, found in present.items():
                if not {each["uid"] for each in found["metadata"].get("ownerReferences", ())} <= owners:
                    await self._api.ask("DELETE", f"{self._api.deployments}/{name}")
                    continue
                await self._fit(name, found)
            for name in self.running.keys() - present:
                self._shrink(name, 0)
            await asyncio.sleep(_LOOK_S)

    async def _fit(self, name: str, found: Object) -> None:
        wanted = found["spec"]["replicas"]
        running = self.running.setdefault(name, [])
        self._shrink(name, wanted)
        while len(running) < wanted:
            self.starts += 1
            pod = f"{name}-{self.starts}"
            running.append(await self._mesh.agent(pod, program=tasks.PLAIN, slots=2, wait=False))
        self.most = max(self.most, len(running))
        states = await self._mesh.agent_states()
        ready = sum(states.get(each.name) is not None and each.alive for each in running)
        status = {
            "replicas": len(running),
            "readyReplicas": ready,
            "observedGeneration": found["metadata"]["generation"],
        }
        told = found.get("status") or {}
        if any(told.get(key, 0) != value for key, value in status.items()):
            # Fields that are zero are left out.
            kept = {key: value for key, value in status.items() if value}
            about = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name}}
            await self._api.apply(
                f"{self._api.deployments}/{name}/status", about | {"status": kept}, "controller"
            )

    def _shrink(self, name: str, wanted: int) -> None:
        """Agents get SIGTERM, and end when they have drained."""
        running = self.running[name]
        while len(running) > wanted:
            self._ending.add(asyncio.create_task(running.pop(0).terminate(timeout_s=40)))
