"""The Redis store's fleet: sessions and leases, agents, contracts, queues."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from weft.coordinator.store.queue_depths import by_base
from weft.coordinator.store.records import AgentRecord, Owner, QueueDepth
from weft.coordinator.store.redis import shared_fleet
from weft.coordinator.store.redis.encoding import queue_key
from weft.coordinator.store.redis.redis_link import RedisLink
from weft.coordinator.store.redis.write_buffer import WriteBuffer
from weft.coordinator.store.rules import QueueKey
from weft.rpc import refusals


class RedisFleet:
    """The fleet's half of a Redis store; `RedisStore` makes the parts. Large because `FleetStore` is."""

    _link: RedisLink
    _buffer: WriteBuffer
    _agents: shared_fleet.AgentMirror
    _catalogue: shared_fleet.Catalogue

    # -- sessions -------------------------------------------------------------------------------------------------

    async def register(self, agent_id: str, instance_id: str, description: bytes, lease_s: float) -> int:
        epoch = await self._link.run("register", [agent_id, instance_id, description, lease_s])
        if not epoch:
            raise refusals.agent_id_in_use(agent_id)
        self._buffer.note_leases([Owner(agent_id, int(epoch))], lease_s)
        return int(epoch)

    async def renew(self, owners: Sequence[Owner], lease_s: float) -> Sequence[bool]:
        known = await self._link.run("renew", [lease_s, list(owners)])
        self._buffer.note_leases(
            [owner for owner, holds in zip(owners, known or (), strict=True) if holds], lease_s
        )
        return list(known or ())

    async def detach(self, owner: Owner, lease_s: float) -> None:
        self._buffer.note_leases([owner], 0.0)
        await self._link.run("detach", [*owner, lease_s])

    async def retire(self, owner: Owner) -> None:
        self._buffer.note_leases([owner], 0.0)
        self._buffer.flush()
        await self._link.run("retire", list(owner))

    @property
    def answered_at_s(self) -> float:
        return self._link.activity.answered_at_s

    @property
    def fleet_moved(self) -> bool:
        read = [self._agents.version, self._catalogue.version]
        return self._agents.incomplete or self._link.versions[:2] != read

    async def agents(self) -> Mapping[str, AgentRecord]:
        await self._agents.refresh()
        return self._agents.agents

    async def agent_news(self, also: Collection[str] = ()) -> Mapping[str, AgentRecord | None]:
        await self._agents.refresh()
        return self._agents.take_news(also)

    async def share(self, views: Mapping[str, tuple[int, bytes]], loads: Mapping[str, bytes]) -> None:
        await shared_fleet.share(self._link, views, loads)

    async def loads(self, agent_ids: Sequence[str]) -> Mapping[str, bytes]:
        return await shared_fleet.loads(self._link, self._link.keys, agent_ids)

    async def set_desired(self, agent_id: str, desired_state: int) -> bool:
        return bool(await self._link.run("set_desired", [agent_id, desired_state]))

    async def forget_agent(self, agent_id: str) -> None:
        await self._link.run("forget_agent", [agent_id])

    async def post(self, message: bytes) -> None:
        # This coordinator hears it too.
        posted: Any = self._link.client.publish(self._link.posts, message)
        await self._link.ask("post", posted)

    # -- contracts and queues ---------------------------------------------------------------------------------------

    async def put_contract(self, digest: str, file_descriptor_set: bytes, methods: Sequence[str]) -> None:
        await self._link.run("put_contract", [digest, file_descriptor_set, list(methods)])

    async def contracts(self, known: Collection[str] = ()) -> Mapping[str, tuple[bytes, Sequence[str]]]:
        return await self._catalogue.read(known)

    async def forget_contracts(
        self, hosted: Collection[str], methods: Collection[str], grace_s: float
    ) -> Sequence[str]:
        if self._agents.has_news:
            return []
        self._buffer.flush()
        request = [self._agents.version, list(hosted), list(methods), grace_s]
        return [digest.decode() for digest in await self._link.run("forget_contracts", request) or ()]

    async def depths(self) -> Mapping[QueueKey, QueueDepth]:
        self._buffer.flush()
        return by_base(
            (queue_key(name.decode()), QueueDepth(queued, scheduled, running, oldest_at or None, parked))
            for name, queued, scheduled, running, oldest_at, parked in await self._link.run("depths", [])
            or ()
        )

    async def set_paused(self, method: str, *, paused: bool) -> None:
        self._buffer.flush()
        self._link.paused = self._link.paused | {method} if paused else self._link.paused - {method}
        await self._link.run("pause", [method, paused])

    async def paused(self) -> Sequence[str]:
        return sorted(
            method.decode()
            for method in await self._link.ask(
                "paused", self._link.client.smembers(self._link.keys("paused"))
            )
        )
