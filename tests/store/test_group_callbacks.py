"""One callback a group, on every store: passes that die at any step, two at a time, refusals for a while and for good."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.store.dying_store import CALLBACK, Died, DyingStore, submissions_of
from tests.store.support import METHOD, Harness
from tests.support.lightweight import ECHO
from weft.coordinator.groups.callback_pass import (
    PASS_GROUPS,
    PENDING_S,
    REQUEST_ID_S,
    TAKEN_UP_S,
    CallbackPass,
    callback_methods,
)
from weft.coordinator.groups.group_codec import group_message, packed_note
from weft.coordinator.store.group_store import AT_END
from weft.coordinator.store.paging import ListFilter
from weft.coordinator.store.records import Submission
from weft.v1 import group_pb2, task_pb2


def callbacks(store: Any, **more: Any) -> CallbackPass:
    return CallbackPass(store, submissions_of(store, **more))


async def ended(h: Harness, name: str = "g") -> None:
    """A group with a callback that has ended."""
    await h.store.create_group(name, packed_note(group_pb2.Group(callback=CALLBACK)), AT_END)
    task_id = await h.submit(Submission(METHOD, group=name))
    await h.store.close_group(name)
    await h.cancel(task_id)
    await h.sweep()


async def read(h: Harness, name: str = "g") -> group_pb2.Group:
    (record,) = await h.store.get_groups([name])
    assert record is not None
    return group_message(record)


async def settle(h: Harness, passes: CallbackPass) -> float | None:
    for _ in range(100):
        next_at = await passes.run()
        if next_at is None or next_at > h.store.now():
            return next_at
    raise AssertionError("there is always another pass")


async def submitted(h: Harness) -> list[str]:
    return await h.find(ListFilter(method=ECHO))


async def test_the_callback_is_submitted_when_the_group_has_ended(h: Harness) -> None:
    await ended(h)
    assert await callback_methods(h.store) == {ECHO}
    assert await settle(h, callbacks(h.store)) is None
    (task_id,) = await submitted(h)
    group = await read(h)
    assert (group.callback_task_id, group.callback_error) == (task_id, "")
    assert not group.HasField("callback_pending_time")
    record = await h.record(task_id)
    assert record.submission.payload == CALLBACK.payload
    context = task_pb2.CallContext.FromString(record.submission.context)
    assert [(entry.key, entry.value) for entry in context.metadata] == [("group-name", b"g")]
    assert await callback_methods(h.store) == set()
    # Nothing more, whatever happens to it.
    await h.cancel(task_id)
    assert await settle(h, callbacks(h.store)) is None
    assert await submitted(h) == [task_id]


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
async def test_a_pass_that_dies_leaves_one_callback_to_the_next_one(h: Harness, after: bool) -> None:
    """At each of its calls of the store, before the call has an effect, and after it."""
    step = 0
    died = True
    while died:
        step += 1
        name = f"g{step}"
        await ended(h, name)
        try:
            await callbacks(DyingStore(h.store, step, after=after)).run()
            died = False
        except Died:
            h.clock.advance(TAKEN_UP_S)
            await settle(h, callbacks(h.store))
        group = await read(h, name)
        assert group.callback_task_id in await submitted(h)
    assert step > 4
    assert len(await submitted(h)) == step


async def test_passes_at_the_same_time_submit_one_callback(h: Harness) -> None:
    names = [f"g{number}" for number in range(5)]
    for name in names:
        await ended(h, name)
    await asyncio.gather(*(callbacks(h.store).run() for _ in range(4)))
    h.clock.advance(TAKEN_UP_S)
    await settle(h, callbacks(h.store))
    tasks = {(await read(h, name)).callback_task_id for name in names}
    assert sorted(await submitted(h)) == sorted(tasks)
    assert len(tasks) == 5


async def test_a_pass_asks_the_store_as_often_for_many_groups_as_for_one(h: Harness) -> None:
    names = [f"g{number}" for number in range(PASS_GROUPS)]
    for name in names:
        await ended(h, name)
    # What is due, pending, the tasks, and what became of them.
    await callbacks(DyingStore(h.store, 5, after=False)).run()
    groups = [group_message(record) for record in await h.store.get_groups(names) if record is not None]
    assert sorted(await submitted(h)) == sorted(group.callback_task_id for group in groups)
    assert len(groups) == PASS_GROUPS


async def test_a_callback_is_refused_for_good(h: Harness) -> None:
    await ended(h)
    assert await settle(h, callbacks(h.store, contract=False)) is None
    group = await read(h)
    assert f"there is no method '{ECHO}'" in group.callback_error
    assert not group.callback_task_id
    assert await settle(h, callbacks(h.store)) is None
    assert await submitted(h) == []


async def test_a_callback_waits_while_it_is_refused_for_a_while(h: Harness) -> None:
    await ended(h)
    # One is unfinished: there is no room for another.
    await h.submit()
    full = callbacks(h.store, max_queued=1)
    next_at = await settle(h, full)
    assert next_at == h.clock() + TAKEN_UP_S
    h.clock.advance(60.0)
    await settle(h, full)
    assert (await read(h)).HasField("callback_pending_time")
    await settle(h, callbacks(h.store))
    assert (await read(h)).HasField("callback_pending_time")
    h.clock.advance(TAKEN_UP_S)
    await settle(h, callbacks(h.store))
    assert (await read(h)).callback_task_id
    await ended(h, "late")
    await settle(h, full)
    h.clock.advance(PENDING_S + 1.0)
    await settle(h, full)
    assert "unfinished" in (await read(h, "late")).callback_error


async def test_a_callback_that_may_have_been_submitted_long_ago_is_given_up(h: Harness) -> None:
    await ended(h)
    with pytest.raises(Died):
        await callbacks(DyingStore(h.store, 3, after=True)).run()
    h.clock.advance(REQUEST_ID_S)
    assert await settle(h, callbacks(h.store)) is None
    assert "not known whether" in (await read(h)).callback_error


async def test_a_note_that_cannot_be_read_keeps_no_other_group_from_its_callback(h: Harness) -> None:
    await h.store.create_group("broken", b"\xff\xff", AT_END)
    await h.store.close_group("broken")
    await ended(h)
    await settle(h, callbacks(h.store))
    assert (await read(h)).callback_task_id
