"""Queues as operators see and steer them: depths and run limits from the store, agents from the register; pausing and limiting."""

from __future__ import annotations

from collections.abc import Callable

from weft.coordinator.contracts.contract_catalogue import Contracts
from weft.coordinator.fleet.agent_register import AgentRegister
from weft.coordinator.fleet.queue_explainer import QueueExplainer
from weft.coordinator.policy.operator_limits import limit_edit
from weft.coordinator.policy.policy_rows import PolicyRows
from weft.coordinator.policy.run_limit_sync import RunLimitSync
from weft.coordinator.store.base import Store
from weft.coordinator.store.records import QueueDepth
from weft.coordinator.store.rules import QueueKey
from weft.coordinator.store.run_limits import RunLimitRules
from weft.rpc.times import duration
from weft.v1 import coordinator_pb2, fleet_pb2, options_pb2


class Queues:
    """Lists queues, pauses them and limits them."""

    def __init__(
        self,
        store: Store,
        register: AgentRegister,
        contracts: Contracts,
        explainer: QueueExplainer,
        operator_limits: PolicyRows,
        run_limits: RunLimitSync,
        wake: Callable[[], None],
    ) -> None:
        self._store = store
        self._register = register
        self._contracts = contracts
        self._explainer = explainer
        self._operator_limits = operator_limits
        self._run_limits = run_limits
        self.wake = wake

    async def list(self, method: str = "") -> list[fleet_pb2.Queue]:
        """Queues that hold tasks, are paused or limited, or whose method some agent serves now."""
        depths = dict(await self._store.depths())
        paused = set(await self._store.paused())
        limits = await self._store.run_limits()
        durable = {
            name for name in self._register.served() if (info := self._contracts.find(name)) and info.durable
        }
        for name in paused | durable | limits.keys() | self._contracts.policies.limits.keys():
            depths.setdefault(QueueKey(name), QueueDepth())
        keys = sorted(
            (key for key in depths if not method or key.method == method),
            key=lambda key: (key.method, str(key.requirements)),
        )
        queues = [await self._queue(key, depths[key], paused=key.method in paused) for key in keys]
        for queue in queues:
            queue.limits.extend(_limits(limits.get(queue.method, {})))
            if (own := self._contracts.policies.limits.get(queue.method)) is not None:
                queue.operator_limits.extend(own.run_limits)
        return queues

    async def pause(self, method: str, *, paused: bool) -> None:
        """Pause or resume a method."""
        await self._store.set_paused(method, paused=paused)
        self.wake()

    async def limit(self, method: str, limit: coordinator_pb2.QueueLimits | None, *, clear: bool) -> None:
        """Set or remove operators' run limits of a method; they hold when this returns.

        Raises:
            InvalidArgument: INVALID_FIELD.
        """
        await self._operator_limits.change(
            method, limit_edit(self._contracts.policies, method, limit, clear=clear)
        )
        await self._run_limits.settle()
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
            limited=depth.limited,
        )
        if depth.queued:
            queue.waiting.CopyFrom((await self._explainer.depth(key, depth, paused=paused)).proto())
        if depth.oldest_at is not None:
            queue.oldest_age.CopyFrom(duration(max(0.0, self._store.now() - depth.oldest_at)))
        return queue


def _limits(rules: RunLimitRules) -> list[options_pb2.RunLimit]:
    return [
        options_pb2.RunLimit(
            key=expression,
            max_running=rule.max_running,
            max_rate_per_s=rule.rate_per_s,
            burst=rule.burst,
            at_limit=int(rule.at_limit),  # type: ignore[arg-type]
        )
        for expression, rule in sorted(rules.items())
    ]
