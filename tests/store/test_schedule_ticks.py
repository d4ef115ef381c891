"""One task a tick, on every store: passes that die at any step, two at a time, and clocks that jump."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration
from google.rpc import code_pb2

from probe.v1.probe_pb2 import ProbeRequest
from tests.store.dying_store import Died, DyingStore, submissions_of
from tests.store.support import Harness, StoreFactory
from tests.support.lightweight import CONTRACT, ECHO
from weft.coordinator.contracts.contract_catalogue import Contracts
from weft.coordinator.contracts.contract_sync import ContractSync
from weft.coordinator.request_checks import MAX_REASON_CHARS
from weft.coordinator.schedules.schedule_codec import (
    KIND,
    MAX_OPTIONS_BYTES,
    MAX_PAYLOAD_BYTES,
    note_tick,
    set_next_tick,
    timing_of,
)
from weft.coordinator.schedules.schedule_rules import Fate
from weft.coordinator.schedules.schedule_table import KEEP_ENDED_S, TAKEN_UP_S, ScheduleTable, row_put
from weft.coordinator.schedules.tick_pass import TickPass
from weft.coordinator.store.table_store import RowPut
from weft.rpc.times import duration, seconds, timestamp
from weft.v1 import schedule_pb2, task_pb2
from weft.v1.schedule_pb2 import (
    OVERLAP_POLICY_ALLOW,
    OVERLAP_POLICY_CANCEL,
    OVERLAP_POLICY_QUEUE,
    OVERLAP_POLICY_SKIP,
    TICK_OUTCOME_MISSED,
    TICK_OUTCOME_REFUSED,
    TICK_OUTCOME_SKIPPED,
    TICK_OUTCOME_SUBMITTED,
)

PERIOD_S = 10.0


def tick_pass(store: Any, *, contract: bool = True, max_queued: int = 1_000_000) -> TickPass:
    """The passes of a coordinator that has just started."""
    return TickPass(store, submissions_of(store, contract=contract, max_queued=max_queued), 5.0)


async def create(h: Harness, name: str = "s", **spec: Any) -> schedule_pb2.Schedule:
    """A schedule that was created now."""
    now = h.store.now()
    given: dict[str, Any] = {"method": ECHO, "payload": ProbeRequest(text=name).SerializeToString()}
    if not {"cron", "at"} & spec.keys():
        given["interval"] = duration(PERIOD_S)
    schedule = schedule_pb2.Schedule(
        name=name,
        uid=f"uid-{name}",
        spec=schedule_pb2.ScheduleSpec(**(given | spec)),
        create_time=timestamp(now),
    )
    timing = timing_of(schedule)
    set_next_tick(schedule, timing, timing.next_after(now), now)
    assert await ScheduleTable(h.store).create(schedule) is None
    return schedule


async def read(h: Harness, name: str = "s") -> schedule_pb2.Schedule:
    return (await ScheduleTable(h.store).read(name))[0]


async def settle(h: Harness, ticks: TickPass) -> float | None:
    """Passes until none is due; when the next one is."""
    for _ in range(1000):
        next_at = await ticks.run()
        if next_at is None or next_at > h.store.now():
            return next_at
    raise AssertionError("there is always another pass")


async def tasks_of(h: Harness) -> list[str]:
    """The request ids of all tasks, oldest first."""
    ids = reversed(await h.find())
    return [(await h.record(task_id)).submission.request_id for task_id in ids]


def outcomes(schedule: schedule_pb2.Schedule) -> list[schedule_pb2.TickOutcome]:
    """Of the last ticks, oldest first."""
    return [tick.outcome for tick in reversed(schedule.last_ticks)]


async def test_a_tick_is_a_task(h: Harness) -> None:
    made = await create(h)
    ticks = tick_pass(h.store)
    first_at = h.clock() + PERIOD_S
    assert await settle(h, ticks) == first_at
    assert await h.find() == []
    h.clock.advance(PERIOD_S)
    assert await settle(h, ticks) == first_at + PERIOD_S
    (task_id,) = await h.find()
    submission = (await h.record(task_id)).submission
    assert submission.request_id == f"schedule.uid-s.{round(first_at * 1000)}"
    assert (submission.method, submission.payload) == (ECHO, made.spec.payload)
    assert b"schedule-time" in submission.context
    schedule = await read(h)
    assert seconds(schedule.next_time) == first_at + PERIOD_S
    assert outcomes(schedule) == [TICK_OUTCOME_SUBMITTED]
    assert (schedule.last_ticks[0].task_id, schedule.submitted_count) == (task_id, 1)
    assert list(schedule.unfinished_task_ids) == [task_id]
    assert not schedule.HasField("pending_time")


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
async def test_a_pass_that_dies_at_any_step_leaves_one_task_a_tick(
    store_factory: StoreFactory, after: bool
) -> None:
    died = 0
    for calls in range(1, 8):
        h = await store_factory.open()
        await create(h, overlap=OVERLAP_POLICY_ALLOW)
        h.clock.advance(PERIOD_S)
        try:
            await tick_pass(DyingStore(h.store, calls, after=after)).run()
        except Died:
            died += 1
        h = await store_factory.reopen(h, crash=True)
        # The next process looks at once, and again when the tick is taken up.
        await settle(h, tick_pass(h.store))
        h.clock.advance(TAKEN_UP_S)
        await settle(h, tick_pass(h.store))
        assert len(await tasks_of(h)) == 1
        schedule = await read(h)
        assert (schedule.submitted_count, outcomes(schedule)) == (1, [TICK_OUTCOME_SUBMITTED])
        assert schedule.last_ticks[0].task_id == (await h.find())[0]
        h.clock.advance(PERIOD_S - TAKEN_UP_S)
        await settle(h, tick_pass(h.store))
        assert len(await tasks_of(h)) == 2
    # A pass makes four calls: due rows, decide, submit, settle.
    assert died == 4


@pytest.mark.parametrize("overlap", [OVERLAP_POLICY_ALLOW, OVERLAP_POLICY_SKIP], ids=["allow", "skip"])
async def test_passes_at_once_decide_each_tick_once(h: Harness, overlap: schedule_pb2.OverlapPolicy) -> None:
    names = [f"s{n}" for n in range(5)]
    for name in names:
        await create(h, name, overlap=overlap)
    allows = overlap == OVERLAP_POLICY_ALLOW
    for count in range(1, 6):
        h.clock.advance(PERIOD_S)
        await asyncio.gather(*(tick_pass(h.store).run() for _ in range(4)))
        await settle(h, tick_pass(h.store))
        found = await tasks_of(h)
        assert len(found) == len(set(found)) == (count if allows else 1) * len(names)
    for name in names:
        schedule = await read(h, name)
        assert (schedule.submitted_count, schedule.skipped_count) == ((5, 0) if allows else (1, 4))


async def test_a_spec_that_is_replaced_between_two_tries_makes_no_second_task(
    h: Harness,
) -> None:
    await create(h)
    h.clock.advance(PERIOD_S)
    # Due rows, decide, submit: it dies before it notes that.
    with pytest.raises(Died):
        await tick_pass(DyingStore(h.store, 3, after=True)).run()

    def replace(schedule: schedule_pb2.Schedule) -> bool:
        schedule.spec.payload = ProbeRequest(text="other").SerializeToString()
        return True

    await ScheduleTable(h.store).change("s", replace)
    h.clock.advance(TAKEN_UP_S)
    await settle(h, tick_pass(h.store))
    (task_id,) = await h.find()
    assert (await read(h)).last_ticks[0].task_id == task_id


async def test_a_tick_that_was_submitted_is_not_told_as_refused(h: Harness) -> None:
    await create(h)
    h.clock.advance(PERIOD_S)
    with pytest.raises(Died):
        await tick_pass(DyingStore(h.store, 3, after=True)).run()
    h.clock.advance(TAKEN_UP_S)
    # Now its method is not known any more.
    await settle(h, tick_pass(h.store, contract=False))
    (tick,) = (await read(h)).last_ticks
    assert (tick.outcome, [tick.task_id]) == (TICK_OUTCOME_SUBMITTED, await h.find())


async def test_a_deleted_schedule_that_is_created_again_has_ticks_of_its_own(h: Harness) -> None:
    await create(h)
    h.clock.advance(PERIOD_S)
    await settle(h, tick_pass(h.store))
    await ScheduleTable(h.store).delete("s")
    await settle(h, tick_pass(h.store))
    assert len(await h.find()) == 1


async def _run_one(h: Harness, code: int = code_pb2.OK) -> None:
    owner = await h.agent(lease_s=1e9)
    (claimed,) = await h.claim(owner, methods=[ECHO])
    await h.end(claimed, code)


async def test_skip(h: Harness) -> None:
    await create(h, overlap=OVERLAP_POLICY_SKIP)
    ticks = tick_pass(h.store)
    for _ in range(3):
        h.clock.advance(PERIOD_S)
        await settle(h, ticks)
    assert len(await h.find()) == 1
    assert outcomes(await read(h)) == [TICK_OUTCOME_SUBMITTED, TICK_OUTCOME_SKIPPED, TICK_OUTCOME_SKIPPED]
    await _run_one(h)
    h.clock.advance(PERIOD_S)
    await settle(h, ticks)
    schedule = await read(h)
    assert (schedule.submitted_count, schedule.skipped_count) == (2, 2)
    assert len(schedule.unfinished_task_ids) == 1


async def test_queue(h: Harness) -> None:
    await create(h, overlap=OVERLAP_POLICY_QUEUE)
    ticks = tick_pass(h.store)
    begun_at = h.clock()
    for _ in range(3):
        h.clock.advance(PERIOD_S)
        await settle(h, ticks)
    for count in (2, 3):
        assert len(await h.find()) == count - 1
        await _run_one(h)
        h.clock.advance(3.0)
        await settle(h, ticks)
    assert [name.rpartition(".")[2] for name in await tasks_of(h)] == [
        str(round((begun_at + n * PERIOD_S) * 1000)) for n in (1, 2, 3)
    ]


async def test_queued_ticks_wait_as_long_as_the_window(h: Harness) -> None:
    await create(h, overlap=OVERLAP_POLICY_QUEUE, catch_up_window=Duration(seconds=15))
    ticks = tick_pass(h.store)
    for _ in range(5):
        h.clock.advance(PERIOD_S)
        await settle(h, ticks)
    assert outcomes(await read(h)) == [TICK_OUTCOME_SUBMITTED, TICK_OUTCOME_MISSED, TICK_OUTCOME_MISSED]


async def test_cancel(h: Harness) -> None:
    await create(h, overlap=OVERLAP_POLICY_CANCEL)
    ticks = tick_pass(h.store)
    h.clock.advance(PERIOD_S)
    await settle(h, ticks)
    owner = await h.agent(lease_s=1e9)
    (claimed,) = await h.claim(owner, methods=[ECHO])
    h.clock.advance(PERIOD_S)
    await settle(h, ticks)
    # It runs on, and is told once.
    h.clock.advance(1.0)
    await settle(h, ticks)
    record = await h.record(claimed.task_id)
    assert record.cancel_requested
    assert [(each.ref.task_id, each.reason) for each in h.listener.revocations] == [
        (claimed.task_id, "the next tick of schedule s has come")
    ]
    assert len(await h.find()) == 1
    await h.end(claimed, code_pb2.CANCELLED)
    h.clock.advance(1.0)
    await settle(h, ticks)
    assert len(await h.find()) == 2
    assert (await read(h)).submitted_count == 2


async def test_ticks_are_made_up_for_within_the_window(h: Harness, store_factory: StoreFactory) -> None:
    await create(h, "all", overlap=OVERLAP_POLICY_ALLOW)
    await create(h, "some", overlap=OVERLAP_POLICY_ALLOW, catch_up_window=Duration(seconds=25))
    await create(h, "late", catch_up_window=Duration())
    h.clock.advance(PERIOD_S * 6 + 9.0)
    h = await store_factory.reopen(h, crash=True)
    await settle(h, tick_pass(h.store))
    counts = {}
    for name in ("all", "some", "late"):
        schedule = await read(h, name)
        counts[name] = (schedule.submitted_count, schedule.missed_count)
    assert counts == {"all": (6, 0), "some": (2, 4), "late": (0, 6)}


async def test_a_paused_schedule_has_no_ticks_and_a_last_one_ends_it(h: Harness) -> None:
    await create(h, "once", at=timestamp(h.clock() + 5.0))
    await create(h, "paused")

    def pause(schedule: schedule_pb2.Schedule) -> bool:
        schedule.paused = True
        schedule.ClearField("next_time")
        return True

    await ScheduleTable(h.store).change("paused", pause)
    ticks = tick_pass(h.store)
    h.clock.advance(60.0)
    assert await settle(h, ticks) == h.clock() + KEEP_ENDED_S
    assert len(await h.find()) == 1
    once = await read(h, "once")
    assert seconds(once.ended_time) == h.clock()
    h.clock.advance(KEEP_ENDED_S)
    assert await settle(h, ticks) is None
    assert [row.key for row in (await h.store.list_rows(KIND, limit=9)).rows] == ["paused"]


async def test_a_task_that_is_refused_costs_its_tick(h: Harness) -> None:
    await create(h)
    await create(h, "other", method=ECHO)
    h.clock.advance(PERIOD_S)
    # No contract has the method any more.
    await settle(h, tick_pass(h.store, contract=False))
    schedule = await read(h)
    assert outcomes(schedule) == [TICK_OUTCOME_REFUSED]
    assert "probe.v1.ProbeService/Echo" in schedule.last_ticks[0].reason
    h.clock.advance(PERIOD_S)
    await settle(h, tick_pass(h.store))
    assert (await read(h)).submitted_count == 1


async def test_a_task_that_is_refused_for_now_is_tried_again_later_by_one_pass(h: Harness) -> None:
    full = await h.submit()
    await create(h)
    h.clock.advance(PERIOD_S)
    one, other = tick_pass(h.store, max_queued=1), tick_pass(h.store, max_queued=1)
    for _ in range(3):
        for next_at in await asyncio.gather(settle(h, one), settle(h, other)):
            assert next_at == pytest.approx(h.clock() + TAKEN_UP_S), "not at once, again and again"
        h.clock.advance(TAKEN_UP_S)
    assert await h.find() == [full]
    await h.cancel(full)
    await asyncio.gather(settle(h, one), settle(h, other))
    assert outcomes(await read(h)) == [TICK_OUTCOME_SUBMITTED]


async def test_a_contract_that_a_schedule_needs_is_kept(h: Harness) -> None:
    await h.store.put_contract("digest", CONTRACT, [ECHO])
    table = ScheduleTable(h.store)
    sync = ContractSync(h.store, Contracts(), forget_after_s=100.0, also_needed=table.methods)
    await sync.load()
    await create(h)
    now_s = 0.0
    for _ in range(5):
        # No agent hosts it.
        await h.store.agent_news()
        await sync.forget([], [], now_s)
        h.clock.advance(80.0)
        now_s += 80.0
    assert list(await h.store.contracts()) == ["digest"]
    await table.delete("s")
    for _ in range(3):
        await sync.forget([], [], now_s)
        h.clock.advance(80.0)
        now_s += 80.0
    assert list(await h.store.contracts()) == []


async def test_a_schedule_of_the_largest_spec_has_room_for_its_ticks(h: Harness) -> None:
    schedule = await create(
        h,
        "n" * 128,
        payload=bytes(MAX_PAYLOAD_BYTES),
        options=task_pb2.TaskOptions(fairness_key="k" * (MAX_OPTIONS_BYTES - 8)),
        cron="1," * 120 + "1 * * * *",
        time_zone="America/Argentina/ComodRivadavia",
    )
    schedule.pause_reason = "\U0001f40c" * MAX_REASON_CHARS
    for n in range(40):
        note_tick(schedule, 1e9 + n, Fate.REFUSED, task_id=f"task-{n:040}", reason="\U0001f40c" * 500)
    assert isinstance((await h.store.put_rows([row_put(schedule, None, h.clock())]))[0], int)


async def test_a_row_that_cannot_be_read_stops_no_other(h: Harness) -> None:
    await h.store.put_rows([RowPut(KIND, "bad", b"\xff\xff", h.clock())])
    await create(h)
    h.clock.advance(PERIOD_S)
    await settle(h, tick_pass(h.store))
    assert (await read(h)).submitted_count == 1


async def test_a_tick_of_unknown_fate_is_not_run_when_its_request_id_may_be_forgotten(h: Harness) -> None:
    await create(h, at=timestamp(h.clock() + PERIOD_S), catch_up_window=Duration(seconds=60))
    h.clock.advance(PERIOD_S)
    with pytest.raises(Died):
        await tick_pass(DyingStore(h.store, 3, after=True)).run()
    (task_id,) = await h.find()
    await h.cancel(task_id)
    # The store forgets the task, and its request id.
    await h.pass_time(3 * 86400.0)
    await settle(h, tick_pass(h.store))
    assert await h.find() == []
    (tick,) = (await read(h)).last_ticks
    assert tick.outcome == TICK_OUTCOME_MISSED
    assert "not known" in tick.reason


@pytest.mark.parametrize("seed", [0, 1, *(pytest.param(n, marks=pytest.mark.slow) for n in range(2, 6))])
async def test_whatever_happens_each_tick_is_one_task(store_factory: StoreFactory, seed: int) -> None:
    """Kills at any step, passes at once, clocks that jump by an hour and back: no tick twice, none lost."""
    print(f"seed {seed}")
    rng = random.Random(seed)
    h = await store_factory.open()
    begun_at = h.clock()
    names = ["a", "b", "c"]
    for name in names:
        await create(
            h,
            name,
            overlap=OVERLAP_POLICY_ALLOW,
            catch_up_window=Duration(seconds=31 * 86400),
            jitter=duration(rng.choice([0.0, 3.0])),
            interval=duration(rng.choice([7.5, 20.0, 60.0])),
        )
    for _ in range(60):
        act = rng.randrange(6)
        if act == 0:
            h.clock.advance(rng.choice([3600.0, -3600.0]) / rng.choice([1, 20]))
        elif act == 1:
            h = await store_factory.reopen(h, crash=True)
        elif act == 2:
            dying = DyingStore(h.store, rng.randrange(1, 6), after=rng.random() < 0.5)
            await asyncio.gather(tick_pass(dying).run(), tick_pass(h.store).run(), return_exceptions=True)
        else:
            h.clock.advance(rng.random() * 5.0)
            await tick_pass(h.store).run()
    # Past everything that was left, and past the clock that was set back.
    h.clock.advance(max(0.0, begun_at + 1.0 - h.clock()) + TAKEN_UP_S)
    ticks = tick_pass(h.store)
    await settle(h, ticks)
    h.clock.advance(TAKEN_UP_S)
    await settle(h, ticks)
    by_schedule = Counter(name.split(".")[1] for name in await tasks_of(h))
    found = await tasks_of(h)
    assert len(found) == len(set(found))
    for name in names:
        schedule = await read(h, name)
        timing = timing_of(schedule)
        expected, tick = 0, timing.next_after(begun_at)
        while tick is not None and tick < seconds(schedule.next_time):
            expected, tick = expected + 1, timing.next_after(tick)
        assert by_schedule[f"uid-{name}"] == expected == schedule.submitted_count
        assert timing.submit_at(seconds(schedule.next_time)) > h.clock()
