"""Queues as operators see and steer them: depths from the store, agents from the register, and pausing."""

from __future__ import annotations

from collections.abc import Callable

from weft.coordinator.contracts.contract_catalogue import Contracts
from weft.coordinator.fleet.agent_register import AgentRegister
from weft.coordinator.fleet.queue_explainer import QueueExplainer
from weft.coordinator.store.base import Store
from weft.coordinator.store.records import QueueDepth
from weft.coordinator.store.rules import QueueKey
from weft.rpc.times import duration
from weft.v1 import fleet_pb2


class Queues:
    """Lists queues and pauses them."""

    def __init__(
        self,
        store: Store,
        register: AgentRegister,
        contracts: Contracts,
        explainer: QueueExplainer,
        wake: Callable[[], None],
    ) -> None:
        self._store = store
        self._register = register
        self._contracts = contracts
        self._explainer = explainer
        self.wake = wake

    async def list(self, method: str = "") -> list[fleet_pb2.Queue]:
        """Queues that hold tasks, are paused, or whose method some agent serves now."""
        depths = dict(await self._store.depths())
        paused = set(await self._store.paused())
        durable = {
            name for name in self._register.served() if (info := self._contracts.find(name)) and info.durable
        }
        for name in paused | durable:
            depths.setdefault(QueueKey(name), QueueDepth())
        keys = sorted(
            (key for key in depths if not method or key.method == method),
            key=lambda key: (key.method, str(key.requirements)),
        )
        return [await self._queue(key, depths[key], paused=key.method in paused) for key in keys]

    async def pause(self, method: str, *, paused: bool) -> None:
        """Pause or resume a method."""
        await self._store.set_paused(method, paused=paused)
        self.wake()

    async def _queue(self, key: QueueKey, depth: QueueDepth, *, paused: bool) -> fleet_pb2.Queue:
        queue = fleet_pb2.Queue(
            method=key.method,
            requirements=str(key.requirements),
            queued=depth.queued,
            scheduled=depth.scheduled,
            running=depth.running,
            paused=paused,
            agents=self._register.serving(key),
        )
        if depth.queued:
            queue.waiting.CopyFrom((await self._explainer.queue(key, paused=paused)).proto())
        if depth.oldest_at is not None:
            queue.oldest_age.CopyFrom(duration(max(0.0, self._store.now() - depth.oldest_at)))
        return queue
