"""What trees with budgets have used is added up over coordinators: nothing twice, nothing lost, in bounded memory."""

from __future__ import annotations

import random
from typing import Any

import pytest

from tests.store.support import Harness
from weft.coordinator.store.table_store import RowPut
from weft.coordinator.usage import tree_use
from weft.coordinator.usage.tree_rows import KEEP_S, KIND, TreeRows
from weft.coordinator.usage.tree_use import MAX_PARTS, TreeUse, TreeUses
from weft.rpc.errors import WeftError
from weft.rpc.refusals import store_unavailable
from weft.v1 import task_pb2


class Site:
    """A coordinator's part."""

    def __init__(self, store: Any) -> None:
        self.hastened = 0
        self.uses = TreeUses(self._hasten)
        self.rows: Any = TreeRows(store, self.uses)

    def _hasten(self) -> None:
        self.hastened += 1

    def use(self, tree: str, tokens: float) -> None:
        self.uses.counted(tree).add_units({"tokens": tokens})

    def refusal(self, tree: str, tokens: float) -> WeftError | None:
        return self.uses.refusal([task_pb2.TreeBudget(task_id=tree, amounts={"tokens": tokens})])

    async def spent(self, tree: str) -> float:
        await self.rows.settle()
        return await self.told(tree)

    async def told(self, tree: str) -> float:
        """What is told of a tree, without a write."""
        found: TreeUse = (await self.rows.look([tree]))[tree]
        return found.spent("tokens")


async def test_coordinators_add_up(h: Harness) -> None:
    one, other = Site(h.store), Site(h.store)
    one.use("t", 6)
    assert one.refusal("t", 7) is None
    await one.rows.settle()
    # One that has not read the row yet asks for a pass, and knows it then.
    assert other.refusal("t", 6) is None
    assert other.hastened == 1
    await other.rows.settle()
    refused = other.refusal("t", 6)
    assert refused is not None
    assert refused.metadata == {"budget": "task/t", "unit": "tokens", "amount": "6"}
    other.use("t", 3)
    one.use("t", 1)
    await other.rows.settle()
    assert await one.spent("t") == 10
    assert await other.spent("t") == 10
    # A coordinator that begins anew goes on where they were.
    again = Site(h.store)
    again.use("t", 5)
    assert await again.spent("t") == 15


async def test_old_rows_go_some_at_a_time_until_none_are_left(h: Harness) -> None:
    site = Site(h.store)
    for number in range(201):
        site.use(f"t{number}", 1)
    await site.rows.settle()
    h.clock.advance(KEEP_S + 1)
    assert await site.rows.forget()
    assert not await site.rows.forget()
    assert not (await h.store.list_rows(KIND, limit=10, cursor="")).rows


async def test_nothing_without_budgets(h: Harness) -> None:
    site = Site(Broken(h.store))
    await site.rows.settle()
    assert site.refusal("t", 1) is None


class Broken:
    """A store whose writes fail, before or after they are done."""

    def __init__(self, store: Any, failing: random.Random | None = None) -> None:
        self._store, self._failing = store, failing

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def put_rows(self, puts: Any) -> Any:
        if self._failing is None:
            raise AssertionError("nothing is to be written")
        if self._failing.random() < 0.3:
            raise store_unavailable("away", 0.1)
        made = await self._store.put_rows(puts)
        if self._failing.random() < 0.3:
            raise store_unavailable("the answer is lost", 0.1)
        return made


@pytest.mark.parametrize("seed", range(5))
async def test_lost_answers_and_conflicts_count_nothing_twice(h: Harness, seed: int) -> None:
    choices = random.Random(seed)
    sites = [Site(Broken(h.store, choices)) for _ in range(3)]
    used = dict.fromkeys(("a", "b", "c"), 0.0)
    for _ in range(60):
        site, tree = choices.choice(sites), choices.choice(sorted(used))
        site.use(tree, 1)
        used[tree] += 1
        if choices.random() < 0.5:
            try:
                await choices.choice(sites).rows.settle()
            except WeftError:
                continue
    calm = Site(h.store)
    for site in sites:
        site.rows._store = h.store
        await site.rows.settle()
    assert {tree: await calm.spent(tree) for tree in used} == used


async def test_memory_is_bounded(h: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tree_use, "MAX_TREES", 4)
    site = Site(h.store)
    for number in range(4):
        site.use(f"t{number}", 1)
    await site.rows.settle()
    for number in range(4, 8):
        site.use(f"t{number}", 1)
    # What was forgotten is in the rows: nothing is counted twice when it is used again.
    site.use("t0", 2)
    assert await site.spent("t0") == 3
    assert site.uses.lost == 0 or await site.spent("t4") == 0


async def test_a_look_writes_nothing(h: Harness) -> None:
    one, other = Site(h.store), Site(h.store)
    one.use("t", 2)
    await one.rows.settle()
    other.use("t", 3)
    one.rows._store = other.rows._store = Broken(h.store)
    assert (await one.told("t"), await other.told("t"), await Site(h.store).told("t")) == (2, 5, 2)
    assert await one.told("nothing") == 0
    other.rows._store = h.store
    assert await other.spent("t") == 5


async def test_a_tree_that_is_forgotten_during_its_write_is_counted(
    h: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another coordinator writes at the same time, and memory is full at the same time."""
    monkeypatch.setattr(tree_use, "MAX_TREES", 1)
    site, other = Site(h.store), Site(h.store)

    class Crossed(Broken):
        async def put_rows(self, puts: Any) -> Any:
            site.rows._store = h.store
            site.refusal("another", 1)
            other.use("t", 10)
            await other.rows.settle()
            return await h.store.put_rows(puts)

    site.use("t", 1)
    await site.rows.settle()
    site.use("t", 2)
    site.rows._store = Crossed(h.store)
    await site.rows.settle()
    assert site.uses.lost == 0
    assert await Site(h.store).told("t") == 13


async def test_rows_of_many_coordinators_stay_small(h: Harness) -> None:
    for number in range(MAX_PARTS + 9):
        site = Site(h.store)
        site.use("t", 1)
        await site.rows.settle()
        if number == 3:
            # Rows of a version that keeps something else there do no harm.
            await h.store.put_rows([RowPut(KIND, "odd", b"\xff")])
    (row,) = await h.store.get_rows(KIND, ["t"])
    assert row is not None
    assert len(row.value) < 8192
    assert await Site(h.store).spent("t") == MAX_PARTS + 9
    assert await Site(h.store).spent("odd") == 0


async def test_a_part_that_others_have_added_to_the_oldest_counts_once(h: Harness) -> None:
    first = Site(h.store)
    first.use("t", 5)
    await first.rows.settle()
    for _ in range(MAX_PARTS + 1):
        site = Site(h.store)
        site.use("t", 1)
        await site.rows.settle()
    assert await first.told("t") == MAX_PARTS + 6
    first.use("t", 2)
    assert await first.spent("t") == MAX_PARTS + 8
    first.use("t", 1)
    assert await first.spent("t") == await Site(h.store).told("t") == MAX_PARTS + 9
