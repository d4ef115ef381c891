"""Budgets that pause: coordinators that know different things at the same time leave the methods as the newest note says."""

from __future__ import annotations

from tests.store.support import METHOD, Harness
from weft.coordinator.contracts.contract_catalogue import Contracts
from weft.coordinator.sessions.assignments import NO_TREE
from weft.coordinator.usage.budget_table import KIND
from weft.coordinator.usage.usage_keeper import UsageKeeper
from weft.coordinator.usage.usage_times import DAY_S
from weft.v1 import session_pb2, task_pb2, usage_pb2

DAILY = usage_pb2.Budget(
    name="daily",
    method=METHOD,
    unit="tokens",
    amount=5,
    period=usage_pb2.BUDGET_PERIOD_DAY,
    action=usage_pb2.BUDGET_ACTION_PAUSE,
)


class Site:
    """A coordinator's part."""

    def __init__(self, h: Harness) -> None:
        self.keeper = UsageKeeper(h.store, Contracts(), lambda: None)
        self._now_s = 0.0

    def use(self, tokens: float) -> None:
        item = session_pb2.AttemptResult(task_id="t", outcome=task_pb2.Outcome(used={"tokens": tokens}))
        self.keeper.meter.attempt("a", (1, METHOD, 0.0, "", NO_TREE, 0), item, 0.0)

    async def look(self, *, heard: bool = False) -> None:
        """A pass of its sweeper. `heard`: that budgets have changed."""
        if heard:
            self.keeper.rows_changed(KIND)
        self._now_s += 1.0
        await self.keeper.look(self._now_s)


async def sites(h: Harness) -> tuple[Site, Site]:
    one, other = Site(h), Site(h)
    await one.keeper.set_budget(DAILY)
    await one.look(heard=True)
    await other.look(heard=True)
    return one, other


async def test_what_a_budget_was_spent_by_is_known_with_its_pause(h: Harness) -> None:
    one, other = await sites(h)
    # Not written yet: the next write is seconds away.
    one.use(6)
    await one.look()
    assert await h.store.paused() == [METHOD]
    for _ in range(2):
        await other.look(heard=True)
        await one.look(heard=True)
        assert await h.store.paused() == [METHOD]


async def test_a_late_resume_does_not_undo_a_new_pause(h: Harness) -> None:
    one, other = await sites(h)
    one.use(6)
    await one.look()
    await other.look(heard=True)
    h.clock.advance(DAY_S)
    # The other one knows the use of the new day, and the budget as it was yesterday.
    await other.keeper.write()
    await one.look(heard=True)
    assert not await h.store.paused()
    one.use(7)
    await one.look()
    assert await h.store.paused() == [METHOD]
    await other.keeper._enforce()
    assert await h.store.paused() == [METHOD]
    await other.look(heard=True)
    await one.look(heard=True)
    assert await h.store.paused() == [METHOD]
    # It is renewed once more, by the one that was late; and both may do it.
    h.clock.advance(DAY_S)
    await one.keeper.write()
    await other.look(heard=True)
    assert not await h.store.paused()
    await one.keeper._enforce()
    assert not await h.store.paused()
    (budget,) = await one.keeper._table.all()
    assert not budget.paused_methods


async def test_a_deleted_budget_leaves_nothing_paused(h: Harness) -> None:
    one, other = await sites(h)
    one.use(6)
    await one.look()
    await other.look(heard=True)
    await other.keeper.delete_budget("daily")
    await one.look(heard=True)
    assert not await h.store.paused()
