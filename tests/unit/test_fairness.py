"""Fair order: tags give turns by weight, in a bounded memory."""

from __future__ import annotations

from collections import Counter
from heapq import heappop, heappush

from hypothesis import given
from hypothesis import strategies as st

from weft.coordinator.store.fairness import MAX_TAG, TAG_UNIT, FairOrder, tag_step


def test_keys_with_queued_tasks_are_served_by_weight() -> None:
    order = FairOrder()
    heap = [
        (order.tag(key, weight), at, key) for at in range(300) for key, weight in (("a", 1.0), ("b", 2.0))
    ]
    heap.sort()
    served = Counter(key for _, _, key in heap[:300])
    assert served == {"a": 100, "b": 200}


def test_an_idle_key_is_not_served_for_the_past() -> None:
    order = FairOrder()
    for _ in range(1000):
        order.claimed(order.tag("busy", 1.0))
    assert order.tag("new", 1.0) == order.virtual == 999 * TAG_UNIT


def test_weights_and_tags_are_bounded() -> None:
    assert tag_step(0.0) == tag_step(0.01) == 100 * TAG_UNIT
    assert tag_step(1e9) == tag_step(1000.0) == 1
    order = FairOrder()
    order.claimed(MAX_TAG + 5)
    assert order.tag("a", 1.0) == MAX_TAG - 1


@given(st.lists(st.tuples(st.sampled_from("abcde"), st.booleans()), max_size=200))
def test_a_key_waits_one_task_of_each_other_key_at_most(steps: list[tuple[str, bool]]) -> None:
    order = FairOrder()
    heap: list[tuple[int, int, str]] = []
    for number, (key, claims) in enumerate(steps):
        tag = order.tag(key, 1.0)
        assert tag >= order.virtual
        heappush(heap, (tag, number, key))
        if claims:
            order.claimed(heappop(heap)[0])
    served = [key for _, _, key in sorted(heap)]
    for key in set(served):
        before_first = Counter(served[: served.index(key)])
        # A key that was served lately may be one turn behind.
        assert all(count <= 2 for count in before_first.values())


def test_many_keys_that_are_past_are_forgotten() -> None:
    order = FairOrder()
    for number in range(10_000):
        order.claimed(order.tag(f"key-{number}", 1.0))
        order.claimed(order.virtual + TAG_UNIT)
    assert len(order._finishes) <= 256
