"""Fairness keys and limits at scale in the embedded store: what is counted is work and order, not time."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.store.factories import EmbeddedFactory
from tests.store.support import METHOD, Harness
from tests.support.soak import SOAKS
from weft.coordinator.store.embedded.embedded_store import EmbeddedStore
from weft.coordinator.store.embedded.ready import ReadyQueue
from weft.coordinator.store.records import Submission
from weft.coordinator.store.run_limits import RunLimitRule

# Tasks of the long test.
MANY = 1_000_000 if SOAKS else 200_000


@pytest.fixture
async def h(tmp_path: Path) -> AsyncIterator[Harness]:
    factory = EmbeddedFactory(tmp_path)
    harness = await factory.open()
    # Nobody follows a million tasks.
    harness.listener.followed = set()
    yield harness
    await factory.close()


async def enqueue(h: Harness, count: int, keys: int, *, gated: bool = False) -> None:
    names = [f"key-{number}" for number in range(keys)]
    values = [(("tenant", name),) if gated else () for name in names]
    for at in range(0, count, 10_000):
        await h.store.enqueue(
            [
                Submission(METHOD, fairness_key=names[number % keys], limit_keys=values[number % keys])
                for number in range(at, min(count, at + 10_000))
            ]
        )


@pytest.mark.parametrize("large", [10_000, pytest.param(100_000, marks=pytest.mark.slow)])
async def test_small_keys_are_done_within_twice_their_time_alone(h: Harness, large: int) -> None:
    await h.store.enqueue([Submission(METHOD, fairness_key="large")] * large)
    small: set[str] = set()
    for number in range(99):
        small |= set(await h.submit_many([Submission(METHOD, fairness_key=f"small-{number}")] * 10))
    owner = await h.agent()
    served = [claimed.task_id for claimed in await h.claim_all(owner, limit=2 * len(small))]
    last = max(at for at, task_id in enumerate(served) if task_id in small) + 1
    assert small <= set(served)
    print(f"the last small task is number {last}; alone it would be number {len(small)}")
    assert last <= 2 * len(small)


def count_work(h: Harness, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Counts the items that claims examine."""
    assert isinstance(h.store, EmbeddedStore)
    examined = [0]
    backlog = h.store._table.backlog
    claimable = backlog._claimable

    def counted(number: int, queue: ReadyQueue) -> bool:
        examined[0] += 1
        return claimable(number, queue)

    monkeypatch.setattr(backlog, "_claimable", counted)
    return examined


@pytest.mark.parametrize(
    "tasks", [20_000, pytest.param(MANY, marks=[pytest.mark.slow, pytest.mark.timeout(900)])]
)
async def test_a_claim_costs_the_same_with_many_keys(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tasks: int
) -> None:
    work: dict[int, float] = {}
    for keys in (1, 1000):
        directory = tmp_path / str(keys)
        directory.mkdir()
        factory = EmbeddedFactory(directory)
        h = await factory.open()
        h.listener.followed = set()
        await enqueue(h, tasks, keys)
        owner = await h.agent()
        examined = count_work(h, monkeypatch)
        claimed = sum([len(await h.claim(owner, 64)) for _ in range(100)])
        assert claimed == 6400
        work[keys] = examined[0] / claimed
        await factory.close()
    print(f"items examined a claimed task: {work}")
    assert work[1000] <= 1.2 * work[1]


async def test_a_limit_by_key_parks_each_task_once(h: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tasks that wait at a gate are examined once, and once more when they return."""
    await h.store.set_run_limits(METHOD, {"tenant": RunLimitRule(max_running=1)})
    await enqueue(h, 5000, 50, gated=True)
    owner = await h.agent()
    examined = count_work(h, monkeypatch)
    running = await h.claim_all(owner)
    assert len(running) == 50
    # Each ready task is examined when it is the best, and once more when it has left.
    assert examined[0] <= 3 * 5000
    examined[0] = 0
    for _ in range(40):
        for claimed in running:
            await h.end(claimed)
        running = await h.claim_all(owner)
        assert len(running) == 50
    assert examined[0] <= 4 * 40 * 50


async def test_idle_gates_are_forgotten(h: Harness) -> None:
    assert isinstance(h.store, EmbeddedStore)
    await h.store.set_run_limits(METHOD, {"tenant": RunLimitRule(max_running=1, rate_per_s=100.0)})
    owner = await h.agent(lease_s=1e9)
    await enqueue(h, 5000, 5000, gated=True)
    while claims := await h.claim(owner, 100):
        for claimed in claims:
            await h.end(claimed)
        await h.pass_time(1.0)
    gates = h.store._table.gates
    assert len(gates._limits) <= 2048
    assert len(h.store._table.demands._known) <= 2 * 8192
