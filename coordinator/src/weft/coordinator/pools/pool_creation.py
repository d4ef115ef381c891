"""Makes pools: checks them, also by their providers, and stores new ones."""

from __future__ import annotations

import secrets
from collections.abc import Mapping

from weft.coordinator.pools.pool_codec import check_pool_name, check_pool_spec, check_template
from weft.coordinator.pools.pool_table import PoolTable
from weft.coordinator.pools.provider_catalogue import KnownProvider
from weft.coordinator.pools.scaling_rules import wanted_size
from weft.rpc import refusals
from weft.rpc.times import timestamp
from weft.v1 import pool_pb2


class PoolCreation:
    """Makes the pools of a mesh.

    Args:
        providers: those that this coordinator may use.
    """

    def __init__(self, table: PoolTable, providers: Mapping[str, KnownProvider]) -> None:
        self._table, self._providers = table, providers

    async def create(self, name: str, spec: pool_pb2.PoolSpec, by: str) -> tuple[pool_pb2.Pool, bool]:
        """Store a new pool; True: it was there already.

        Args:
            by: who asks for it.

        Raises:
            WeftError: as `CreatePool` says.
        """
        pool = pool_pb2.Pool(name=name, spec=spec, version=1, last_version=1)
        pool.scaled = max(spec.autoscale.min, min(spec.autoscale.max, spec.size))
        return await self.store(pool, by)

    async def store(self, pool: pool_pb2.Pool, by: str) -> tuple[pool_pb2.Pool, bool]:
        """Store a pool that has a name, a spec and its versions, and no members yet; True: it was there already.

        Raises:
            WeftError: as `CreatePool` says.
        """
        check_pool_name(pool.name)
        check_pool_spec(pool.spec)
        self.check_provider(pool.spec.template)
        if pool.previous_version:
            check_template(pool.previous_template, "previous_template")
            self.check_provider(pool.previous_template)
        now = timestamp(self._table.now())
        pool.uid = secrets.token_hex(8)
        pool.create_time.CopyFrom(now)
        pool.update_time.CopyFrom(now)
        pool.state = pool_pb2.POOL_STATE_CHANGING
        pool.wanted = wanted_size(pool)
        known = await self._table.create(pool, by)
        if known is None:
            return pool, False
        if known.spec != pool.spec or known.deleting:
            raise refusals.pool_exists(pool.name)
        return known, True

    def check_provider(self, template: pool_pb2.PoolTemplate) -> None:
        """
        Raises:
            FailedPrecondition: POOL_PROVIDER_UNKNOWN.
            InvalidArgument: the provider cannot start such a template.
        """
        allowed = ", ".join(self._providers)
        known = self._providers.get(template.provider)
        if known is None:
            raise refusals.pool_provider_unknown(template.provider, allowed)
        if known.provider is None:
            raise refusals.pool_provider_unknown(template.provider, allowed, known.problem)
        known.provider.check(template)
