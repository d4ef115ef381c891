"""The embedded store when the disk is full, and when its process is killed."""

from __future__ import annotations

import asyncio
import random
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from tests.store.support import METHOD, Harness, ManualClock, RecordingListener, reason_of
from tests.support.small_disk import SmallDisk, small_disk
from weft.coordinator.store.embedded.embedded_store import EmbeddedStore
from weft.coordinator.store.records import AttemptReport, Claimed, Enqueued, Submission, Verdict
from weft.coordinator.store.rules import State
from weft.coordinator.store.run_limits import LimitAction, LockClaim, RunLimitRule
from weft.coordinator.store.state_store import StateWrite
from weft.rpc.errors import Unavailable

# -- a full disk ------------------------------------------------------------------------------------------------------


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    with small_disk(tmp_path / "disk") as disk:
        yield disk


@pytest.fixture
async def h(disk: SmallDisk) -> AsyncIterator[Harness]:
    """A store on the small disk, whose callers wait a second for it at most."""
    clock = ManualClock()
    store = EmbeddedStore(disk.path / "weft.db", clock=clock, rng=random.Random(1), patience_s=1.0)
    listener = RecordingListener()
    await store.open(listener)
    yield Harness(store, clock, listener)
    await store.close()


async def until_writable(h: Harness) -> None:
    async with asyncio.timeout(5):
        while not h.store.writable:
            await asyncio.sleep(0.01)


async def test_a_full_disk_refuses_tasks_and_keeps_outcomes(h: Harness, disk: SmallDisk) -> None:
    owner = await h.agent()
    first, second = await h.submit_many([Submission(METHOD)] * 2)
    claims = await h.claim(owner, limit=1)
    disk.fill()
    with pytest.raises(Unavailable) as refused:
        await h.submit(Submission(METHOD, bytes(200_000)))
    assert refused.value.reason_name == "STORE_UNAVAILABLE"
    assert refused.value.retry_after_s
    assert not h.store.writable
    # Nothing new is taken, and nothing is begun.
    with pytest.raises(Unavailable):
        await h.submit()
    assert await h.claim(owner, limit=5) == []
    assert h.store.unfinished() == 2
    # What must happen waits until it has; nobody hears of it before.
    ending = asyncio.create_task(h.end(claims[0]))
    cancelling = asyncio.create_task(h.cancel(second))
    await asyncio.sleep(0.2)
    assert not ending.done()
    assert not cancelling.done()
    assert await h.state(first) is State.RUNNING
    assert await h.state(second) is State.QUEUED
    before = h.listener.ready_calls
    disk.free()
    assert await ending is Verdict.STORED
    record = await cancelling
    assert record is not None
    assert record.state is State.CANCELLED
    await until_writable(h)
    assert h.listener.ready_calls > before
    assert await h.state(first) is State.SUCCEEDED
    assert await h.state(await h.submit()) is State.QUEUED


async def test_who_waits_too_long_is_told_and_may_come_again(h: Harness, disk: SmallDisk) -> None:
    task_id = await h.submit()
    claimed = await h.claim_one(await h.agent())
    disk.fill()
    with pytest.raises(Unavailable):
        await h.submit(Submission(METHOD, bytes(200_000)))
    with pytest.raises(Unavailable):
        await h.end(claimed, outcome=b"kept")
    repeated = asyncio.create_task(h.end(claimed, outcome=b"again"))
    disk.free()
    assert await repeated is Verdict.STORED
    assert (await h.record(task_id)).outcome == b"kept"
    assert await h.end(claimed) is Verdict.STORED


async def test_a_task_that_was_claimed_before_it_was_refused(h: Harness, disk: SmallDisk) -> None:
    owner = await h.agent()
    disk.fill()
    task_id = h.store.new_task_id(METHOD)
    submitting = asyncio.create_task(h.submit(Submission(METHOD, bytes(200_000), task_id=task_id)))
    await asyncio.sleep(0)
    # Dispatched while it is being written.
    claimed = await h.claim_one(owner)
    ending = asyncio.create_task(h.end(claimed))
    with pytest.raises(Unavailable):
        await submitting
    assert h.store.unfinished() == 0
    disk.free()
    assert await ending is Verdict.STALE
    await until_writable(h)
    assert await h.store.get([task_id]) == [None]
    assert await h.find() == []


async def test_a_refused_task_leaves_its_gates(h: Harness, disk: SmallDisk) -> None:
    rules = {"": RunLimitRule(max_running=1), "key": RunLimitRule(1, at_limit=LimitAction.REFUSE)}
    await h.store.set_run_limits(METHOD, rules)
    owner = await h.agent()
    keyed = Submission(METHOD, limit_keys=(("key", "k"),), locks=(LockClaim("lock"),))
    disk.fill()
    submitting = asyncio.create_task(h.submit(replace(keyed, payload=bytes(200_000))))
    await asyncio.sleep(0)
    await h.claim_one(owner)
    assert len(await h.store.locks()) == 1
    with pytest.raises(Unavailable):
        await submitting
    assert await h.store.locks() == []
    disk.free()
    await until_writable(h)
    task_id = await h.submit(keyed)
    assert (await h.claim_one(owner)).task_id == task_id


@pytest.mark.parametrize("value", [b"two", None])
async def test_a_refused_task_leaves_the_state_to_the_one_before(
    h: Harness, disk: SmallDisk, value: bytes | None
) -> None:
    owner = await h.agent()
    keeps = Submission(METHOD, locks=(LockClaim("cart:42", state=True),))

    def end(claimed: Claimed, value: bytes | None) -> Awaitable[Sequence[Verdict]]:
        assert claimed.state is not None
        state = StateWrite(claimed.state.version, value)
        return h.store.complete([AttemptReport(owner, claimed.task_id, 1, 0, b"", state=state)])

    await h.submit(keeps)
    first = await h.claim_one(owner)
    disk.fill()
    submitting = asyncio.create_task(h.submit(replace(keeps, payload=bytes(200_000))))
    await asyncio.sleep(0)
    # All in one group, of which only the first task's part can be written later.
    one = end(first, b"one")
    second = await h.claim_one(owner)
    two = end(second, value)
    with pytest.raises(Unavailable):
        await submitting
    # The store still knows what is to be written.
    assert isinstance(h.store, EmbeddedStore)
    assert h.store._states.get("cart:42", h.clock()).value == b"one"
    disk.free()
    assert [*await one, *await two] == [Verdict.STORED, Verdict.STALE]
    await until_writable(h)
    found = await h.store.get_state("cart:42")
    assert found is not None
    assert found.value == b"one"


async def test_a_refused_task_is_called_off_at_its_agent(h: Harness, disk: SmallDisk) -> None:
    owner = await h.agent()
    disk.fill()
    submitting = asyncio.create_task(h.submit(Submission(METHOD, bytes(200_000), request_id="r")))
    await asyncio.sleep(0)
    claimed = await h.claim_one(owner)
    with pytest.raises(Unavailable):
        await submitting
    (revoked,) = h.listener.revocations
    assert (revoked.owner, revoked.ref.task_id, revoked.lost) == (owner, claimed.task_id, True)
    disk.free()
    await until_writable(h)
    # The request id is free again.
    (result,) = await h.store.enqueue([Submission(METHOD, b"smaller", request_id="r")])
    assert isinstance(result, Enqueued)
    assert not result.existed


async def test_who_follows_a_refused_task_hears_of_its_end(h: Harness, disk: SmallDisk) -> None:
    disk.fill()
    submission = Submission(METHOD, bytes(200_000), task_id=h.store.new_task_id(METHOD))
    await h.store.enqueue([submission], acknowledged=False)
    async with asyncio.timeout(5):
        while not h.listener.changes:
            await asyncio.sleep(0.005)
    (record,) = h.listener.changes
    assert (record.task_id, record.state) == (submission.task_id, State.FAILED)
    assert reason_of(record)[0] == "STORE_UNAVAILABLE"
    disk.free()
    await until_writable(h)
    assert await h.store.get([submission.task_id]) == [None]


async def test_time_goes_on_on_a_full_disk(h: Harness, disk: SmallDisk) -> None:
    submission = Submission(METHOD, schedule_to_close_s=60.0)
    late, lost = await h.submit_many([submission, Submission(METHOD)])
    owner = await h.agent(lease_s=5.0)
    await h.claim(owner, limit=5)
    disk.fill()
    with pytest.raises(Unavailable):
        await h.submit(Submission(METHOD, bytes(200_000)))
    report = await h.pass_time(5.0)
    assert (report.lost_owners, report.reclaimed) == ([owner], 2)
    assert (await h.pass_time(60.0)).expired == 1
    disk.free()
    await until_writable(h)
    assert await h.state(late) is State.FAILED
    assert (await h.record(lost)).crashes == 1


# -- kill -9 ----------------------------------------------------------------------------------------------------------

WRITER = """
import asyncio, os, random, sys
from tests.store.support import METHOD, RecordingListener
from weft.coordinator.store.rules import QueueKey
from weft.coordinator.store.records import ClaimRequest, Owner, AttemptReport, Submission
from weft.coordinator.store.embedded.embedded_store import EmbeddedStore

path, durability, seed = sys.argv[1:]
rng = random.Random(int(seed))

def note(kind, ids):
    # One write: whole lines reach the ledger, or none.
    os.write(1, "".join(f"{kind} {task_id}\\n" for task_id in ids).encode())

async def submitter(store):
    while True:
        batch = [Submission(METHOD, rng.randbytes(rng.randrange(400))) for _ in range(rng.choice([1, 2, 16, 64]))]
        note("stored", [result.task_id for result in await store.enqueue(batch)])

async def agent(store, name):
    owner = Owner(name, await store.register(name, "i", b"", 3600))
    while True:
        size = rng.choice([1, 3, 64])
        (claims,) = await store.claim([ClaimRequest(owner, {QueueKey(METHOD): 1}, size, size)])
        reports = [AttemptReport(owner, c.task_id, c.attempt, 0, c.task_id.encode()) for c in claims]
        note("begun", [c.task_id for c in claims])
        await store.complete(reports)
        note("ended", [c.task_id for c in claims])
        await asyncio.sleep(0)

async def main():
    store = EmbeddedStore(path, durability=durability, rng=rng)
    await store.open(RecordingListener(followed=set()))
    await asyncio.gather(submitter(store), submitter(store), agent(store, "a"), agent(store, "b"))

asyncio.run(main())
"""


def _ledger(path: Path, durability: str, seed: int, life_s: float) -> dict[str, set[str]]:
    """Let a process write, kill it, and give what it had acknowledged."""
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, path, durability, str(seed)], stdout=subprocess.PIPE
    ) as writer:
        assert writer.stdout is not None
        first = writer.stdout.readline()
        killer = subprocess.Popen(["sh", "-c", f"sleep {life_s}; kill -9 {writer.pid}"])
        rest = writer.stdout.read()
        killer.wait()
        writer.wait()
    assert writer.returncode == -signal.SIGKILL
    lines = (first + rest).decode().splitlines()
    ledger: dict[str, set[str]] = {"stored": set(), "begun": set(), "ended": set()}
    for line in lines:
        kind, task_id = line.split()
        ledger[kind].add(task_id)
    return ledger


@pytest.mark.parametrize("durability", ["process", "full"])
async def test_nothing_acknowledged_is_lost_by_kill_9(tmp_path: Path, durability: str) -> None:
    path = tmp_path / "weft.db"
    seeds = random.Random()
    stored: set[str] = set()
    begun: set[str] = set()
    ended: set[str] = set()
    for _ in range(2):
        seed = seeds.randrange(1 << 30)
        print(f"durability {durability}, seed {seed}")
        ledger = await asyncio.to_thread(_ledger, path, durability, seed, 0.4 + seeds.random() * 0.4)
        stored |= ledger["stored"]
        begun |= ledger["begun"]
        ended |= ledger["ended"]
        # What the kill left is looked at in a copy; the next writer goes on with the file itself.
        copy = tmp_path / f"copy-{seed}.db"
        for suffix in ("", "-wal"):
            shutil.copy(f"{path}{suffix}", f"{copy}{suffix}")
        await _check(copy, stored, begun, ended)
    print(f"{len(stored)} tasks, {len(ended)} outcomes acknowledged, none lost")
    assert len(stored) > 50


async def _check(path: Path, stored: set[str], begun: set[str], ended: set[str]) -> None:
    store = EmbeddedStore(path)
    await store.open(RecordingListener(followed=set()))
    ids = sorted(stored | begun)
    records = await store.get(ids)
    found = {record.task_id: record for record in records if record is not None}
    assert stored <= found.keys()
    for task_id in ended:
        assert found[task_id].state is State.SUCCEEDED
        assert found[task_id].outcome == task_id.encode()
    for task_id, record in found.items():
        # Nothing ended that had not begun, and each ended at its first attempt.
        assert record.state in {State.QUEUED, State.SUCCEEDED}
        assert record.state is State.QUEUED or task_id in begun
        assert record.crashes == 0
    await store.close()


async def test_a_report_of_a_killed_store_is_not_mistaken(tmp_path: Path) -> None:
    """An owner of before the kill is nobody after it."""
    path = tmp_path / "weft.db"
    store = EmbeddedStore(path)
    await store.open(RecordingListener())
    h = Harness(store, ManualClock(), RecordingListener())
    await h.submit()
    claimed = await h.claim_one(await h.agent())
    await store.close()
    await store.open(RecordingListener())
    report = AttemptReport(claimed.owner, claimed.task_id, claimed.attempt, 0, b"late")
    assert list(await store.complete([report])) == [Verdict.STALE]
    await store.close()
