"""The operator's loop: what Kubernetes and the mesh say now becomes plans, and plans become Deployments and statuses. It keeps nothing that it cannot do without.

watches ─► objects ─┐
                    ├─► plan ─► Deployment applied ─► status applied
coordinator ─► tasks┘
"""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TYPE_CHECKING

from weft.cli.operator import agent_pool_plan
from weft.cli.operator.agent_pool import (
    GROUP,
    KIND,
    PLURAL,
    POOL_LABEL,
    VERSION,
    AgentPool,
    Object,
    ObjectPlace,
    PoolInvalid,
    read_pool,
)
from weft.cli.operator.agent_pool_plan import AgentPoolPlan, Applied
from weft.cli.operator.cluster_api import ApiAway, ApiRefused, ClusterApi, Expired
from weft.cli.operator.leader_lease import LeaderLease
from weft.cli.operator.object_watch import ObjectWatch
from weft.cli.operator.pool_size import History
from weft.cli.operator.pool_status import PoolMoment, is_news, status_of, status_of_invalid
from weft.cli.operator.pool_work import MeshQueues, NotRead, tasks_of
from weft.rpc.process.background_tasks import end_tasks
from weft.rpc.process.logs import get_logger

if TYPE_CHECKING:
    from weft.client import Queue

log = get_logger(__name__)

# Changes that come together are one pass.
_LINGER_S = 0.05
_AT_A_TIME = 8
_LEAST_WAIT_S, _MOST_WAIT_S = 1.0, 60.0

Looks = dict[str, "Sequence[Queue] | NotRead"]


@dataclass(slots=True)
class _Retry:
    """When something that fails is tried again: later from time to time."""

    wait_s: float = _LEAST_WAIT_S
    next_s: float = 0.0

    def failed(self, now_s: float) -> None:
        self.next_s = now_s + self.wait_s
        self.wait_s = min(self.wait_s * 2, _MOST_WAIT_S)


@dataclass(slots=True)
class _Memory:
    """What is remembered of a pool between two passes."""

    history: History = ()
    applied: Applied | None = None
    # Why Kubernetes has refused its Deployment, and which one; both are over when it takes one.
    refusal: str = ""
    refused: Object | None = None
    apply_retry: _Retry = field(default_factory=_Retry)
    tell_retry: _Retry = field(default_factory=_Retry)
    told_at_s: float = float("-inf")


class PoolOperator:
    """Reconciles the pools of a namespace of Kubernetes.

    Args:
        look_s: how often the coordinator is asked.
    """

    def __init__(
        self, api: ClusterApi, queues: MeshQueues, namespace: str, identity: str, look_s: float
    ) -> None:
        self._api = api
        self._queues = queues
        self._look_s = look_s
        self._news = asyncio.Event()
        self._path = f"/apis/{GROUP}/{VERSION}/namespaces/{namespace}/{PLURAL}"
        self._deployments_path = f"/apis/apps/v1/namespaces/{namespace}/deployments"
        self._lease = LeaderLease(api, namespace, identity, self._news.set)
        self._memories: dict[str, _Memory] = {}
        self._looks: Looks = {}
        self._looked_at_s = float("-inf")

    async def run(self, stop: asyncio.Event) -> None:
        """Reconcile while this operator leads, until `stop` is set."""
        election = asyncio.create_task(self._lease.run(), name="lease")
        stopped = asyncio.create_task(_wait(stop), name="stop")
        try:
            while not stop.is_set() and not election.done():
                acting = asyncio.create_task(self._act(), name="acting")
                try:
                    await asyncio.wait({stopped, election, acting}, return_when=asyncio.FIRST_COMPLETED)
                    if acting.done():
                        acting.result()
                finally:
                    await end_tasks(acting)
            if election.done():
                election.result()
        finally:
            await end_tasks(election, stopped)
            await self._lease.release()

    async def _act(self) -> None:
        """Wait until this operator leads, and reconcile until it does not."""
        while not self._lease.leads:
            self._news.clear()
            await self._news.wait()
        self._memories.clear()
        pools = ObjectWatch(self._api, self._path, "", self._news.set)
        deployments = ObjectWatch(self._api, self._deployments_path, POOL_LABEL, self._news.set)
        watches = [asyncio.create_task(each.run(), name="watch") for each in (pools, deployments)]
        try:
            while self._lease.leads and not any(each.done() for each in watches):
                if pools.listed.is_set() and deployments.listed.is_set():
                    await self._pass(pools, deployments)
                try:
                    async with asyncio.timeout(self._look_s):
                        await self._news.wait()
                        await asyncio.sleep(_LINGER_S)
                except TimeoutError:
                    pass
                self._news.clear()
            for each in watches:
                if each.done():
                    each.result()
            log.warning("operator.stands_by")
        finally:
            await end_tasks(*watches)

    async def _pass(self, pools: ObjectWatch, deployments: ObjectWatch) -> None:
        """Look at each pool once."""
        resources = [each for each in pools.objects.values() if not each["metadata"].get("deletionTimestamp")]
        uids = {each["metadata"]["uid"] for each in resources}
        for gone in self._memories.keys() - uids:
            del self._memories[gone]
        read: list[tuple[Object, AgentPool | PoolInvalid]] = []
        for each in resources:
            try:
                read.append((each, read_pool(each)))
            except PoolInvalid as error:
                read.append((each, error))
        await self._look({pool.work.namespace for _, pool in read if isinstance(pool, AgentPool)})
        turns = asyncio.Semaphore(_AT_A_TIME)

        async def one(resource: Object, pool: AgentPool | PoolInvalid) -> None:
            async with turns:
                await self._reconcile(resource, pool, pools, deployments)

        await asyncio.gather(*(one(*each) for each in read))

    async def _look(self, namespaces: set[str]) -> None:
        """Ask the coordinator, unless that was just now."""
        now_s = asyncio.get_running_loop().time()
        if self._looks.keys() == namespaces and now_s - self._looked_at_s < self._look_s:
            return
        await self._queues.keep(namespaces)
        each = sorted(namespaces)
        self._looks = dict(zip(each, await asyncio.gather(*map(self._queues.read, each)), strict=True))
        self._looked_at_s = now_s

    async def _reconcile(
        self, resource: Object, pool: AgentPool | PoolInvalid, pools: ObjectWatch, deployments: ObjectWatch
    ) -> None:
        """One pool. Whatever happens costs this one alone, and is tried again."""
        memory = self._memories.setdefault(resource["metadata"]["uid"], _Memory())
        now = _now()
        try:
            if isinstance(pool, PoolInvalid):
                status = status_of_invalid(resource, str(pool), now)
            else:
                status = await self._status_after(resource, pool, deployments, memory, now)
        except (ApiAway, ApiRefused, Expired) as error:
            memory.apply_retry.failed(now.s)
            log.warning("agent_pool.not_reconciled", pool=resource["metadata"]["name"], error=str(error))
            return
        except Exception:
            memory.apply_retry.failed(now.s)
            log.exception("agent_pool.failed", pool=resource["metadata"]["name"])
            return
        try:
            await self._tell(resource, status, pools, memory, now.s)
        except (ApiAway, ApiRefused, Expired) as error:
            memory.tell_retry.failed(now.s)
            log.warning("agent_pool.status_not_written", pool=resource["metadata"]["name"], error=str(error))

    async def _status_after(
        self, resource: Object, pool: AgentPool, deployments: ObjectWatch, memory: _Memory, now: PoolMoment
    ) -> Object:
        """Make the pool as it is to be; returns what its status is then."""
        if (observed := deployments.objects.get(pool.place)) is None and now.s >= memory.apply_retry.next_s:
            # Those without the operator's label are not watched.
            observed = await self._present(pool.place)
        look = self._looks[pool.work.namespace]
        tasks = look if isinstance(look, NotRead) else tasks_of(pool.work, look)
        planned = agent_pool_plan.plan(pool, observed, tasks, memory.history, now.s)
        memory.history = planned.history
        if planned.taken:
            memory.applied, memory.refusal, memory.refused = None, "", None
        elif self._is_turn(planned, observed, memory, now.s):
            observed = await self._apply(pool.place, planned, observed, memory, now.s)
            if observed is not None:
                deployments.put(observed)
        return status_of(resource, planned, observed, memory.refusal, now)

    async def _present(self, place: ObjectPlace) -> Object | None:
        try:
            return await self._api.get(f"{self._deployments_path}/{place.name}")
        except ApiRefused as error:
            if error.status != HTTPStatus.NOT_FOUND:
                raise
            return None

    def _is_turn(
        self, planned: AgentPoolPlan, observed: Object | None, memory: _Memory, now_s: float
    ) -> bool:
        """Whether a Deployment is to be applied now."""
        if not self._lease.leads or not agent_pool_plan.is_due(planned.deployment, observed, memory.applied):
            return False
        # Another one than was refused may be taken.
        changed = memory.refused not in (None, planned.deployment)
        return changed or now_s >= memory.apply_retry.next_s

    async def _apply(
        self,
        place: ObjectPlace,
        planned: AgentPoolPlan,
        observed: Object | None,
        memory: _Memory,
        now_s: float,
    ) -> Object | None:
        """Apply; returns the Deployment as it is then."""
        wanted = planned.deployment
        try:
            answer = await self._api.apply(f"{self._deployments_path}/{place.name}", wanted)
        except ApiRefused as error:
            memory.apply_retry.failed(now_s)
            if memory.refusal != str(error):
                log.warning("agent_pool.refused", pool=place.name, error=str(error))
            memory.refusal, memory.refused = str(error), wanted
            return observed
        before = 0 if observed is None else (observed.get("spec") or {}).get("replicas")
        if before != planned.replicas:
            log.info(
                "agent_pool.scaled",
                pool=place.name,
                before=before,
                replicas=planned.replicas,
                tasks=planned.tasks,
            )
        memory.applied = Applied.of(wanted, answer)
        memory.refusal, memory.refused, memory.apply_retry = "", None, _Retry()
        return answer

    async def _tell(
        self, resource: Object, status: Object, pools: ObjectWatch, memory: _Memory, now_s: float
    ) -> None:
        """Write the status, if it is news."""
        if not self._lease.leads or now_s < memory.tell_retry.next_s:
            return
        if not is_news(status, resource.get("status"), now_s - memory.told_at_s):
            return
        metadata = {key: resource["metadata"][key] for key in ("name", "namespace", "uid")}
        about = {"apiVersion": f"{GROUP}/{VERSION}", "kind": KIND, "metadata": metadata}
        answer = await self._api.apply(f"{self._path}/{metadata['name']}/status", about | {"status": status})
        memory.told_at_s, memory.tell_retry = now_s, _Retry()
        pools.put(answer)


def _now() -> PoolMoment:
    text = dt.datetime.now(dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return PoolMoment(asyncio.get_running_loop().time(), text)


async def _wait(event: asyncio.Event) -> None:
    await event.wait()
