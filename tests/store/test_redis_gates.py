"""Run limits, locks and turns over several coordinators of one Redis."""

from __future__ import annotations

import asyncio
import random
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import pytest_asyncio
from google.rpc import code_pb2

from tests.store.support import METHOD, OTHER_METHOD, Harness, ManualClock, RecordingListener, reason_of, ref
from tests.support.processes import environment
from tests.support.redis_server import RedisServer
from tests.support.soak import SOAKS
from weft.coordinator.store.fairness import MOST_KEYS
from weft.coordinator.store.records import AtLimit, Claimed, Owner, Submission
from weft.coordinator.store.redis.redis_keys import LAYOUT
from weft.coordinator.store.redis.redis_store import RedisOptions, RedisStore
from weft.coordinator.store.rules import State, TaskRetryPolicy
from weft.coordinator.store.run_limits import GateKey, LimitAction, LockClaim, RunLimitRule

PREFIX = "test"
# Every kind of key that gates and turns have. Nothing of them stays when nothing runs and nothing waits.
GATE_KEYS = ("gate", "park", "waiting", "exclusive", "holders", "locks", "kept", "fair")


@pytest_asyncio.fixture
async def server(tmp_path: Path) -> AsyncIterator[RedisServer]:
    async with RedisServer(tmp_path) as redis:
        yield redis


async def _open(server: RedisServer, clock: ManualClock | None, poll_s: float = 60.0) -> Harness:
    listener = RecordingListener()
    store = RedisStore(server.url, prefix=PREFIX, clock=clock, options=RedisOptions(poll_s=poll_s))
    await store.open(listener)
    return Harness(store, clock or ManualClock(), listener)


@pytest_asyncio.fixture
async def here(server: RedisServer) -> AsyncIterator[Harness]:
    harness = await _open(server, ManualClock())
    yield harness
    await harness.store.close()


@pytest_asyncio.fixture
async def there(server: RedisServer, here: Harness) -> AsyncIterator[Harness]:
    harness = await _open(server, here.clock)
    yield harness
    await harness.store.close()


async def _left(server: RedisServer) -> list[str]:
    """Keys of gates and turns."""
    async with server.client() as client:
        return [str(name) for kind in GATE_KEYS for name in await client.keys(f"{{{PREFIX}}}:{kind}*")]


# -- races ------------------------------------------------------------------------------------------------------------

LIMITS = {"": RunLimitRule(5), "fairness_key": RunLimitRule(2), "tenant": RunLimitRule(1)}
TENANTS, KEYS, LOCKS = "xyz", "abcd", ("db", "disk")


@dataclass
class Ledger:
    """Attempts that certainly run: each is in it from its claim's answer to its report."""

    inside: dict[str, Submission] = field(default_factory=dict[str, Submission])
    started: int = 0
    most: Counter[str] = field(default_factory=Counter[str])

    def start(self, task_id: str, submission: Submission) -> None:
        assert task_id not in self.inside, "it runs twice"
        self.inside[task_id] = submission
        self.started += 1
        self.check()

    def check(self) -> None:
        running = self.inside.values()
        assert len(running) <= LIMITS[""].max_running
        for key in KEYS:
            assert sum(each.fairness_key == key for each in running) <= LIMITS["fairness_key"].max_running
        for tenant in TENANTS:
            assert sum(each.limit_keys == (("tenant", tenant),) for each in running) <= 1
        for name in LOCKS:
            held = [lock.shared for each in running for lock in each.locks if lock.name == name]
            assert held.count(False) == 0 or len(held) == 1, held
            self.most[name] = max(self.most[name], len(held))
        self.most["running"] = max(self.most["running"], len(running))


def _mixed(rng: random.Random) -> Submission:
    names = rng.sample(LOCKS, rng.choice([0, 0, 1, 2]))
    return Submission(
        METHOD,
        rng.randbytes(4),
        priority=rng.choice([4, 5, 5, 6]),
        retry=TaskRetryPolicy(initial_backoff_s=0.01, max_backoff_s=0.02, max_attempts=50, max_crashes=50),
        fairness_key=rng.choice(KEYS),
        fairness_weight=rng.choice([0.5, 1.0, 3.0]),
        limit_keys=(("tenant", rng.choice(TENANTS)),) if rng.random() < 0.5 else (),
        locks=tuple(LockClaim(name, rng.random() < 0.6) for name in names),
    )


async def _work(
    h: Harness, owner: Owner, ledger: Ledger, given: dict[str, Submission], seed: int, begin: asyncio.Event
) -> None:
    """Claim, and end attempts in every way."""
    rng = random.Random(seed)
    await begin.wait()
    while True:
        claims = await h.claim(owner, rng.randrange(1, 6))
        for claim in claims:
            ledger.start(claim.task_id, given[claim.task_id])
        for claim in claims:
            await asyncio.sleep(rng.choice([0, 0, 0.001]))
            how = rng.random()
            del ledger.inside[claim.task_id]
            if how < 0.6:
                await h.end(claim)
            elif how < 0.75:
                await h.end(claim, code_pb2.UNAVAILABLE)
            elif how < 0.85:
                await h.end(claim, crashed=True)
            elif how < 0.95:
                await h.store.release(claim.owner, [ref(claim)])
            else:
                await h.cancel(claim.task_id)
                await h.end(claim, code_pb2.CANCELLED)
        if not claims:
            await h.sweep()
            await asyncio.sleep(0.002)


# Another coordinator's process: it claims one task after the other, and tells each.
CLAIMS = """
import asyncio, sys
from tests.store.support import Harness, ManualClock, RecordingListener
from weft.coordinator.store.redis.redis_store import RedisStore

async def main(url, prefix):
    listener = RecordingListener(followed=set())
    store = RedisStore(url, prefix=prefix)
    await store.open(listener)
    h = Harness(store, ManualClock(), listener)
    owner = await h.agent("killed", lease_s=1e6)
    while True:
        for claim in await h.claim(owner):
            print(claim.task_id, owner.epoch, flush=True)

asyncio.run(main(*sys.argv[1:]))
"""


async def _claim_and_die(
    server: RedisServer, ledger: Ledger, given: dict[str, Submission], claiming: asyncio.Event
) -> Owner:
    """Run a coordinator that claims for an agent of its own, and kill it in the midst of that; `claiming` is set when it has begun."""
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-c", CLAIMS, server.url, PREFIX, stdout=subprocess.PIPE, env=environment()
    )
    assert child.stdout is not None
    try:
        task_id, epoch = (await child.stdout.readline()).decode().split()
        ledger.start(task_id, given[task_id])
        claiming.set()
        # It claims on.
        await asyncio.sleep(0.05)
    finally:
        child.kill()
        await child.wait()
    del ledger.inside[task_id]
    return Owner("killed", int(epoch))


@pytest.mark.slow
async def test_two_coordinators_overrun_no_gate_and_lose_no_task(server: RedisServer) -> None:
    """Attempts end in all ways; a third coordinator is killed while it claims, and its agent never comes back."""
    rng = random.Random(7)
    stores = [await _open(server, None) for _ in range(2)]
    ledger, given = Ledger(), dict[str, Submission]()
    await stores[0].store.set_run_limits(METHOD, LIMITS)
    submissions = [_mixed(rng) for _ in range(300)]
    given.update(zip(await stores[0].submit_many(submissions), submissions, strict=True))
    owners = [await h.agent(f"a{n}", lease_s=1e6) for n, h in enumerate(stores)]
    # Not before the other one claims: it may take long to start, and must find tasks.
    claiming = asyncio.Event()
    workers = [
        asyncio.create_task(_work(stores[n % 2], owners[n % 2], ledger, given, n, claiming)) for n in range(6)
    ]
    try:
        async with asyncio.timeout(60):
            killed = await _claim_and_die(server, ledger, given, claiming)
            # Its lease ends now: a sweep takes back what it holds.
            assert list(await stores[0].store.renew([killed], 0.0)) == [True]
            while await stores[0].store.depths():
                for worker in workers:
                    if worker.done():
                        worker.result()
                await asyncio.sleep(0.02)
    finally:
        for worker in workers:
            worker.cancel()
        results = await asyncio.gather(*workers, return_exceptions=True)
    assert not [each for each in results if not isinstance(each, asyncio.CancelledError)]
    print(ledger.started, ledger.most)
    assert ledger.most["running"] == LIMITS[""].max_running
    assert await _left(server) == []
    for h in stores:
        await h.store.close()


# -- rates ------------------------------------------------------------------------------------------------------------


async def _run_all(pairs: Sequence[tuple[Harness, Owner]]) -> int:
    """Claim at all stores; each attempt ends at once."""
    count = 0
    for h, owner in pairs:
        for claim in await h.claim(owner, 50):
            await h.end(claim)
            count += 1
    return count


async def test_a_rate_holds_over_two_coordinators(here: Harness, there: Harness) -> None:
    """Ten seconds by the tests' clock, which moves unevenly: the burst, and then a hundred a second."""
    rng = random.Random(3)
    await here.store.set_run_limits(METHOD, {"": RunLimitRule(rate_per_s=100.0, burst=20)})
    pairs = [(h, await h.agent(f"a{n}", lease_s=1e6)) for n, h in enumerate((here, there))]
    await here.submit_many([Submission(METHOD)] * 1500)
    began_at, count = here.clock(), 0
    while here.clock() < began_at + 10.0:
        rng.shuffle(pairs)
        count += await _run_all(pairs)
        # A sweeper comes when the store says so, or a little later.
        await here.pass_time(rng.choice([0.001, 0.01, 0.03, 0.15]))
    assert 0.95 <= (count - 20) / (here.clock() - began_at) / 100 <= 1.05, count


@pytest.mark.slow
async def test_a_rate_holds_for_long_by_the_clock_of_redis(server: RedisServer) -> None:
    """Two coordinators, each with its sweeper, which comes when the store says so. A minute with TEST_SOAK=1."""
    lasts_s = 60 if SOAKS else 15
    stores = [await _open(server, None) for _ in range(2)]
    await stores[0].store.set_run_limits(METHOD, {"": RunLimitRule(rate_per_s=100.0)})
    await stores[0].submit_many([Submission(METHOD)] * (100 * lasts_s + 2000))
    pairs = [(h, await h.agent(f"a{n}", lease_s=1e6)) for n, h in enumerate(stores)]
    loop = asyncio.get_running_loop()
    counts = Counter[int]()

    async def serve(h: Harness, owner: Owner) -> None:
        while True:
            while h.store.ready_depths():
                claims = await h.claim(owner, 20)
                counts[int(loop.time() - began_s)] += len(claims)
                for claim in claims:
                    await h.end(claim)
            report = await h.sweep()
            if h.store.ready_depths():
                continue
            due_s = 0.5 if report.next_due_at is None else report.next_due_at - h.store.now()
            await asyncio.sleep(max(0.001, min(0.5, due_s)))

    began_s = loop.time()
    workers = [asyncio.create_task(serve(h, owner)) for h, owner in pairs]
    await asyncio.sleep(lasts_s + 1)
    for worker in workers:
        worker.cancel()
    await asyncio.gather(*workers, return_exceptions=True)
    # Without the first second, which has the burst.
    each = [counts[second] for second in range(1, lasts_s + 1)]
    print(sum(each) / lasts_s, each)
    # A machine with other work may be late, and never early.
    assert (95 if SOAKS else 80) <= sum(each) / lasts_s <= 105
    for h in stores:
        await h.store.close()


async def test_a_release_gives_its_token_back(here: Harness) -> None:
    await here.store.set_run_limits(METHOD, {"": RunLimitRule(rate_per_s=1.0)})
    owner = await here.agent(lease_s=1e6)
    await here.submit_many([Submission(METHOD)] * 2)
    for _ in range(3):
        claim = await here.claim_one(owner)
        await here.store.release(owner, [ref(claim)])
    first = await here.claim_one(owner)
    assert await here.claim(owner) == []
    await here.end(first)
    assert await here.claim(owner) == []
    await here.pass_time(1.0)
    await here.claim_one(owner)


# -- limits that are set while tasks run ------------------------------------------------------------------------------


async def test_a_new_limit_counts_what_runs_already(
    here: Harness, there: Harness, server: RedisServer
) -> None:
    a, b = await here.agent("a", lease_s=1e6), await there.agent("b", lease_s=1e6)
    await here.submit_many([Submission(METHOD, fairness_key="k")] * 6)
    running = [*await here.claim(a, 2), *await there.claim(b, 1)]
    await here.submit(Submission(OTHER_METHOD))
    (other,) = await here.claim(a, methods=(OTHER_METHOD,))
    await there.store.set_run_limits(METHOD, {"": RunLimitRule(2), "fairness_key": RunLimitRule(1)})
    assert await here.store.run_limits() == await there.store.run_limits() != {}
    assert await here.claim(a, 5) == await there.claim(b, 5) == []
    for claim in running[:2]:
        await here.end(claim)
        assert await here.claim(a, 5) == []
    await here.end(running[2])
    (fourth,) = await here.claim(a, 5)
    # A higher limit lets parked tasks return, and keeps its counts.
    await here.store.set_run_limits(METHOD, {"": RunLimitRule(2)})
    (fifth,) = await here.claim(a, 5)
    assert await there.claim(b, 5) == []
    await here.store.set_run_limits(METHOD, {})
    (sixth,) = await there.claim(b, 5)
    for claim in (fourth, fifth, sixth, other):
        await here.end(claim)
    assert await here.store.run_limits() == {}
    assert await _left(server) == []
    await here.sweep()
    async with server.client() as client:
        assert not await client.exists(f"{{{PREFIX}}}:limited", f"{{{PREFIX}}}:gates")


async def test_what_starts_while_a_limit_is_set_is_counted(here: Harness, there: Harness) -> None:
    """Between the steps of one coordinator, another one claims."""
    owner = await there.agent(lease_s=1e6)
    await there.submit_many([Submission(METHOD)] * 3)
    run = here.store._link.run  # type: ignore[attr-defined]

    async def slowly(script: str, request: object) -> object:
        if script == "set_limits":
            await there.claim_one(owner)
        return await run(script, request)

    here.store._link.run = slowly  # type: ignore[attr-defined]
    await here.store.set_run_limits(METHOD, {"": RunLimitRule(1)})
    assert await there.claim(owner) == []


async def test_many_gates_return_when_their_limit_goes(here: Harness, server: RedisServer) -> None:
    """More gates than one script looks at."""
    await here.store.set_run_limits(METHOD, {"tenant": RunLimitRule(1)})
    owner = await here.agent(lease_s=1e6)
    tenants = [Submission(METHOD, limit_keys=(("tenant", f"t{n}"),)) for n in range(600)]
    await here.submit_many(tenants * 2)
    running: list[Claimed] = []
    # Each claim parks some and says that there is more.
    while here.store.ready_depths():
        running += await here.claim(owner, 300)
    assert len(running) == 600
    assert sum(depth.limited for depth in (await here.store.depths()).values()) == 600
    await here.store.set_run_limits(METHOD, {})
    await here.pass_time(0.1)
    while claims := await here.claim(owner, 300):
        running += claims
    assert len(running) == 1200
    for claim in running:
        await here.end(claim)
    assert await _left(server) == []


async def test_strict_limits_refuse_or_cancel(here: Harness, server: RedisServer) -> None:
    owner = await here.agent(lease_s=1e6)
    await here.store.set_run_limits(METHOD, {"tenant": RunLimitRule(2, at_limit=LimitAction.REFUSE)})

    def of(tenant: str, delay_s: float = 0.0) -> Submission:
        return Submission(METHOD, limit_keys=(("tenant", tenant),), delay_s=delay_s)

    results = await here.store.enqueue([of("x"), of("x", 5.0), of("x"), of("y")])
    assert results[2] == AtLimit(GateKey(METHOD, "tenant", "x"), 2)
    await here.end(await here.claim_one(owner))
    first = await here.submit(of("x"))
    await here.store.set_run_limits(METHOD, {"tenant": RunLimitRule(2, at_limit=LimitAction.CANCEL_NEWEST)})
    newest = await here.submit(of("x"))
    assert await here.state(newest) is State.CANCELLED
    assert "run limit" in str(reason_of(await here.record(newest)))
    rule = RunLimitRule(2, at_limit=LimitAction.CANCEL_OLDEST, grace_s=3.0)
    await here.store.set_run_limits(METHOD, {"tenant": rule})
    second = await here.submit(of("x"))
    # The delayed one was the oldest.
    assert await here.state(first) is State.QUEUED
    third = await here.submit(of("x"))
    assert [await here.state(each) for each in (first, second, third)] == [
        State.CANCELLED,
        State.QUEUED,
        State.QUEUED,
    ]
    claims = await here.claim(owner, 5)
    fourth = await here.submit(of("x"))
    record = await here.record(second)
    assert (record.state, record.cancel_requested) == (State.RUNNING, True)
    # Its end is on its way: the next one cancels the one after it.
    fifth = await here.submit(of("x"))
    assert (await here.record(third)).cancel_requested
    assert [await here.state(each) for each in (fourth, fifth)] == [State.QUEUED] * 2
    await here.pass_time(4.1)
    assert await here.state(second) is State.CANCELLED
    for claim in [*claims, *await here.claim(owner, 5)]:
        await here.end(claim)
    assert await here.store.depths() == {}
    assert await _left(server) == []


async def test_who_waits_for_a_refused_task_is_told(here: Harness) -> None:
    """Nobody was told that it is stored: its caller follows it."""
    await here.store.set_run_limits(METHOD, {"": RunLimitRule(1, at_limit=LimitAction.REFUSE)})
    await here.submit()
    given = Submission(METHOD, task_id=here.store.new_task_id(METHOD))
    await here.store.enqueue([given], acknowledged=False)
    async with asyncio.timeout(10):
        while not here.listener.states(given.task_id):
            await asyncio.sleep(0.01)
    (told,) = [record for record in here.listener.changes if record.task_id == given.task_id]
    assert reason_of(told)[0] == "LIMIT_REACHED"
    assert await here.store.get([given.task_id]) == [None]
    # It counted as ready for a moment.
    async with asyncio.timeout(10):
        while sum(here.store.ready_depths().values()) != 1:
            await asyncio.sleep(0.01)


# -- turns ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("large", [3_000, pytest.param(20_000, marks=pytest.mark.slow)])
async def test_small_keys_do_not_wait_for_a_large_one(here: Harness, server: RedisServer, large: int) -> None:
    """One key has many tasks queued, then ninety-nine others come with ten each: they are served in turns, and each is done
    after at most twice as many claims as without the large one."""
    owner = await here.agent(lease_s=1e6)
    small = [Submission(METHOD, fairness_key=f"small{n}") for _ in range(10) for n in range(99)]

    async def done_after() -> dict[str, int]:
        """Claims until each small key was done."""
        ids = dict(zip(await here.submit_many(small), (each.fairness_key for each in small), strict=True))
        left, claimed, done = Counter(ids.values()), 0, dict[str, int]()
        while left:
            for claim in await here.claim(owner, 10):
                claimed += 1
                key = ids.get(claim.task_id, "large")
                left[key] -= 1
                if key != "large" and not left[key]:
                    del left[key]
                    done[key] = claimed
                await here.end(claim)
            del left["large"]
        return done

    alone = await done_after()
    for _ in range(large // 500):
        await here.submit_many([Submission(METHOD, fairness_key="large")] * 500)
    among = await done_after()
    slowest = max(among[key] / alone[key] for key in alone)
    assert slowest <= 1.1, slowest


async def test_a_queue_forgets_turns_when_it_is_empty(here: Harness, server: RedisServer) -> None:
    owner = await here.agent(lease_s=1e6)
    for _ in range(3):
        ids = await here.submit_many([Submission(METHOD, fairness_key=f"k{n}") for n in range(5)])
        await here.submit(Submission(OTHER_METHOD))
        assert len(await _left(server)) == 2
        for claim in await here.claim(owner, 3):
            await here.end(claim)
        for task_id in ids:
            await here.cancel(task_id)
        assert await _left(server) == []


async def test_old_keys_are_forgotten(here: Harness, server: RedisServer) -> None:
    """A queue that is never empty knows a bounded number of keys, whatever keys come."""
    owner = await here.agent(lease_s=1e6)
    name = f"{{{PREFIX}}}:fair:5:{METHOD}"
    async with server.client() as client:
        for n in range(30):
            await here.submit_many(
                [Submission(METHOD, fairness_key=key) for key in ("a", "b", "a", "b", str(n))]
            )
            for claim in await here.claim(owner, 4):
                await here.end(claim)
        assert await client.zcard(name) < 10
        for n in range(MOST_KEYS // 500 + 2):
            await here.submit_many([Submission(METHOD, fairness_key=f"k{n}-{m}") for m in range(500)])
        assert await client.zcard(name) <= MOST_KEYS + 1


# -- deferred writes, layouts ---------------------------------------------------------------------------------------------


async def test_a_task_with_a_gate_takes_no_short_cut(here: Harness) -> None:
    owner = await here.agent(lease_s=1e6)
    await here.store.set_run_limits(OTHER_METHOD, {"": RunLimitRule(1)})
    given = [
        Submission(METHOD, fairness_key="k"),
        Submission(METHOD, locks=(LockClaim("db"),)),
        Submission(METHOD, limit_keys=(("tenant", "x"),)),
        Submission(OTHER_METHOD),
    ]
    for each in given:
        await here.store.enqueue([each], acknowledged=False)
        assert len(here.store._buffer._deferred) == 0  # type: ignore[attr-defined]
        await here.end((await here.claim(owner, methods=(METHOD, OTHER_METHOD)))[0])


async def test_an_attempt_that_did_not_hear_of_a_limit_counts(here: Harness, there: Harness) -> None:
    """Another coordinator hears of it at its next poll. What it starts before that counts as having run before."""
    a, b = await here.agent("a", lease_s=1e6), await there.agent("b", lease_s=1e6)
    await here.store.set_run_limits(METHOD, {"": RunLimitRule(1)})
    there.store._link.limited = frozenset()  # type: ignore[attr-defined]
    await there.store.enqueue([Submission(METHOD)], acknowledged=False)
    claim = await there.claim_one(b)
    assert len(there.store._buffer._deferred) == 1  # type: ignore[attr-defined]
    await here.submit(Submission(METHOD))
    there.store._buffer.flush()  # type: ignore[attr-defined]
    await there.state(claim.task_id)
    assert await here.claim(a) == []
    await there.end(claim)
    await here.claim_one(a)


@pytest.mark.parametrize("layout", [3, 4, 5])
async def test_a_store_without_gates_or_states_is_taken_over(
    here: Harness, server: RedisServer, layout: int
) -> None:
    async with server.client() as client:
        await client.set(f"{{{PREFIX}}}:layout", layout)
        again = await _open(server, here.clock)
        assert await client.get(f"{{{PREFIX}}}:layout") == str(LAYOUT)
    await again.store.close()
