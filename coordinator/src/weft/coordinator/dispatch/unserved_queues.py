"""Queues that no connected agent can run, of methods with a fallback: after a grace, their tasks go on at the fallback.

A submission is placed where an agent is (`fleet.matching`). This is about tasks that wait already when their last agent leaves: new
ones, and those whose next attempt is due. Agents that restart are back within the grace. If no agent serves a fallback either, tasks
wait at their own method.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from weft.coordinator.fleet.agent_register import AgentRegister
from weft.coordinator.policy.policy_table import PolicyTable
from weft.coordinator.store.base import Store
from weft.coordinator.store.rules import QueueKey
from weft.rpc.process.logs import get_logger

log = get_logger(__name__)

# Tasks of a queue that one call of the store looks at.
PORTION = 250


class UnservedQueues:
    """Knows since when queues are not served.

    Args:
        look: reads the store's news of agents.
        grace_s: how long a queue waits for an agent.
    """

    def __init__(
        self,
        store: Store,
        register: AgentRegister,
        policies: PolicyTable,
        look: Callable[[], Awaitable[None]],
        grace_s: float,
    ) -> None:
        self._store = store
        self._register = register
        self._policies = policies
        self._look = look
        self._grace_s = grace_s
        # By the monotonic clock.
        self._since_s: dict[QueueKey, float] = {}

    async def run_once(self, now_s: float) -> None:
        """Let tasks fall back that have waited for an agent for too long."""
        known = self._since_s
        unserved = [key for key in self._store.ready_depths() if self._falls_back(key)]
        self._since_s = {key: known.get(key, now_s) for key in unserved}
        due = [key for key, since_s in self._since_s.items() if now_s - since_s >= self._grace_s]
        if due and self._store.shared:
            # Another coordinator may have an agent that is new.
            await self._look()
        for key in due:
            if self._falls_back(key):
                await self._leave(key)
            # What is left has no fallback of its own, or came meanwhile.
            self._since_s[key] = now_s

    def _falls_back(self, key: QueueKey) -> bool:
        """Whether no agent can run the tasks of a queue, and one can run a fallback of its method."""
        policy = self._policies.find(key.method)
        if policy is None or not policy.fallback or key.requirements.session or self._register.can_run(key):
            # Tasks of sticky sessions wait for the agent of theirs, or move with it (`sticky.sticky_moves`).
            return False
        return any(self._register.can_run(QueueKey(name)) for name, _ in self._policies.fallbacks(policy))

    async def _leave(self, key: QueueKey) -> None:
        moved = 0
        at: int | None = 0
        while at is not None:
            left = await self._store.leave_queue(key, at, PORTION)
            moved, at = moved + left.moved, left.next_at
        if moved:
            log.warning("queue.unserved", method=key.method, count=moved, effect="they go on at the fallback")
