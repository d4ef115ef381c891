"""Tasks that wait where no agent is: when they go on at their fallback, and when they wait."""

from __future__ import annotations

from collections.abc import Collection
from types import SimpleNamespace
from typing import Any

from tests.store.falling import TWICE, falling, shown
from tests.store.support import METHOD, OTHER_METHOD, Harness
from weft.coordinator.dispatch.unserved_queues import UnservedQueues
from weft.coordinator.store.records import Submission
from weft.coordinator.store.rules import QueueKey, State

GRACE_S = 10.0
HERE, THERE = (METHOD, "", State.QUEUED), (OTHER_METHOD, METHOD, State.QUEUED)


class Fleet:
    """The methods that agents serve, here and (heard of by a look) elsewhere."""

    def __init__(self, *served: str) -> None:
        self.served: Collection[str] = served
        self.elsewhere: Collection[str] = ()

    def can_run(self, key: QueueKey) -> bool:
        return key.method in self.served

    async def look(self) -> None:
        self.served = {*self.served, *self.elsewhere}


def unserved(h: Harness, fleet: Fleet, *, fallback: str = OTHER_METHOD) -> UnservedQueues:
    """By a policy of METHOD."""
    policy = SimpleNamespace(fallback=fallback)
    policies: Any = SimpleNamespace(
        find={METHOD: policy}.get, fallbacks=lambda _: [(policy.fallback, None)] if policy.fallback else []
    )
    register: Any = fleet
    return UnservedQueues(h.store, register, policies, fleet.look, GRACE_S)


async def test_after_the_grace_tasks_go_on_at_a_fallback_that_is_served(h: Harness) -> None:
    fleet = Fleet(METHOD)
    queues = unserved(h, fleet)
    owner = await h.agent(lease_s=1e6)
    retried = await h.submit(falling(retry=TWICE))
    (claimed,) = await h.claim_all(owner)
    await h.end(claimed, crashed=True)
    waiting = [retried, *await h.submit_many([falling()] * 3)]
    plain = await h.submit(Submission(METHOD))

    async def at(now_s: float) -> set[tuple[str, str, State]]:
        await queues.run_once(now_s)
        return {await shown(h, task_id) for task_id in waiting}

    assert await at(100.0) == {HERE}
    fleet.served = ()
    # Nobody serves the fallback either.
    assert await at(101.0) == await at(120.0) == {HERE}
    fleet.served = [OTHER_METHOD]
    assert await at(121.0) == await at(130.0) == {HERE}
    # An agent is back for a moment: the grace begins anew.
    fleet.served = [METHOD, OTHER_METHOD]
    assert await at(130.5) == {HERE}
    fleet.served = [OTHER_METHOD]
    assert await at(131.0) == await at(140.9) == {HERE}
    assert await at(141.0) == {THERE}
    assert await shown(h, plain) == HERE
    # A later one has its own grace.
    waiting = [await h.submit(falling())]
    assert await at(150.9) == {HERE}
    assert await at(151.0) == {THERE}


async def test_an_agent_elsewhere_counts_and_a_paused_method_waits(h: Harness) -> None:
    fleet = Fleet(OTHER_METHOD)
    task_id = await h.submit(falling())
    queues = unserved(h, fleet)
    await h.store.set_paused(METHOD, paused=True)
    await queues.run_once(0.0)
    await queues.run_once(GRACE_S)
    assert await shown(h, task_id) == HERE
    await h.store.set_paused(METHOD, paused=False)
    fleet.elsewhere = [METHOD]
    await queues.run_once(2 * GRACE_S)
    await queues.run_once(3 * GRACE_S)
    # Only a shared store has news of other coordinators' agents.
    assert await shown(h, task_id) == (HERE if h.store.shared else THERE)


async def test_without_a_fallback_nothing_is_done(h: Harness) -> None:
    task_id = await h.submit(falling())
    queues = unserved(h, Fleet(OTHER_METHOD), fallback="")
    await queues.run_once(0.0)
    await queues.run_once(GRACE_S)
    assert await shown(h, task_id) == HERE
