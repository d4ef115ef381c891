"""Many groups with callbacks on every store: their counts are right to the last task, and each callback comes once.

WEFT_TEST_GROUPS=10000 for the figures of ten thousand groups with ten tasks each.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import resource
import time

import pytest
from redis.asyncio import Redis

from tests.store.dying_store import CALLBACK, submissions_of
from tests.store.factories import redis_url
from tests.store.support import METHOD, Harness
from tests.support.lightweight import ECHO
from weft.coordinator.groups.callback_pass import CallbackPass
from weft.coordinator.groups.group_codec import group_message, packed_note
from weft.coordinator.store.group_store import AT_END, GroupRecord
from weft.coordinator.store.paging import ListFilter
from weft.coordinator.store.records import AttemptReport, Submission
from weft.coordinator.store.redis.redis_store import RedisStore
from weft.coordinator.store.rules import State
from weft.v1 import group_pb2

MEMBERS = 10
BATCH = 500
GROUPS = int(os.environ.get("WEFT_TEST_GROUPS", "1000"))
NAMES = [f"group-{number:05}" for number in range(GROUPS)]


async def memory(h: Harness) -> int:
    """Bytes that the tasks and groups take: of Redis, or at most of this process."""
    if isinstance(h.store, RedisStore):
        async with Redis.from_url(redis_url()) as client:
            return int((await client.info("memory"))["used_memory"])
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


async def all_groups(h: Harness) -> list[GroupRecord]:
    found: list[GroupRecord] = []
    cursor = ""
    while True:
        page = await h.store.list_groups(limit=1000, cursor=cursor)
        found += page.groups
        if not (cursor := page.cursor):
            return found


async def finish_all(h: Harness, method: str = METHOD) -> int:
    owner = await h.agent(lease_s=1e6)
    count = 0
    while claims := await h.claim(owner, BATCH, methods=[method]):
        reports = [AttemptReport(owner, each.task_id, each.attempt, 0, b"o") for each in claims]
        await h.store.complete(reports)
        count += len(claims)
    return count


@pytest.mark.slow
@pytest.mark.timeout(600)
async def test_many_groups_count_right_and_get_a_callback_each(h: Harness) -> None:
    h.listener.followed = set()
    marks = [("", time.perf_counter(), await memory(h))]

    async def mark(what: str) -> None:
        marks.append((what, time.perf_counter(), await memory(h)))

    note = packed_note(group_pb2.Group(callback=CALLBACK))
    for at in range(0, GROUPS, BATCH):
        await asyncio.gather(*(h.store.create_group(name, note, AT_END) for name in NAMES[at : at + BATCH]))
    await mark("groups made")
    # One after another, so that each batch has tasks of many groups.
    for _ in range(MEMBERS):
        for at in range(0, GROUPS, BATCH):
            await h.submit_many(
                [Submission(METHOD, b"p" * 100, group=name) for name in NAMES[at : at + BATCH]]
            )
    await mark("members queued")
    assert all(record.counts[State.QUEUED] == MEMBERS for record in await all_groups(h))
    for at in range(0, GROUPS, BATCH):
        await asyncio.gather(*(h.store.close_group(name) for name in NAMES[at : at + BATCH]))
    await mark("groups closed")
    assert await finish_all(h) == GROUPS * MEMBERS
    await mark("members done")
    passes = CallbackPass(h.store, submissions_of(h.store))
    while await passes.run() is not None:
        pass
    await mark("callbacks submitted")
    assert await finish_all(h, ECHO) == GROUPS

    groups = await all_groups(h)
    assert [record.name for record in groups] == NAMES
    assert all({k: n for k, n in each.counts.items() if n} == {State.SUCCEEDED: MEMBERS} for each in groups)
    assert all(record.ended_at is not None for record in groups)
    callbacks = {group_message(record).callback_task_id for record in groups}
    assert sorted(callbacks) == sorted(await h.find(ListFilter(method=ECHO), limit=1000))
    assert len(callbacks) == GROUPS
    began = time.perf_counter()
    assert len(await h.find(ListFilter(group=NAMES[GROUPS // 2]))) == MEMBERS
    print(f"{GROUPS} groups of {MEMBERS}; one group listed in {(time.perf_counter() - began) * 1000:.1f} ms")
    for (_, before_s, before), (what, after_s, after) in itertools.pairwise(marks):
        print(f"{what}: {after_s - before_s:.1f} s, {(after - before) / 2**20:.0f} MiB more")
