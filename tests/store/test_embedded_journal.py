"""Group commit, and payloads that stay in the file."""

from __future__ import annotations

import asyncio
import random
import subprocess
import sys
import tracemalloc
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from google.rpc import code_pb2

from tests.store.support import METHOD, Harness, ManualClock, RecordingListener
from tests.support.soak import SOAKS
from weft.coordinator.store.embedded.embedded_store import EmbeddedLimits, EmbeddedStore
from weft.coordinator.store.records import AttemptReport, Submission, Verdict
from weft.coordinator.store.rules import State, TaskRetryPolicy


@pytest.fixture
async def h(tmp_path: Path) -> AsyncIterator[Harness]:
    """A store that keeps next to no payloads in memory."""
    clock = ManualClock()
    limits = EmbeddedLimits(body_bytes=4096, claim_bytes=64 * 1024)
    store = EmbeddedStore(tmp_path / "weft.db", clock=clock, rng=random.Random(1), limits=limits)
    listener = RecordingListener()
    await store.open(listener)
    yield Harness(store, clock, listener)
    await store.close()


class Statements(list[str]):
    """The statements that a store's writer runs from now on."""

    def __init__(self, h: Harness) -> None:
        super().__init__()
        assert isinstance(h.store, EmbeddedStore)
        h.store._connection.set_trace_callback(self._saw)

    def _saw(self, text: str) -> None:
        # Triggers are traced too: as comments, or as the statement that fired them once more.
        if not text.startswith("--") and (not self or self[-1] != text):
            self.append(text)


async def test_callers_at_once_share_a_transaction(h: Harness) -> None:
    seen = Statements(h)
    ids = await asyncio.gather(*(h.submit() for _ in range(200)))
    inserts = [text for text in seen if text.startswith("INSERT INTO tasks")]
    assert len(set(ids)) == 200
    assert len(inserts) <= 8
    seen.clear()
    claims = await h.claim(await h.agent(), limit=200)
    # A claim writes nothing: what is seen is the agent's registration.
    assert [text.split()[:3] for text in seen] == [["INSERT", "OR", "REPLACE"]]
    seen.clear()
    await asyncio.gather(*(h.end(claimed) for claimed in claims))
    assert len([text for text in seen if text.startswith("INSERT OR REPLACE INTO ends")]) <= 8


async def test_a_lone_end_is_one_statement(h: Harness) -> None:
    owner = await h.agent()
    seen = Statements(h)
    await h.submit()
    assert [text.split()[0] for text in seen] == ["BEGIN", "INSERT", "INSERT", "COMMIT"]
    seen.clear()
    await h.end(await h.claim_one(owner))
    assert [text.split()[0] for text in seen] == ["INSERT"]


async def test_a_short_call_that_is_waited_for_is_one_commit(h: Harness) -> None:
    owner = await h.agent()
    seen = Statements(h)
    submission = Submission(METHOD, task_id=h.store.new_task_id(METHOD))
    await h.store.enqueue([submission], acknowledged=False)
    await h.end(await h.claim_one(owner))
    assert [text.split()[0] for text in seen] == ["BEGIN", "INSERT", "INSERT", "COMMIT"]


async def test_what_nobody_waits_for_is_written_soon(h: Harness) -> None:
    seen = Statements(h)
    submission = Submission(METHOD, task_id=h.store.new_task_id(METHOD))
    await h.store.enqueue([submission], acknowledged=False)
    async with asyncio.timeout(5):
        while not seen:
            await asyncio.sleep(0.005)
    assert await h.state(submission.task_id) is State.QUEUED


async def test_dispatch_overlaps_the_commit(h: Harness) -> None:
    owner = await h.agent()
    submitting = asyncio.create_task(h.submit())
    await asyncio.sleep(0)
    assert h.listener.ready_calls
    claimed = await h.claim_one(owner)
    # Nobody can see what is not durable.
    assert await h.store.get([claimed.task_id]) == [None]
    assert not submitting.done()
    ending = asyncio.create_task(h.end(claimed))
    assert await submitting == claimed.task_id
    await ending
    assert await h.state(claimed.task_id) is State.SUCCEEDED


@pytest.mark.parametrize("crashed", [True, False], ids=["crashed", "failed"])
async def test_the_next_attempt_begins_when_the_end_of_the_last_one_is_durable(
    h: Harness, crashed: bool
) -> None:
    """Else a coordinator that is killed in between would give out its number again, while its agent is on its way."""
    owner = await h.agent()
    at_once = TaskRetryPolicy(3, 0.0, 0.0, 1.0, frozenset({code_pb2.UNAVAILABLE}), 3)
    task_id = await h.submit(Submission(METHOD, retry=at_once))
    claimed = await h.claim_one(owner)
    report = AttemptReport(owner, task_id, claimed.attempt, code_pb2.UNAVAILABLE, b"outcome", crashed=crashed)
    ending = h.store.complete([report])
    assert await h.claim(owner) == []
    before = h.listener.ready_calls
    assert await ending == [Verdict.RETRYING]
    assert h.listener.ready_calls > before
    assert (await h.claim_one(owner)).attempt == 2


async def test_payloads_beyond_the_bound_are_read_at_the_claim(h: Harness) -> None:
    rng = random.Random(1)
    payloads = [rng.randbytes(1000) for _ in range(300)]
    ids = await h.submit_many([Submission(METHOD, p, context=p[:9]) for p in payloads])
    assert isinstance(h.store, EmbeddedStore)
    in_memory = sum(task.payload is not None for task in h.store._table.tasks.values())
    assert in_memory <= 4
    assert [(await h.record(task_id)).submission.payload for task_id in ids] == payloads
    owner = await h.agent()
    got = []
    while claims := await h.claim(owner, limit=100):
        # One claim reads no more than its bound.
        assert sum(len(claimed.payload) for claimed in claims) <= 64 * 1024 + 1000 + 4096
        got += claims
    assert [(c.task_id, c.payload, c.context) for c in got] == [
        (task_id, payload, payload[:9]) for task_id, payload in zip(ids, payloads, strict=True)
    ]
    assert [claimed.attempt for claimed in got] == [1] * 300


async def test_a_retried_attempt_finds_its_payload_again(h: Harness) -> None:
    await h.submit(Submission(METHOD, b"payload"))
    owner = await h.agent()
    for _ in range(3):
        claimed = await h.claim_one(owner)
        assert claimed.payload == b"payload"
        await h.end(claimed, crashed=True)


@pytest.mark.parametrize("named", [False, True])
async def test_memory_of_a_waiting_task(tmp_path: Path, named: bool) -> None:
    """What a waiting task costs beyond its payload, which is in the file: about 300 bytes and its request id."""
    limits = EmbeddedLimits(body_bytes=0)
    store = EmbeddedStore(tmp_path / "weft.db", limits=limits)
    await store.open(RecordingListener(followed=set()))
    tasks, batch = 4000, 200

    def submissions(at: int) -> list[Submission]:
        return [
            Submission(METHOD, bytes(1000), request_id=f"request-{at + i:020}" if named else "")
            for i in range(batch)
        ]

    await store.enqueue(submissions(0))
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    for at in range(batch, tasks + batch, batch):
        await store.enqueue(submissions(at))
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    await store.close()
    each = (after - before) / tasks
    print(f"{each:.0f} bytes a waiting task")
    # 522 with a request id: 8 of them are the slot for recorded steps.
    assert each <= 525


QUEUE = """
import asyncio, os, sys, time
import psutil
from tests.store.support import METHOD, RecordingListener
from weft.coordinator.store.records import Submission
from weft.coordinator.store.embedded.embedded_store import EmbeddedStore

path, tasks = sys.argv[1], int(sys.argv[2])
rss = psutil.Process().memory_info

async def main():
    store = EmbeddedStore(path)
    before, began = rss().rss, time.monotonic()
    await store.open(RecordingListener(followed=set()))
    opened = time.monotonic()
    waiting = store.unfinished()
    while store.unfinished() < tasks:
        await store.enqueue([Submission(METHOD, os.urandom(1000)) for _ in range(256)])
    print(waiting, opened - began, (rss().rss - before) / tasks, flush=True)
    os._exit(1)

asyncio.run(main())
"""


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_very_many_waiting_tasks(tmp_path: Path) -> None:
    """Tasks of 1 kB wait, the process dies, and another one opens the store. A million of them with TEST_SOAK=1."""
    path, tasks = tmp_path / "weft.db", 1_000_000 if SOAKS else 250_000
    for round_ in ("filled", "reopened"):
        done = subprocess.run(
            [sys.executable, "-c", QUEUE, path, str(tasks)], check=False, capture_output=True, text=True
        )
        waiting, opened_s, each = done.stdout.split()
        print(
            f"{round_}: opened in {float(opened_s):.1f} s with {waiting} tasks, {float(each):.0f} bytes each"
        )
        # Besides the entries: 64 MiB of payloads, 32 MiB of SQLite's cache, and what the allocator keeps.
        assert float(each) <= 550 + 140 * 2**20 / tasks
    assert int(waiting) >= tasks
    assert float(opened_s) < 60
