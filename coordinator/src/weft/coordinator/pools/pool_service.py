"""The servicer of `weft.v1.FleetService`: checks requests, and reads and changes pools in the store's table."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from typing import Any

from grpc import aio

from weft.coordinator import guard
from weft.coordinator.pools.pool_codec import (
    check_autoscale,
    check_pool_name,
    check_size,
    check_template,
    without_secrets,
)
from weft.coordinator.pools.pool_creation import PoolCreation
from weft.coordinator.pools.pool_table import PoolTable
from weft.coordinator.pools.provider import FreezingProvider
from weft.coordinator.pools.provider_catalogue import KnownProvider
from weft.coordinator.pools.rollout_rules import new_version, roll_back
from weft.coordinator.pools.scaling_rules import wanted_size
from weft.coordinator.request_checks import check_page_size, check_page_token, check_reason
from weft.rpc import refusals
from weft.rpc.errors import NotFound
from weft.rpc.identity.caller import OPERATOR
from weft.rpc.identity.edge import Edge
from weft.rpc.times import timestamp
from weft.v1 import pool_pb2, pool_pb2_grpc

Context = aio.ServicerContext[Any, Any]


class FleetService(pool_pb2_grpc.FleetServiceServicer):
    """Each RPC's errors and guarantee are in the contract's comments. Large because it has a method for each RPC.

    Args:
        providers: those that this coordinator may use.
        problems: why they cannot be used now, by name; empty: they can.
    """

    def __init__(
        self,
        table: PoolTable,
        creation: PoolCreation,
        providers: Mapping[str, KnownProvider],
        problems: Callable[[], Mapping[str, str]],
        edge: Edge,
    ) -> None:
        self._table, self._creation = table, creation
        self._providers, self._problems, self._edge = providers, problems, edge

    @guard.unary
    async def CreatePool(
        self, request: pool_pb2.CreatePoolRequest, context: Context
    ) -> pool_pb2.CreatePoolResponse:
        by = self._edge.caller(context).subject
        pool, existed = await self._creation.create(request.name, request.spec, by)
        return pool_pb2.CreatePoolResponse(pool=pool, existed=existed)

    @guard.unary
    async def LaunchAgents(
        self, request: pool_pb2.LaunchAgentsRequest, context: Context
    ) -> pool_pb2.LaunchAgentsResponse:
        spec = pool_pb2.PoolSpec(
            template=request.template,
            size=request.count or 1,
            ephemeral=True,
            ttl=request.ttl if request.HasField("ttl") else None,
            idle_stop=request.idle_stop if request.HasField("idle_stop") else None,
        )
        name = request.name or f"launched-{secrets.token_hex(4)}"
        by = self._edge.caller(context).subject
        pool, existed = await self._creation.create(name, spec, by)
        return pool_pb2.LaunchAgentsResponse(pool=pool, existed=existed)

    @guard.unary
    async def GetPool(self, request: pool_pb2.GetPoolRequest, context: Context) -> pool_pb2.GetPoolResponse:
        check_pool_name(request.name)
        pool, _ = await self._table.read(request.name)
        return pool_pb2.GetPoolResponse(pool=self._shown(pool, context))

    @guard.unary
    async def ListPools(
        self, request: pool_pb2.ListPoolsRequest, context: Context
    ) -> pool_pb2.ListPoolsResponse:
        check_page_size(request.page_size)
        check_page_token(request.page_token, check_pool_name)
        pools, cursor = await self._table.page(request.page_size or 100, request.page_token)
        for pool in pools:
            self._shown(pool, context)
            del pool.members[:]
        return pool_pb2.ListPoolsResponse(pools=pools, next_page_token=cursor)

    def _shown(self, pool: pool_pb2.Pool, context: Context) -> pool_pb2.Pool:
        if self._edge.caller(context).role != OPERATOR:
            without_secrets(pool)
        return pool

    @guard.unary
    async def ScalePool(
        self, request: pool_pb2.ScalePoolRequest, context: Context
    ) -> pool_pb2.ScalePoolResponse:
        check_size(request.size, "size")
        by_work = request.HasField("autoscale")
        if by_work:
            check_autoscale(request.autoscale, "autoscale")

        def scale(pool: pool_pb2.Pool) -> bool:
            if pool.spec.ephemeral:
                raise refusals.invalid_field("an ephemeral pool keeps its size", field="name")
            if by_work:
                pool.spec.autoscale.CopyFrom(request.autoscale)
                pool.scaled = max(request.autoscale.min, min(request.autoscale.max, pool.wanted))
                pool.ClearField("lower_time")
            else:
                pool.spec.size = request.size
                pool.spec.ClearField("autoscale")
            pool.idle = False
            return True

        return pool_pb2.ScalePoolResponse(pool=await self._change(request.name, scale, context))

    @guard.unary
    async def PausePool(
        self, request: pool_pb2.PausePoolRequest, context: Context
    ) -> pool_pb2.PausePoolResponse:
        check_reason(request.reason)
        now = self._table.now()

        def pause(pool: pool_pb2.Pool) -> bool:
            if request.freeze:
                self._check_freezes(pool)
            if not pool.paused or (request.freeze and not pool.frozen):
                pool.pause_time.CopyFrom(timestamp(now))
            pool.paused, pool.frozen, pool.pause_reason = True, request.freeze, request.reason
            return True

        return pool_pb2.PausePoolResponse(pool=await self._change(request.name, pause, context))

    def _check_freezes(self, pool: pool_pb2.Pool) -> None:
        """
        Raises:
            FailedPrecondition: POOL_CANNOT_FREEZE, POOL_PROVIDER_UNKNOWN.
        """
        name = pool.spec.template.provider
        self._creation.check_provider(pool.spec.template)
        if not isinstance(self._providers[name].provider, FreezingProvider):
            raise refusals.pool_cannot_freeze(pool.name, name)

    @guard.unary
    async def ResumePool(
        self, request: pool_pb2.ResumePoolRequest, context: Context
    ) -> pool_pb2.ResumePoolResponse:
        def resume(pool: pool_pb2.Pool) -> bool:
            if not (pool.paused or pool.stopped or pool.idle or pool.HasField("retry_time")):
                return False
            pool.paused, pool.pause_reason, pool.stopped, pool.idle = False, "", False, False
            pool.frozen = False
            pool.ClearField("pause_time")
            pool.ClearField("retry_time")
            return True

        return pool_pb2.ResumePoolResponse(pool=await self._change(request.name, resume, context))

    @guard.unary
    async def RestartPool(
        self, request: pool_pb2.RestartPoolRequest, context: Context
    ) -> pool_pb2.RestartPoolResponse:
        def restart(pool: pool_pb2.Pool) -> bool:
            if pool.spec.ephemeral:
                raise refusals.invalid_field("an ephemeral pool is not restarted", field="name")
            new_version(pool, None)
            return True

        return pool_pb2.RestartPoolResponse(pool=await self._change(request.name, restart, context))

    @guard.unary
    async def UpdatePool(
        self, request: pool_pb2.UpdatePoolRequest, context: Context
    ) -> pool_pb2.UpdatePoolResponse:
        if request.percent > 100:
            raise refusals.invalid_field("percent is at most 100", field="percent")
        given = request.template if request.HasField("template") else None
        if given is not None:
            check_template(given, "template")
            self._creation.check_provider(given)

        def update(pool: pool_pb2.Pool) -> bool:
            if pool.spec.ephemeral:
                raise refusals.invalid_field("an ephemeral pool is not updated", field="name")
            if given is not None and given.provider != pool.spec.template.provider:
                raise refusals.invalid_field(
                    f"the members of this pool are run by {pool.spec.template.provider}: make another pool",
                    field="template.provider",
                )
            is_new = given is not None and given != pool.spec.template
            if is_new:
                new_version(pool, given)
            percent = request.percent % 100
            if not is_new and percent == pool.percent:
                return False
            pool.percent, pool.rolling = percent, True
            return True

        return pool_pb2.UpdatePoolResponse(pool=await self._change(request.name, update, context))

    @guard.unary
    async def RollBackPool(
        self, request: pool_pb2.RollBackPoolRequest, context: Context
    ) -> pool_pb2.RollBackPoolResponse:
        def back(pool: pool_pb2.Pool) -> bool:
            return roll_back(pool, "an operator went back")

        return pool_pb2.RollBackPoolResponse(pool=await self._change(request.name, back, context))

    @guard.unary
    async def StopPool(
        self, request: pool_pb2.StopPoolRequest, context: Context
    ) -> pool_pb2.StopPoolResponse:
        def stop(pool: pool_pb2.Pool) -> bool:
            changes, pool.stopped = not pool.stopped, True
            return changes

        return pool_pb2.StopPoolResponse(pool=await self._change(request.name, stop, context))

    @guard.unary
    async def DeletePool(
        self, request: pool_pb2.DeletePoolRequest, context: Context
    ) -> pool_pb2.DeletePoolResponse:
        check_pool_name(request.name)

        def delete(pool: pool_pb2.Pool) -> bool:
            changes, pool.deleting = not pool.deleting, True
            pool.state, pool.wanted = pool_pb2.POOL_STATE_DELETING, wanted_size(pool)
            return changes

        pool = await self._table.change(request.name, delete, self._edge.caller(context).subject)
        if not pool.members and pool.spec.template.provider not in self._providers:
            # Nobody may be there to look at it.
            await self._remove(request.name)
        return pool_pb2.DeletePoolResponse(pool=pool)

    async def _remove(self, name: str) -> None:
        try:
            pool, revision = await self._table.read(name)
        except NotFound:
            return
        if pool.deleting and not pool.members:
            await self._table.delete(name, revision)

    async def _change(
        self, name: str, change: Callable[[pool_pb2.Pool], bool], context: Context
    ) -> pool_pb2.Pool:
        """Change what a pool should be.

        Raises:
            NotFound: POOL_NOT_FOUND.
            FailedPrecondition: POOL_DELETING, POOL_ENDED.
        """
        check_pool_name(name)
        now = self._table.now()

        def changed(pool: pool_pb2.Pool) -> bool:
            if pool.deleting:
                raise refusals.pool_deleting(name)
            if pool.HasField("end_time"):
                raise refusals.pool_ended(name)
            if not change(pool):
                return False
            pool.update_time.CopyFrom(timestamp(now))
            # Until somebody has looked at it.
            pool.state, pool.wanted = pool_pb2.POOL_STATE_CHANGING, wanted_size(pool)
            return True

        return await self._table.change(name, changed, self._edge.caller(context).subject)

    @guard.unary
    async def ListPoolProviders(
        self, request: pool_pb2.ListPoolProvidersRequest, context: Context
    ) -> pool_pb2.ListPoolProvidersResponse:
        problems = self._problems()
        found = []
        for each in self._providers.values():
            made = pool_pb2.PoolProvider(name=each.name, package=each.package, problem=each.problem)
            if each.provider is not None:
                made.description, made.place = each.provider.description, each.provider.place
                made.problem = problems.get(each.name, "")
                made.can_freeze = isinstance(each.provider, FreezingProvider)
            found.append(made)
        return pool_pb2.ListPoolProvidersResponse(providers=found)
