"""Keeps the store's run limits as the policies in force say: contract, override and operators' limits together.

Every coordinator does this for each method whose policy has changed, and no other part sets run limits. Coordinators that learn
of a change at different times may write an older rule for a moment; whoever learns of it last writes the newest.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace

from weft.coordinator.policy.policy_table import PolicyTable
from weft.coordinator.store.base import Store
from weft.coordinator.store.run_limits import RunLimitRules
from weft.rpc.process.logs import get_logger

log = get_logger(__name__)

# How often all rules are compared: another coordinator may have written an older one, and ended.
COMPARE_S = 10.0


class RunLimitSync:
    """Writes run limits to the store.

    Args:
        cancel_grace_s: how long a running task may take to end that a limit cancels.
    """

    def __init__(self, store: Store, policies: PolicyTable, cancel_grace_s: float) -> None:
        self._store = store
        self._policies = policies
        self._cancel_grace_s = cancel_grace_s
        # Methods whose rules in the store may be older than their policies.
        self._changed: set[str] = set()
        self._settling = asyncio.Lock()
        self._compare_at_s = 0.0
        policies.on_change(self._changed.update)

    async def start(self) -> None:
        """Write what differs, also for methods that no contract has any more."""
        self._changed |= await self._all()
        await self.settle()

    async def run_once(self, now_s: float) -> None:
        """Write what has changed; now and then, all that differs. By the monotonic clock."""
        if self._store.shared and now_s >= self._compare_at_s:
            self._compare_at_s = now_s + COMPARE_S
            self._changed |= await self._all()
        await self.settle()

    async def settle(self) -> None:
        """Write what has changed. When this returns, no task starts by an older rule."""
        # The lock also without a change: another call may be writing it.
        async with self._settling:
            while self._changed:
                await self._write(set(self._changed))

    async def _all(self) -> set[str]:
        return {*await self._store.run_limits(), *(policy.method for policy in self._policies.all())}

    async def _write(self, methods: set[str]) -> None:
        stored = await self._store.run_limits()
        for method in methods:
            # Before the rules are read: a change during the write comes again.
            self._changed.discard(method)
            rules = self._rules(method)
            if rules == dict(stored.get(method, {})):
                continue
            try:
                await self._store.set_run_limits(method, rules)
            except BaseException:
                self._changed.add(method)
                raise
            log.info("run_limits.changed", method=method, limits=len(rules))

    def _rules(self, method: str) -> RunLimitRules:
        policy = self._policies.find(method)
        if policy is None:
            return {}
        return {
            limit.expression: replace(limit.rule, grace_s=self._cancel_grace_s) for limit in policy.run_limits
        }
