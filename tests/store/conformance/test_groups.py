"""Groups: counts by state, closing, the end of a group and its note, listings, bounds, forgetting."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from google.rpc import code_pb2

from tests.store.support import METHOD, OTHER_METHOD, Harness, StoreFactory, ref
from weft.coordinator.store.group_store import (
    AT_END,
    ENDED_KEPT_S,
    GROUPS,
    OPEN_KEPT_S,
    GroupChange,
    GroupClosed,
    GroupFull,
    GroupRecord,
    TooManyGroups,
)
from weft.coordinator.store.paging import ListFilter
from weft.coordinator.store.records import Enqueued, Submission
from weft.coordinator.store.rules import State, TaskRetryPolicy

RETRYING = TaskRetryPolicy(initial_backoff_s=4.0, max_backoff_s=4.0)


def _task(group: str = "g", **more: Any) -> Submission:
    return Submission(METHOD, b"p", group=group, **more)


async def _group(h: Harness, name: str = "g") -> GroupRecord:
    (record,) = await h.store.get_groups([name])
    assert record is not None
    return record


async def _change(h: Harness, known: GroupRecord, note: bytes, due_at: float | None) -> bool:
    (changed,) = await h.store.change_groups([GroupChange(known, note, due_at)])
    return changed


def _counted(record: GroupRecord) -> Mapping[State, int]:
    return {state: count for state, count in record.counts.items() if count}


async def _counts(h: Harness, name: str = "g") -> Mapping[State, int]:
    return _counted(await _group(h, name))


async def _make(h: Harness, name: str = "g", note: bytes = b"", due_at: float | None = None) -> GroupRecord:
    result = await h.store.create_group(name, note, due_at)
    assert not isinstance(result, TooManyGroups)
    record, existed = result
    assert not existed
    return record


async def _names(h: Harness, limit: int = 2) -> list[str]:
    names: list[str] = []
    cursor = ""
    while True:
        page = await h.store.list_groups(limit=limit, cursor=cursor)
        assert len(page.groups) <= limit
        names += [group.name for group in page.groups]
        cursor = page.cursor
        if not cursor:
            return names


async def _settled(h: Harness) -> None:
    """What follows the end of a task has happened, and is told."""
    await h.sweep()
    await asyncio.sleep(0)


async def test_a_group_counts_its_tasks_by_state(h: Harness) -> None:
    owner = await h.agent()
    first, second, later = await h.submit_many([_task(), _task(), _task(delay_s=9.0)])
    await h.submit_many([_task("other"), Submission(METHOD)])
    assert await _counts(h) == {State.QUEUED: 2, State.SCHEDULED: 1}
    (claimed,) = await h.claim(owner)
    assert claimed.task_id == first
    assert await _counts(h) == {State.QUEUED: 1, State.RUNNING: 1, State.SCHEDULED: 1}
    await h.end(claimed)
    await h.cancel(later)
    assert await _counts(h) == {State.QUEUED: 1, State.SUCCEEDED: 1, State.CANCELLED: 1}
    (claimed,) = await h.claim(owner)
    await h.end(claimed, code_pb2.INTERNAL)
    assert await _counts(h) == {State.SUCCEEDED: 1, State.FAILED: 1, State.CANCELLED: 1}
    assert await _counts(h, "other") == {State.QUEUED: 1}
    assert (await h.record(second)).submission.group == "g"
    assert (await h.record(second)).state is State.FAILED
    record = await _group(h)
    assert (record.closed_at, record.ended_at, record.unfinished, record.note) == (None, None, 0, b"")


async def test_a_task_counts_once_however_often_it_is_tried(h: Harness) -> None:
    await h.submit(_task(retry=RETRYING))
    lost = await h.agent("lost", lease_s=1.0)
    assert await h.claim(lost)
    await h.pass_time(2.0)
    assert await _counts(h) == {State.QUEUED: 1}
    owner = await h.agent(lease_s=1000.0)
    (claimed,) = await h.claim(owner)
    await h.end(claimed, code_pb2.UNAVAILABLE)
    assert sum((await _counts(h)).values()) == 1
    await h.pass_time(5.0)
    (claimed,) = await h.claim(owner)
    (released,) = await h.store.release(owner, [ref(claimed)])
    assert released
    assert await _counts(h) == {State.QUEUED: 1}
    (claimed,) = await h.claim(owner)
    await h.end(claimed, code_pb2.OK)
    await h.end(claimed, code_pb2.OK)
    assert await _counts(h) == {State.SUCCEEDED: 1}


async def test_a_repeated_submission_joins_no_group(h: Harness) -> None:
    await h.submit(_task("", request_id="r"))
    (again,) = await h.store.enqueue([_task(request_id="r")])
    assert isinstance(again, Enqueued)
    assert again.existed
    assert await h.store.get_groups(["g"]) == [None]
    named = await h.submit(_task(request_id="s"))
    await h.store.close_group("g")
    # Also when the group is closed: the task is there.
    assert await h.store.enqueue([_task(request_id="s")]) == [Enqueued(named, existed=True)]
    assert await _counts(h) == {State.QUEUED: 1}


async def test_a_closed_group_takes_no_tasks_and_ends_with_the_last_one(h: Harness) -> None:
    owner = await h.agent()
    assert await h.store.close_group("g") is None
    await h.submit_many([_task(), _task()])
    closed = await h.store.close_group("g")
    assert closed is not None
    assert closed.closed_at == h.clock()
    assert closed.ended_at is None
    results = await h.store.enqueue([_task(), Submission(METHOD), _task("other")])
    assert results[0] == GroupClosed("g")
    assert all(isinstance(result, Enqueued) for result in results[1:])
    h.clock.advance(1.0)
    again = await h.store.close_group("g")
    assert again == closed
    first, second = await h.claim(owner, 2)
    await h.end(first)
    assert (await _group(h)).ended_at is None
    h.listener.changed_kinds.clear()
    await h.end(second)
    await _settled(h)
    assert (await _group(h)).ended_at == h.clock()
    assert GROUPS in h.listener.changed_kinds


async def test_an_open_group_without_unfinished_tasks_has_not_ended(h: Harness) -> None:
    task_id = await h.submit(_task())
    await h.cancel(task_id)
    assert (await _group(h)).ended_at is None
    await h.store.close_group("g")
    assert (await _group(h)).ended_at == h.clock()


async def test_a_group_goes_on_when_a_task_is_queued_again(h: Harness) -> None:
    owner = await h.agent()
    await _make(h, note=b"n", due_at=AT_END)
    task_id = await h.submit(_task())
    (claimed,) = await h.claim(owner)
    await h.end(claimed, code_pb2.INTERNAL)
    await h.store.close_group("g")
    ended = await _group(h)
    assert ended.ended_at == ended.due_at == h.clock()
    assert await _change(h, ended, b"seen", None)
    h.clock.advance(1.0)
    assert await h.store.retry(task_id)
    assert await _counts(h) == {State.QUEUED: 1}
    assert (await _group(h)).ended_at is None
    (claimed,) = await h.claim_all(owner)
    await h.end(claimed)
    record = await _group(h)
    assert _counted(record) == {State.SUCCEEDED: 1}
    assert (record.ended_at, record.due_at) == (h.clock(), None)
    assert (await h.store.due_groups(10)).groups == []


async def test_a_note_is_due_at_the_end(h: Harness) -> None:
    record = await _make(h, note=b"n" * 1000, due_at=AT_END)
    assert (record.note, record.due_at, record.created_at) == (b"n" * 1000, AT_END, h.clock())
    assert await h.store.create_group("g") == (record, True)
    task_id = await h.submit(_task())
    due = await h.store.due_groups(10)
    assert (due.groups, due.next_at, due.now) == ([], None, h.clock())
    await h.cancel(task_id)
    await h.store.close_group("g")
    due = await h.store.due_groups(10)
    assert due.groups == [await _group(h)]
    (known,) = due.groups
    # One user is first.
    assert await _change(h, known, b"mine", h.clock() + 2.0)
    assert not await _change(h, known, b"yours", h.clock() + 2.0)
    due = await h.store.due_groups(10)
    assert (due.groups, due.next_at) == ([], h.clock() + 2.0)
    h.clock.advance(2.0)
    (known,) = (await h.store.due_groups(10)).groups
    assert known.note == b"mine"
    assert await _change(h, known, b"done", None)
    assert (await h.store.due_groups(10)).groups == []
    # Asked for after the end: at once.
    assert await _change(h, await _group(h), b"more", AT_END)
    assert (await _group(h)).due_at == h.clock()


async def test_due_notes_come_in_their_order(h: Harness) -> None:
    for name, at in (("c", 1.0), ("a", 2.0), ("b", 3.0)):
        await _make(h, name, b"n", h.clock() + at)
    h.clock.advance(3.0)
    due = await h.store.due_groups(2)
    assert [group.name for group in due.groups] == ["c", "a"]
    assert due.next_at == h.clock()


async def test_an_empty_group_ends_when_it_is_closed(h: Harness) -> None:
    await _make(h, note=b"n", due_at=AT_END)
    closed = await h.store.close_group("g")
    assert closed is not None
    assert closed.ended_at == h.clock() == closed.due_at


async def test_groups_are_listed_by_name(h: Harness) -> None:
    for name in ("b", "a/1", "c"):
        await _make(h, name)
    await h.submit(_task("d-task"))
    assert await _names(h) == ["a/1", "b", "c", "d-task"]
    assert await _names(h, 100) == ["a/1", "b", "c", "d-task"]
    (last,) = (await h.store.list_groups(limit=1, cursor="c")).groups
    assert _counted(last) == {State.QUEUED: 1}


async def test_tasks_are_listed_by_group(h: Harness) -> None:
    owner = await h.agent()
    mine = await h.submit_many([_task() for _ in range(5)])
    await h.submit_many([_task("other"), Submission(METHOD), Submission(OTHER_METHOD, group="g")])
    (claimed,) = await h.claim(owner)
    other_method = set(await h.find(ListFilter(group="g"))) - set(mine)
    assert len(other_method) == 1
    assert await h.find(ListFilter(group="g", method=METHOD), limit=2) == sorted(mine, reverse=True)
    assert await h.find(ListFilter(group="g", states=frozenset({State.RUNNING}))) == [claimed.task_id]
    await h.end(claimed)
    assert await h.find(ListFilter(group="g", states=frozenset({State.SUCCEEDED}))) == [claimed.task_id]
    assert len(await h.find(ListFilter(group="g", states=frozenset({State.QUEUED})))) == 5
    assert await h.find(ListFilter(group="none")) == []
    assert await h.find(ListFilter(group="other", request_id="r")) == []


async def test_a_deleted_group_leaves_its_tasks(h: Harness) -> None:
    owner = await h.agent()
    task_id = await h.submit(_task())
    assert await h.store.delete_group("none") is None
    assert await h.store.delete_group("g") is False
    (claimed,) = await h.claim(owner)
    await h.end(claimed, code_pb2.INTERNAL)
    old = await _group(h)
    assert await h.store.delete_group("g") is True
    assert await h.store.get_groups(["g"]) == [None]
    assert await _names(h) == []
    assert (await h.record(task_id)).submission.group == "g"
    assert await h.find(ListFilter(group="g")) == []
    assert not await _change(h, old, b"n", None)
    # Its name is free, and the old task counts nowhere.
    new = await h.submit(_task())
    assert (await _group(h)).uid != old.uid
    await h.store.retry(task_id)
    assert await _counts(h) == {State.QUEUED: 1}
    await h.claim_all(owner)
    assert await _counts(h) == {State.RUNNING: 1}
    assert await h.find(ListFilter(group="g")) == [new]
    assert await h.find(ListFilter(group="g", states=frozenset({State.RUNNING}))) == [new]


async def test_a_group_with_a_due_note_is_not_deleted_after_its_end(h: Harness) -> None:
    await _make(h, note=b"n", due_at=AT_END)
    await _make(h, "open", note=b"n", due_at=AT_END)
    await h.store.close_group("g")
    assert await h.store.delete_group("g") is False
    h.listener.changed_kinds.clear()
    assert await h.store.delete_group("open") is True
    await _settled(h)
    # Somebody may wait for its end.
    assert GROUPS in h.listener.changed_kinds
    assert await _change(h, await _group(h), b"", None)
    assert await h.store.delete_group("g") is True
    assert (await h.store.due_groups(10)).groups == []


async def test_a_group_is_kept_as_long_as_a_result(h: Harness) -> None:
    owner = await h.agent(lease_s=1e9)
    await h.submit_many([_task(result_ttl_s=10.0), _task(result_ttl_s=100.0)])
    for claimed in await h.claim(owner, 2):
        await h.end(claimed)
    await h.pass_time(20.0)
    # A forgotten task counts still.
    assert await _counts(h) == {State.SUCCEEDED: 2}
    assert len(await h.find(ListFilter(group="g"))) == 1
    await h.pass_time(100.0)
    assert await h.store.get_groups(["g"]) == [None]
    assert await _names(h) == []


async def test_a_created_group_is_kept_for_a_while(h: Harness) -> None:
    await _make(h, "open")
    await _make(h)
    await h.store.close_group("g")
    await h.pass_time(ENDED_KEPT_S - 1.0)
    assert await _names(h) == ["g", "open"]
    await h.pass_time(2.0)
    assert await _names(h) == ["open"]
    task_id = await h.submit(_task("open", result_ttl_s=1.0))
    await h.cancel(task_id)
    await h.pass_time(OPEN_KEPT_S - 10.0)
    assert await _names(h) == ["open"]
    h.listener.changed_kinds.clear()
    report = await h.pass_time(20.0)
    assert await _names(h) == []
    await asyncio.sleep(0)
    assert GROUPS in h.listener.changed_kinds
    assert report.next_due_at is None


async def test_notes_change_each_by_itself(h: Harness) -> None:
    groups = [await _make(h, name, b"n", AT_END) for name in "abcd"]
    await h.store.close_group("b")
    await h.store.delete_group("c")
    await _change(h, groups[3], b"other", AT_END)
    due_at = h.clock() + 5.0
    h.listener.changed_kinds.clear()
    changes = [GroupChange(known, b"new", due_at if known.name == "a" else AT_END) for known in groups]
    # The second one of a group knows the note of the first.
    changes.append(GroupChange(replace(groups[0], note=b"new"), b"newer", None))
    assert await h.store.change_groups(changes) == [True, True, False, False, True]
    assert GROUPS in h.listener.changed_kinds
    notes = [(record.name, record.note) for record in (await h.store.list_groups(limit=9)).groups]
    assert notes == [("a", b"newer"), ("b", b"new"), ("d", b"other")]
    # It has ended: its note is due at once.
    assert [record.name for record in (await h.store.due_groups(9)).groups] == ["b"]
    assert await h.store.change_groups([]) == []


async def test_an_ended_group_is_kept_while_its_note_is_due(h: Harness) -> None:
    await _make(h, note=b"n", due_at=AT_END)
    await h.submit(_task(result_ttl_s=1.0, schedule_to_start_s=5.0, failure_ttl_s=1.0))
    await h.store.close_group("g")
    await h.pass_time(10 * OPEN_KEPT_S)
    (due,) = (await h.store.due_groups(10)).groups
    assert _counted(due) == {State.FAILED: 1}
    assert await _change(h, due, b"done", None)
    await h.pass_time(ENDED_KEPT_S + 1.0)
    assert await _names(h) == []


async def test_a_group_of_its_first_task_is_forgotten_when_its_note_is_not_due_any_more(h: Harness) -> None:
    await h.submit(_task(schedule_to_start_s=5.0, failure_ttl_s=1.0))
    assert await _change(h, await _group(h), b"n", AT_END)
    await h.store.close_group("g")
    await h.pass_time(60.0)
    await h.pass_time(60.0)
    # Its task is forgotten; its note is due still.
    assert await h.find(ListFilter(group="g")) == []
    assert await _change(h, await _group(h), b"done", None)
    await h.pass_time(0.0)
    assert await _names(h) == []


async def test_there_are_bounds(h: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(type(h.store), "max_groups", 2)
    monkeypatch.setattr(type(h.store), "max_members", 3)
    await _make(h)
    results = await h.store.enqueue([_task(), _task("b"), _task("c"), _task(), _task(), _task()])
    assert results[2] == TooManyGroups("c", 2)
    assert results[5] == GroupFull("g", 3)
    assert [isinstance(result, Enqueued) for result in results] == [True, True, False, True, True, False]
    assert await h.store.create_group("c") == TooManyGroups("c", 2)
    assert await _counts(h) == {State.QUEUED: 3}
    assert h.store.unfinished() == 4


@pytest.mark.parametrize("crash", [False, True])
async def test_groups_survive_a_restart(store_factory: StoreFactory, crash: bool) -> None:
    h = await store_factory.open()
    await _make(h, note=b"n", due_at=AT_END)
    owner = await h.agent(lease_s=1000.0)
    await h.submit_many([_task() for _ in range(3)] + [_task(result_ttl_s=1.0), _task("b")])
    done = await h.claim(owner, 4)
    for claimed in done[1:]:
        await h.end(claimed)
    await h.pass_time(2.0)
    await h.store.close_group("g")
    before = await _group(h)
    h = await store_factory.reopen(h, crash=crash)
    running = State.QUEUED if store_factory.forgets_claims else State.RUNNING
    after = await _group(h)
    assert _counted(after) == {running: 1, State.SUCCEEDED: 3}
    assert (after.uid, after.note, after.due_at, after.closed_at) == (
        before.uid,
        b"n",
        AT_END,
        before.closed_at,
    )
    assert await h.store.enqueue([_task()]) == [GroupClosed("g")]
    assert await _counts(h, "b") == {State.QUEUED: 1}
    await h.cancel(done[0].task_id, 0.0)
    await h.pass_time(10.0)
    ended = await _group(h)
    assert _counted(ended) == {State.SUCCEEDED: 3, State.CANCELLED: 1}
    assert ended.ended_at is not None
    h = await store_factory.reopen(h, crash=crash)
    assert await _group(h) == ended
    assert [group.name for group in (await h.store.due_groups(10)).groups] == ["g"]


async def test_an_unacknowledged_task_of_a_closed_group_fails_for_its_subscriber(h: Harness) -> None:
    await _make(h)
    await h.store.close_group("g")
    task_id = h.store.new_task_id(METHOD)
    await h.store.enqueue([_task(task_id=task_id)], acknowledged=False)
    await h.sweep()
    assert await h.store.get([task_id]) == [None]
    assert await _counts(h) == {}
