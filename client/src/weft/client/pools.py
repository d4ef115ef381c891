"""The pools API: agents that coordinators start, keep at their number, replace and stop. For operators."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence

from weft.client.api import Api
from weft.client.methods import Method
from weft.client.pool_snapshot import (
    Autoscale,
    MemberState,
    Pool,
    PoolMember,
    PoolProvider,
    PoolState,
    PoolTemplate,
    Rollout,
)
from weft.rpc.times import duration
from weft.v1 import pool_pb2 as pb

__all__ = [
    "Autoscale",
    "MemberState",
    "Pool",
    "PoolMember",
    "PoolProvider",
    "PoolState",
    "PoolTemplate",
    "Pools",
    "Rollout",
]

_SERVICE = "weft.v1.FleetService"
_CREATE = Method.of(f"{_SERVICE}/CreatePool", pb.CreatePoolRequest, pb.CreatePoolResponse)
_LAUNCH = Method.of(f"{_SERVICE}/LaunchAgents", pb.LaunchAgentsRequest, pb.LaunchAgentsResponse)
_GET = Method.of(f"{_SERVICE}/GetPool", pb.GetPoolRequest, pb.GetPoolResponse)
_LIST = Method.of(f"{_SERVICE}/ListPools", pb.ListPoolsRequest, pb.ListPoolsResponse)
_SCALE = Method.of(f"{_SERVICE}/ScalePool", pb.ScalePoolRequest, pb.ScalePoolResponse)
_PAUSE = Method.of(f"{_SERVICE}/PausePool", pb.PausePoolRequest, pb.PausePoolResponse)
_RESUME = Method.of(f"{_SERVICE}/ResumePool", pb.ResumePoolRequest, pb.ResumePoolResponse)
_RESTART = Method.of(f"{_SERVICE}/RestartPool", pb.RestartPoolRequest, pb.RestartPoolResponse)
_UPDATE = Method.of(f"{_SERVICE}/UpdatePool", pb.UpdatePoolRequest, pb.UpdatePoolResponse)
_ROLL_BACK = Method.of(f"{_SERVICE}/RollBackPool", pb.RollBackPoolRequest, pb.RollBackPoolResponse)
_STOP = Method.of(f"{_SERVICE}/StopPool", pb.StopPoolRequest, pb.StopPoolResponse)
_DELETE = Method.of(f"{_SERVICE}/DeletePool", pb.DeletePoolRequest, pb.DeletePoolResponse)
_PROVIDERS = Method.of(
    f"{_SERVICE}/ListPoolProviders", pb.ListPoolProvidersRequest, pb.ListPoolProvidersResponse
)
_PAGE = 100
# Looks of `wait_ready`: sooner at first.
_FIRST_LOOK_S, _LAST_LOOK_S = 0.05, 0.5


class Pools:
    """Pools; `Mesh.pools` gives it. Every method raises `WeftError`, and `Unreachable` when the coordinator was away for too long."""

    def __init__(self, api: Api) -> None:
        self._api = api

    async def create(
        self,
        name: str,
        template: PoolTemplate,
        *,
        size: int = 1,
        autoscale: Autoscale | None = None,
        ttl_s: float | None = None,
        idle_stop_s: float | None = None,
        rollout: Rollout | None = None,
    ) -> Pool:
        """Store a pool: its members are started. With the same arguments it may be repeated.

        Args:
            name: 1 to 40 lower-case letters, digits and '-'.
            size: how many members it has, up to 200; with `autoscale`, how many it begins with.
            autoscale: as many as the work needs.
            ttl_s: it is deleted after so long. None: it is kept.
            idle_stop_s: members that have had nothing to do for so long are stopped, until there is work. None: they are kept.
            rollout: how new versions come.

        Raises:
            AlreadyExists: a pool of this name has another spec, or is being deleted.
            InvalidArgument: the message names the field.
            FailedPrecondition: the coordinator may not use the template's provider.
        """
        spec = pb.PoolSpec(
            template=template.proto,
            size=size,
            autoscale=None if autoscale is None else autoscale.proto,
            ttl=None if ttl_s is None else duration(ttl_s),
            idle_stop=None if idle_stop_s is None else duration(idle_stop_s),
            rollout=None if rollout is None else rollout.proto,
        )
        return Pool.of((await self._api.call(_CREATE, pb.CreatePoolRequest(name=name, spec=spec))).pool)

    async def launch(
        self,
        template: PoolTemplate,
        *,
        name: str = "",
        count: int = 1,
        ttl_s: float | None = None,
        idle_stop_s: float | None = None,
    ) -> Pool:
        """Launch agents that are not replaced when they end. Their pool is deleted with the last one.

        Args:
            name: of their pool; a call with a name may be repeated. Empty: one is generated.
            ttl_s: they are stopped after so long. None: they go on.
            idle_stop_s: they are stopped when they have had nothing to do for so long. None: they go on.
        """
        asked = pb.LaunchAgentsRequest(
            name=name,
            template=template.proto,
            count=count,
            ttl=None if ttl_s is None else duration(ttl_s),
            idle_stop=None if idle_stop_s is None else duration(idle_stop_s),
        )
        return Pool.of((await self._api.call(_LAUNCH, asked, repeatable=bool(name))).pool)

    async def get(self, name: str) -> Pool:
        """The pool as it is now.

        Raises:
            NotFound: no pool has this name.
        """
        return Pool.of((await self._api.call(_GET, pb.GetPoolRequest(name=name))).pool)

    async def list(self) -> AsyncGenerator[Pool]:
        """All pools by name, without their members; page by page as they are taken."""
        page_token = ""
        while True:
            asked = pb.ListPoolsRequest(page_size=_PAGE, page_token=page_token)
            page = await self._api.call(_LIST, asked)
            for pool in page.pools:
                yield Pool.of(pool)
            page_token = page.next_page_token
            if not page_token:
                return

    async def wait_ready(self, name: str, *, timeout_s: float = 60.0) -> Pool:
        """Wait until a pool is as it should be: ready, paused or stopped.

        Raises:
            TimeoutError: it is not, within the time: its `problem` may say why.
            NotFound: no pool has this name.
        """
        rest_s = _FIRST_LOOK_S
        pool = await self.get(name)
        try:
            async with asyncio.timeout(timeout_s):
                while not _settled(pool):
                    await asyncio.sleep(rest_s)
                    rest_s = min(_LAST_LOOK_S, rest_s * 2)
                    pool = await self.get(name)
        except TimeoutError:
            why = f": {pool.problem}" if pool.problem else ""
            raise TimeoutError(
                f"pool {name} has {pool.ready} of {pool.wanted} members ready after {timeout_s:g} s{why}"
            ) from None
        return pool

    async def scale(self, name: str, size: int = 0, *, autoscale: Autoscale | None = None) -> Pool:
        """Change how many members a pool has: so many, or as many as the work needs."""
        asked = pb.ScalePoolRequest(
            name=name, size=size, autoscale=None if autoscale is None else autoscale.proto
        )
        return Pool.of((await self._api.call(_SCALE, asked)).pool)

    async def update(self, name: str, template: PoolTemplate | None = None, *, percent: int = 0) -> Pool:
        """Give a pool another template: members of the new version take the place of others, some at a time. A version that does not become
        healthy is rolled back by itself.

        Args:
            template: the whole new template. None: the one in force.
            percent: so many of 100 members get the new version. 0: all.
        """
        asked = pb.UpdatePoolRequest(
            name=name, template=None if template is None else template.proto, percent=percent
        )
        return Pool.of((await self._api.call(_UPDATE, asked)).pool)

    async def roll_back(self, name: str) -> Pool:
        """Go back to the version before the last update."""
        return Pool.of((await self._api.call(_ROLL_BACK, pb.RollBackPoolRequest(name=name))).pool)

    async def pause(self, name: str, reason: str = "", *, freeze: bool = False) -> Pool:
        """Its members take no new work until `resume`, and keep what they run.

        Args:
            freeze: each stands still when it has finished what it runs, or after the template's grace: it keeps its memory, uses no CPU, and
                has left the mesh until `resume`.

        Raises:
            FailedPrecondition: the pool's provider cannot freeze members.
        """
        asked = pb.PausePoolRequest(name=name, reason=reason, freeze=freeze)
        return Pool.of((await self._api.call(_PAUSE, asked)).pool)

    async def resume(self, name: str) -> Pool:
        """Go on, after `pause` or `stop`; a failing pool tries again at once."""
        return Pool.of((await self._api.call(_RESUME, pb.ResumePoolRequest(name=name))).pool)

    async def restart(self, name: str) -> Pool:
        """Replace all members by new ones, some at a time."""
        # Not repeated: each call replaces them.
        asked = pb.RestartPoolRequest(name=name)
        return Pool.of((await self._api.call(_RESTART, asked, repeatable=False)).pool)

    async def stop(self, name: str) -> Pool:
        """Stop all members in order. The pool stays, until `resume` or `delete`."""
        return Pool.of((await self._api.call(_STOP, pb.StopPoolRequest(name=name))).pool)

    async def delete(self, name: str) -> Pool:
        """Stop all members in order, and then delete the pool.

        Raises:
            NotFound: no pool has this name.
        """
        return Pool.of((await self._api.call(_DELETE, pb.DeletePoolRequest(name=name))).pool)

    async def providers(self) -> Sequence[PoolProvider]:
        """The providers that the coordinator may use."""
        answer = await self._api.call(_PROVIDERS, pb.ListPoolProvidersRequest())
        return tuple(map(PoolProvider.of, answer.providers))


def _settled(pool: Pool) -> bool:
    return pool.state in (PoolState.READY, PoolState.PAUSED, PoolState.STOPPED, PoolState.IDLE)
