"""Resources that tasks use while they run: a claim gives out what fits into what is left at the agent."""

from __future__ import annotations

from tests.store.support import METHOD, OTHER_METHOD, Harness, ref
from weft.coordinator.store.records import Claimed, ClaimRequest, Owner, Submission
from weft.coordinator.store.rules import QueueKey, Requirements


def uses(method: str = METHOD, **consumes: float) -> Submission:
    return Submission(method, requirements=Requirements.of({}, {}, consumes))


async def claim(h: Harness, owner: Owner, limit: int = 10, **left: float) -> list[Claimed]:
    keys = dict.fromkeys(h.store.ready_depths(), 1)
    return list((await h.store.claim([ClaimRequest(owner, keys, limit, limit, left)]))[0])


async def test_what_is_left_is_given_out(h: Harness) -> None:
    owner = await h.agent()
    ids = await h.submit_many([uses(gpu=1.0)] * 4)
    assert [claimed.task_id for claimed in await claim(h, owner, gpu=2.0)] == ids[:2]
    assert await claim(h, owner, gpu=0.5) == []
    assert await claim(h, owner) == []
    assert [claimed.task_id for claimed in await claim(h, owner, gpu=1.0, disk=7.0)] == [ids[2]]


async def test_a_large_task_is_not_overtaken_by_small_ones(h: Harness) -> None:
    owner = await h.agent()
    large, small, disk, plain = await h.submit_many(
        [uses(gpu=3.0), uses(OTHER_METHOD, gpu=1.0), uses(disk=1.0), Submission(METHOD)]
    )
    # The others that use the same resource wait with it; the rest does not.
    claims = await claim(h, owner, gpu=2.0, disk=1.0)
    assert [claimed.task_id for claimed in claims] == [disk, plain]
    claims = await claim(h, owner, gpu=4.0)
    assert [claimed.task_id for claimed in claims] == [large, small]


async def test_several_resources_at_once(h: Harness) -> None:
    owner = await h.agent()
    ids = await h.submit_many([uses(gpu=1.0, memory_bytes=4e9), uses(memory_bytes=4e9), uses(gpu=1.0)])
    claims = await claim(h, owner, gpu=2.0, memory_bytes=6e9)
    assert [claimed.task_id for claimed in claims] == [ids[0], ids[2]]


async def test_a_queue_says_what_its_tasks_use(h: Harness) -> None:
    await h.submit(uses(gpu=1.0))
    key = QueueKey(METHOD, Requirements.of({}, {}, {"gpu": 1.0}))
    assert h.store.ready_depths() == {key: 1}
    old = await h.agent(lease_s=1e9)
    (claimed,) = await claim(h, old, gpu=1.0)
    assert (await h.record(claimed.task_id)).submission.requirements == key.requirements
    new = await h.agent(lease_s=1e9)
    # The session accounts for the attempts that it takes over.
    assert list(await h.store.adopt(new, [(ref(claimed), old.epoch)])) == [key]
    claimed.owner = new
    await h.end(claimed, crashed=True)
    assert h.store.ready_depths() == {key._replace(avoid="a"): 1}
