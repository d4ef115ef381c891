"""Which of several operators acts: the one that holds a Lease. The others wait.

    trust in the own lease   10 s after a renewal was asked for, then nothing more is begun
    a request that writes     5 s at most (cluster_api.CALL_S)
    the lease                15 s after others have last seen it renewed, by their own clocks, then one of them takes it

So the last request of the one has ended before the other begins, whatever their clocks say.
"""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Callable
from http import HTTPStatus
from typing import Any, Literal

from weft.cli.operator.agent_pool import Object
from weft.cli.operator.cluster_api import ApiAway, ApiRefused, ClusterApi, Expired
from weft.rpc.process.logs import get_logger

log = get_logger(__name__)

LEASE = "weft-operator"
LEASE_S = 15
TRUST_S = 10.0
LOOK_S = 2.0

Move = Literal["create", "take", "renew", "wait"]


def next_move(lease: Object | None, unchanged_s: float, me: str) -> Move:
    """What an operator does about the lease. Pure.

    Args:
        lease: as it is; None: there is none.
        unchanged_s: since when it has not changed, by the own clock.
        me: who asks.
    """
    if lease is None:
        return "create"
    spec = lease.get("spec") or {}
    holder = spec.get("holderIdentity") or ""
    if holder == me:
        return "renew"
    lasts_s = spec.get("leaseDurationSeconds")
    if not holder or unchanged_s >= (lasts_s if isinstance(lasts_s, int) else LEASE_S):
        return "take"
    return "wait"


def held(lease: Object | None, namespace: str, me: str, now: str) -> Object:
    """The lease with `me` as its holder, renewed now. Pure."""
    before = (lease or {}).get("spec") or {}
    goes_on = before.get("holderIdentity") == me
    spec: dict[str, Any] = {
        "holderIdentity": me,
        "leaseDurationSeconds": LEASE_S,
        "acquireTime": before.get("acquireTime") if goes_on else now,
        "renewTime": now,
        "leaseTransitions": int(before.get("leaseTransitions") or 0) + (0 if goes_on or lease is None else 1),
    }
    metadata = (lease or {}).get("metadata") or {"name": LEASE, "namespace": namespace}
    return {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": metadata, "spec": spec}


def micro_time() -> str:
    """The time, as leases have it."""
    return dt.datetime.now(dt.UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


class LeaderLease:
    """An operator's side of the lease.

    Args:
        me: unlike that of any other operator, and of this one before a restart.
        changed: is called when it becomes the leader.
    """

    def __init__(self, api: ClusterApi, namespace: str, me: str, changed: Callable[[], None]) -> None:
        self._api = api
        self._namespace = namespace
        self._me = me
        self._changed = changed
        self._collection = f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases"
        self._lease: Object | None = None
        self._seen_at_s = 0.0
        self._trusted_until_s = 0.0

    @property
    def leads(self) -> bool:
        """Whether this operator may act."""
        return asyncio.get_running_loop().time() < self._trusted_until_s

    async def run(self) -> None:
        """Hold the lease, or wait for it."""
        trouble = ""
        while True:
            led = self.leads
            try:
                await self._step()
                trouble = ""
            except (ApiAway, ApiRefused, Expired) as error:
                # Said once.
                if trouble != str(error):
                    log.warning("lease.not_renewed", error=str(error))
                trouble = str(error)
            if self.leads and not led:
                log.info("operator.leads", identity=self._me)
                self._changed()
            await asyncio.sleep(LOOK_S)

    async def _step(self) -> None:
        now_s = asyncio.get_running_loop().time()
        # The holder knows it as it was after its last renewal, unless that one's answer was lost.
        if self.leads and await self._moved(now_s):
            return
        self._see(await self._read(), now_s)
        await self._moved(now_s)

    async def _moved(self, now_s: float) -> bool:
        """Do about the lease what is due. False: it is not as this operator knows it."""
        move = next_move(self._lease, now_s - self._seen_at_s, self._me)
        if move == "wait":
            return True
        wanted = held(self._lease, self._namespace, self._me, micro_time())
        try:
            if move == "create":
                self._lease = await self._api.create(self._collection, wanted)
            else:
                self._lease = await self._api.replace(f"{self._collection}/{LEASE}", wanted)
        except ApiRefused as error:
            if error.status not in (HTTPStatus.CONFLICT, HTTPStatus.NOT_FOUND):
                raise
            return False
        self._trusted_until_s = now_s + TRUST_S
        return True

    async def _read(self) -> Object | None:
        try:
            return await self._api.get(f"{self._collection}/{LEASE}")
        except ApiRefused as error:
            if error.status != HTTPStatus.NOT_FOUND:
                raise
            return None

    def _see(self, lease: Object | None, now_s: float) -> None:
        if lease is None or self._lease is None or lease.get("spec") != self._lease.get("spec"):
            self._seen_at_s = now_s
        self._lease = lease

    async def release(self) -> None:
        """Let another operator go on at once. Harmless if this one does not hold it."""
        lease, leads = self._lease, self.leads
        self._trusted_until_s = 0.0
        if not leads or lease is None:
            return
        freed = lease | {"spec": lease["spec"] | {"holderIdentity": "", "leaseDurationSeconds": 1}}
        try:
            await self._api.replace(f"{self._collection}/{LEASE}", freed)
        except (ApiAway, ApiRefused, Expired) as error:
            log.info("lease.not_released", error=str(error))
