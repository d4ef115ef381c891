"""Refuses submissions for an agent that is not there, and those that are not to wait (no_wait) where no connected agent can
run them; and lets those with fallbacks begin where one can.

An agent of any coordinator counts, busy or not, unless it is draining or paused, or the app behind it is down. Without such
submissions nothing is done here.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from weft.coordinator.fleet.agent_register import AgentRegister
from weft.coordinator.fleet.queue_explainer import no_agent
from weft.coordinator.fleet.session_explainer import explained
from weft.coordinator.store.alternatives import Alternative
from weft.coordinator.store.base import Store
from weft.coordinator.store.falling_back import begin_at
from weft.coordinator.store.paging import ListFilter
from weft.coordinator.store.records import Submission
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

    async def choose(self, submissions: Sequence[Submission]) -> None:
        """Let each submission with fallbacks begin at the first of its methods that a connected agent can run; at the submitted
        one, if there is none."""
        unserved = [
            each for each in submissions if each.alternatives and not self._runs(each.alternatives[0])
        ]
        if unserved and self._store.shared:
            await self._look()
        for each in unserved:
            at = next((at for at, given in enumerate(each.alternatives) if self._runs(given)), 0)
            if at:
                begin_at(each, at)

    def _runs(self, given: Alternative) -> bool:
        return self._register.can_run(QueueKey(given.method, given.requirements))

    async def refused(self, submissions: Sequence[Submission]) -> dict[str, errors.WeftError]:
        """The errors of those submissions that no agent can run, by task id.

        A repeated request id is no new task: it is left to the store.
        """
        unmatched = self._unmatched(submissions)
        if unmatched and self._store.shared:
            # Another coordinator may have an agent that is new.
            await self._look()
            unmatched = self._unmatched([each for each, _ in unmatched])
        return {each.task_id: error for each, error in unmatched if not await self._is_known(each)}

    def _unmatched(self, submissions: Sequence[Submission]) -> list[tuple[Submission, errors.WeftError]]:
        # Many at a time ask the same, and a fleet may be large.
        known: dict[tuple[str, bool, QueueKey], errors.WeftError | None] = {}
        found: list[tuple[Submission, errors.WeftError]] = []
        for each in submissions:
            asked = each.agent_id, each.no_wait, QueueKey(each.method, each.requirements)
            if asked not in known:
                known[asked] = self._error(*asked)
            if (error := known[asked]) is not None:
                found.append((each, error))
        return found

    async def _is_known(self, submission: Submission) -> bool:
        if not submission.request_id:
            return False
        where = ListFilter(request_id=submission.request_id)
        return bool((await self._store.list_tasks(where, limit=1)).records)

    def _error(self, agent_id: str, no_wait: bool, key: QueueKey) -> errors.WeftError | None:
        if agent_id:
            agent = self._register.get(agent_id)
            if agent is None:
                return refusals.agent_not_found(agent_id)
            if key.method not in agent.methods:
                return refusals.method_not_hosted(f"the agent {agent_id} does not host {key.method}")
        return None if not no_wait or self._register.can_run(key) else self._no_agent(key)

    def _no_agent(self, key: QueueKey) -> errors.WeftError:
        key = explained(key)
        standing = self._register.standing(key)
        missing = no_agent(key, standing, self._register.lacking(key))
        return refusals.no_agent_matches(
            f"no connected agent can run this, and it is not to wait (no-wait): it needs {missing}",
            method=key.method,
            requirements=str(key.requirements),
            agents=standing.hosts,
        )
