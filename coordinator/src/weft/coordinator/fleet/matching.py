"""Refuses submissions for an agent that is not there, and those that are not to wait (no_wait) where no connected agent can
run them.

An agent of any coordinator counts, busy or not, unless it is draining or paused, or the app behind it is down. Without such
submissions nothing is done here.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from weft.coordinator.fleet.agent_register import AgentRegister
from weft.coordinator.fleet.queue_explainer import no_agent
from weft.coordinator.store.base import Store
from weft.coordinator.store.records import ListFilter, Submission
from weft.coordinator.store.rules import QueueKey
from weft.rpc import errors, refusals


class Matching:
    """Finds submissions that nobody can run.

    Args:
        look: reads the store's news of agents.
    """

    def __init__(self, store: Store, register: AgentRegister, look: Callable[[], Awaitable[None]]) -> None:
        self._store = store
        self._register = register
        self._look = look

    async def refused(self, submissions: Sequence[Submission]) -> dict[str, errors.WeftError]:
        """The errors of those submissions that no agent can run, by task id.

        A repeated request id is no new task: it is left to the store.
        """
        unmatched = [each for each in submissions if self._error(each)]
        if unmatched and self._store.shared:
            # Another coordinator may have an agent that is new.
            await self._look()
        found = {each.task_id: (each, self._error(each)) for each in unmatched}
        return {
            task_id: error
            for task_id, (each, error) in found.items()
            if error is not None and not await self._is_known(each)
        }

    async def _is_known(self, submission: Submission) -> bool:
        if not submission.request_id:
            return False
        where = ListFilter(request_id=submission.request_id)
        return bool((await self._store.list_tasks(where, limit=1)).records)

    def _error(self, submission: Submission) -> errors.WeftError | None:
        agent_id, method = submission.agent_id, submission.method
        if agent_id:
            agent = self._register.get(agent_id)
            if agent is None:
                return refusals.agent_not_found(agent_id)
            if method not in agent.methods:
                return refusals.method_not_hosted(f"the agent {agent_id} does not host {method}")
        return self._no_agent(submission) if submission.no_wait else None

    def _no_agent(self, submission: Submission) -> errors.WeftError | None:
        key = _queue(submission)
        standing = self._register.standing(key)
        if standing.able > 0:
            return None
        missing = no_agent(key, standing, self._register.lacking(key))
        return refusals.no_agent_matches(
            f"no connected agent can run this, and it is not to wait (no-wait): it needs {missing}",
            method=key.method,
            requirements=str(key.requirements),
            agents=standing.hosts,
        )


def _queue(submission: Submission) -> QueueKey:
    return QueueKey(submission.method, submission.requirements)
