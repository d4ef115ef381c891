"""Owners: leases, lost agents, adoption, leaving, and one live process an agent."""

from __future__ import annotations

import pytest

from tests.store.support import METHOD, Harness, ref
from weft.coordinator.store.records import AttemptRef, Owner, Submission, Verdict
from weft.coordinator.store.rules import State
from weft.rpc.errors import AlreadyExists
from weft.v1 import errors_pb2


async def test_epochs_only_grow(h: Harness) -> None:
    epochs = [(await h.agent(agent_id)).epoch for agent_id in ("a", "b", "a", "a", "b")]
    assert epochs == sorted(set(epochs))
    assert epochs[0] > 0


async def test_a_lease_that_passes_costs_its_owner_everything(h: Harness) -> None:
    ids = await h.submit_many([Submission(METHOD)] * 3)
    owner = await h.agent(lease_s=10.0)
    claims = await h.claim(owner, limit=2)
    assert (await h.pass_time(9.0)).lost_owners == []
    report = await h.pass_time(1.0)
    assert (report.lost_owners, report.reclaimed) == ([owner], 2)
    assert [await h.end(claimed) for claimed in claims] == [Verdict.STALE] * 2
    assert list(await h.store.renew([owner], 10.0)) == [False]
    records = [await h.record(task_id) for task_id in ids]
    assert [record.state for record in records] == [State.QUEUED] * 3
    assert [record.crashes for record in records] == [1, 1, 0]
    assert await h.claim(owner) == []
    again = await h.claim(await h.agent("b"), limit=3)
    assert [(claimed.task_id, claimed.attempt) for claimed in again] == list(zip(ids, [2, 2, 1], strict=True))


async def test_a_renewed_lease_goes_on(h: Harness) -> None:
    await h.submit()
    owner, other = await h.agent(lease_s=10.0), await h.agent("b", lease_s=10.0)
    claimed = await h.claim_one(owner)
    for _ in range(5):
        h.clock.advance(8.0)
        assert list(await h.store.renew([owner, other, Owner("a", 1)], 10.0)) == [True, True, False]
        assert (await h.sweep()).lost_owners == []
    assert await h.end(claimed) is Verdict.STORED


async def test_a_lease_can_be_cut_short(h: Harness) -> None:
    owner = await h.agent(lease_s=1000.0)
    await h.store.renew([owner], 2.0)
    report = await h.pass_time(0.0)
    assert report.next_due_at == h.clock() + 2.0
    assert (await h.pass_time(2.0)).lost_owners == [owner]


async def test_a_sweep_says_what_is_next(h: Harness) -> None:
    assert (await h.sweep()).next_due_at is None
    await h.agent(lease_s=10.0)
    assert (await h.sweep()).next_due_at == h.clock() + 10.0
    await h.submit(Submission(METHOD, delay_s=3.0))
    assert (await h.sweep()).next_due_at == h.clock() + 3.0


async def test_a_crashed_task_is_not_lost_twice(h: Harness) -> None:
    task_id = await h.submit()
    owner = await h.agent(lease_s=1.0)
    await h.claim_one(owner)
    await h.pass_time(1.0)
    await h.pass_time(1.0)
    await h.store.retire(owner)
    assert (await h.record(task_id)).crashes == 1


async def test_an_agent_that_leaves(h: Harness) -> None:
    task_id = await h.submit()
    owner = await h.agent()
    claimed = await h.claim_one(owner)
    await h.store.retire(owner)
    assert await h.end(claimed) is Verdict.STALE
    record = await h.record(task_id)
    assert (record.state, record.crashes) == (State.QUEUED, 1)
    assert [agent.connected for agent in (await h.store.agents()).values()] == [False]


@pytest.mark.parametrize("instance_id", ["instance", "another"])
async def test_adopted_attempts_go_on_in_the_new_session(h: Harness, instance_id: str) -> None:
    ids = await h.submit_many([Submission(METHOD)] * 3)
    old = await h.agent()
    claims = await h.claim(old, limit=3)
    await h.store.detach(old, 5.0)
    new = await h.agent(instance_id=instance_id)
    held = [(ref(claims[0]), old.epoch), (ref(claims[2]), old.epoch)]
    assert await h.adopt(new, held) == [True, True]
    # What the agent did not name is taken back at once; the old session's word does not count any more.
    records = [await h.record(task_id) for task_id in ids]
    assert [record.state for record in records] == [State.RUNNING, State.QUEUED, State.RUNNING]
    # The same process never heard of it. Another one says that its predecessor died.
    assert [record.crashes for record in records] == [0, int(instance_id == "another"), 0]
    assert await h.end(claims[0]) is Verdict.STALE
    for claimed in claims:
        claimed.owner = new
    assert [await h.end(claimed) for claimed in claims] == [Verdict.STORED, Verdict.STALE, Verdict.STORED]
    assert list(await h.store.renew([old], 5.0)) == [False]
    # The old lease's end has nothing to take any more.
    await h.store.renew([new], 1000.0)
    assert (await h.pass_time(10.0)).reclaimed == 0


async def test_adoption_can_be_repeated(h: Harness) -> None:
    await h.submit()
    old = await h.agent()
    claimed = await h.claim_one(old)
    new = await h.agent()
    for _ in range(2):
        assert await h.adopt(new, [(ref(claimed), old.epoch)]) == [True]
        assert await h.adopt(new, [(ref(claimed), new.epoch)]) == [True]
    claimed.owner = new
    assert await h.end(claimed) is Verdict.STORED


async def test_an_agent_that_missed_a_session_keeps_its_attempts(h: Harness) -> None:
    """It adopted them and broke before the agent was welcomed, which names the epoch that it knows."""
    await h.submit()
    known = await h.agent()
    claimed = await h.claim_one(known)
    missed = await h.agent()
    assert await h.adopt(missed, [(ref(claimed), known.epoch)]) == [True]
    new = await h.agent()
    assert await h.adopt(new, [(ref(claimed), known.epoch)]) == [True]
    # But a session that is over takes nothing from a newer one.
    assert await h.adopt(missed, [(ref(claimed), known.epoch)]) == [False]
    claimed.owner = new
    assert await h.end(claimed) is Verdict.STORED
    assert (await h.record(claimed.task_id)).crashes == 0


async def test_what_is_not_the_agents_is_not_adopted(h: Harness) -> None:
    queued, _, finished = await h.submit_many([Submission(METHOD, priority=p) for p in (1, 5, 9)])
    a, b = await h.agent("a"), await h.agent("b")
    done = await h.claim_one(a)
    assert done.task_id == finished
    await h.end(done)
    of_b = await h.claim_one(b)
    new = await h.agent("a")
    held = [
        (ref(of_b), a.epoch),
        (ref(of_b), b.epoch),
        (AttemptRef(of_b.task_id, 2), b.epoch),
        (AttemptRef(queued, 1), a.epoch),
        (ref(done), a.epoch),
        (AttemptRef(h.store.new_task_id(METHOD), 1), a.epoch),
        (AttemptRef("nonsense", 1), a.epoch),
    ]
    assert await h.adopt(new, held) == [False] * len(held)
    assert await h.end(of_b) is Verdict.STORED
    assert await h.adopt(Owner("a", 3), held) == [False] * len(held)


async def test_one_lost_session_does_not_touch_the_next(h: Harness) -> None:
    await h.submit_many([Submission(METHOD)] * 2)
    old = await h.agent(lease_s=5.0)
    await h.claim_one(old)
    new = await h.agent(lease_s=100.0)
    second = await h.claim_one(new)
    report = await h.pass_time(5.0)
    assert (report.lost_owners, report.reclaimed) == ([old], 1)
    assert await h.end(second) is Verdict.STORED
    assert [agent.connected for agent in (await h.store.agents()).values()] == [True]


async def _refused(h: Harness, instance_id: str = "another") -> None:
    with pytest.raises(AlreadyExists, match="another live process") as refusal:
        await h.agent(instance_id=instance_id)
    assert refusal.value.reason == errors_pb2.ERROR_REASON_AGENT_ID_IN_USE
    assert refusal.value.metadata == {"agent_id": "a"}


async def test_an_agent_is_one_live_process(h: Harness) -> None:
    await h.submit()
    owner = await h.agent(lease_s=10.0)
    claimed = await h.claim_one(owner)
    for _ in range(3):
        await _refused(h)
        h.clock.advance(8.0)
        assert list(await h.store.renew([owner], 10.0)) == [True]
    # It is not touched by who was refused.
    (agent,) = (await h.store.agents()).values()
    assert (agent.instance_id, agent.epoch, agent.connected) == ("instance", owner.epoch, True)
    assert await h.end(claimed) is Verdict.STORED
    assert (await h.agent("b", instance_id="another")).epoch > owner.epoch


async def test_a_process_takes_over_from_itself(h: Harness) -> None:
    old = await h.agent()
    new = await h.agent()
    await h.store.adopt(new, [])
    # The old stream ends late, or never: it is the new one that counts.
    await h.store.detach(old, 1.0)
    await _refused(h)
    assert list(await h.store.renew([old, new], 10.0)) == [False, True]
    await _refused(h)


async def test_a_process_may_come_when_the_stream_of_another_has_ended(h: Harness) -> None:
    task_id = await h.submit()
    old = await h.agent(lease_s=1000.0)
    claimed = await h.claim_one(old)
    await h.store.detach(old, 2.0)
    new = await h.agent(instance_id="another", lease_s=1000.0)
    # It is not dead for that, as long as nobody says so.
    assert await h.state(task_id) is State.RUNNING
    assert (await h.pass_time(2.0)).lost_owners == [old]
    assert (await h.record(task_id)).crashes == 1
    assert await h.end(claimed) is Verdict.STALE
    await _refused(h, "instance")
    assert list(await h.store.renew([new], 10.0)) == [True]


async def test_only_the_last_session_keeps_others_out(h: Harness) -> None:
    """It broke before it adopted anything: what came before it has no stream any more."""
    await h.agent(lease_s=1000.0)
    await h.store.detach(await h.agent(), 5.0)
    await h.agent(instance_id="another")


async def test_a_process_may_come_when_the_lease_of_another_has_passed(h: Harness) -> None:
    """Its coordinator died and could not say that the stream has ended."""
    old = await h.agent(lease_s=3.0)
    h.clock.advance(2.9)
    await _refused(h)
    h.clock.advance(0.1)
    new = await h.agent(instance_id="another", lease_s=1000.0)
    # A coordinator that was only late cannot bring it back.
    await h.store.renew([old], 10.0)
    await h.store.adopt(new, [])
    assert list(await h.store.renew([old, new], 10.0)) == [False, True]
    await h.store.retire(new)
    await h.agent()


async def test_the_end_of_a_stream_that_nobody_knows(h: Harness) -> None:
    owner = await h.agent()
    await h.store.detach(Owner("z", 1), 1.0)
    await h.store.retire(owner)
    await h.store.detach(owner, 5.0)
    assert list(await h.store.renew([owner], 5.0)) == [False]
    assert (await h.sweep()).next_due_at is None


async def test_agents_are_known_until_forgotten(h: Harness) -> None:
    owner = await h.agent("a")
    (agent,) = (await h.store.agents()).values()
    assert (agent.agent_id, agent.instance_id, agent.epoch) == ("a", "instance", owner.epoch)
    assert (agent.description, agent.connected) == (b"about it", True)
    assert await h.store.set_desired("a", 2) is True
    assert await h.store.set_desired("z", 2) is False
    await h.store.forget_agent("a")
    assert len(await h.store.agents()) == 1
    await h.store.retire(owner)
    (agent,) = (await h.store.agents()).values()
    assert (agent.connected, agent.left, agent.desired_state) == (False, True, 2)
    await h.agent("a")
    (agent,) = (await h.store.agents()).values()
    assert (agent.connected, agent.left, agent.desired_state) == (True, False, 2)
    await h.pass_time(100.0)
    (agent,) = (await h.store.agents()).values()
    assert (agent.connected, agent.left, agent.desired_state) == (False, False, 2)
    await h.store.forget_agent("a")
    await h.store.forget_agent("a")
    assert await h.store.agents() == {}


async def test_contracts_are_kept_in_order(h: Harness) -> None:
    await h.store.put_contract("d1", b"one", ["a/1", "a/2"])
    await h.store.put_contract("d2", b"two", ["a/2", "b/1"])
    await h.store.put_contract("d2", b"two", ["b/2"])
    contracts = await h.store.contracts()
    assert list(contracts) == ["d1", "d2"]
    assert {digest: (files, sorted(methods)) for digest, (files, methods) in contracts.items()} == {
        "d1": (b"one", ["a/1"]),
        "d2": (b"two", ["a/2", "b/1", "b/2"]),
    }
