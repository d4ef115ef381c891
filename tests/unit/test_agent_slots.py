"""Slots: which attempts and calls get them, and in which order."""

from __future__ import annotations

import asyncio
import random

import pytest

from weft.agent.handlers.slots import Slots


def test_one_account_for_both_kinds():
    slots = Slots(3)
    assert slots.take(2)
    assert slots.take_direct(1)
    assert (slots.durable, slots.direct, slots.used) == (2, 1, 3)
    assert not slots.take(1)
    assert not slots.take_direct(1)
    slots.give(2)
    assert not slots.take(3)
    assert slots.take_direct(2)
    assert slots.used == 3


def test_what_waits_comes_first():
    slots = Slots(2)
    slots.waiting = 1
    assert not slots.take_direct(1)
    assert slots.take(1)
    slots.waiting = 0
    assert slots.take_direct(1)


def test_closed_for_direct_calls_alone():
    slots = Slots(1)
    slots.open_direct(on=False)
    assert not slots.take_direct(1)
    assert slots.take(1)


def test_the_end_of_a_direct_call_is_told_to_waiting_attempts_and_to_a_drain():
    slots = Slots(1)
    told: list[int] = []
    slots.on_direct_end(lambda: told.append(slots.used))
    assert slots.take_direct(1)
    slots.give_direct(1)
    assert told == []
    assert slots.take_direct(1)
    slots.waiting = 1
    slots.give_direct(1)
    assert told == [0]
    slots.waiting = 0
    assert slots.take_direct(1)
    slots.open_direct(on=False)
    slots.give_direct(1)
    assert told == [0, 0]
    slots.open_direct(on=True)
    told.pop()
    assert slots.take(1)
    slots.give(1)
    assert told == [0]


def test_never_more_than_there_are():
    draw = random.Random(7)
    slots = Slots(10)
    held: list[tuple[str, int]] = []
    for _ in range(5000):
        cost = draw.randint(1, 4)
        if held and draw.random() < 0.5:
            kind, cost = held.pop(draw.randrange(len(held)))
            (slots.give if kind == "durable" else slots.give_direct)(cost)
        elif draw.random() < 0.5:
            if slots.take(cost):
                held.append(("durable", cost))
        elif slots.take_direct(cost):
            held.append(("direct", cost))
        assert slots.used == sum(cost for _, cost in held) <= 10
        assert slots.direct == sum(cost for kind, cost in held if kind == "direct")


# -- direct calls that wait ---------------------------------------------------------------------------------------------


async def test_direct_calls_wait_in_turn():
    slots = Slots(2, wait_s=60)
    assert slots.take_direct(2)
    order: list[int] = []

    async def call(number: int, cost: int) -> None:
        assert await slots.wait_direct(cost)
        order.append(number)

    calls = [asyncio.create_task(call(number, cost)) for number, cost in enumerate((1, 2, 1))]
    await asyncio.sleep(0)
    assert not slots.take_direct(1)
    slots.give_direct(1)
    await calls[0]
    # The second needs both slots, and the third does not overtake it.
    assert not slots.take_direct(1)
    slots.give_direct(1)
    await asyncio.sleep(0)
    assert order == [0]
    slots.give_direct(1)
    await calls[1]
    slots.give_direct(2)
    await calls[2]
    assert order == [0, 1, 2]
    assert slots.direct == 1


async def test_attempts_come_before_direct_calls_that_wait():
    slots = Slots(1, wait_s=60)
    assert slots.take_direct(1)
    waiting = asyncio.create_task(slots.wait_direct(1))
    await asyncio.sleep(0)
    slots.waiting = 1
    slots.on_direct_end(lambda: slots.take(1) and setattr(slots, "waiting", 0))
    slots.give_direct(1)
    await asyncio.sleep(0)
    assert (slots.durable, slots.direct, waiting.done()) == (1, 0, False)
    slots.give(1)
    slots.admit()
    assert await waiting


@pytest.mark.parametrize(
    ("made", "why"),
    [
        (Slots(1), "it does not let calls wait"),
        (Slots(1, wait_s=60, max_queue=0), "too many wait"),
        (Slots(1, wait_s=0.001), "it took too long"),
    ],
    ids=lambda each: each if isinstance(each, str) else "",
)
async def test_a_direct_call_that_is_refused(made: Slots, why: str):
    assert made.take_direct(1)
    assert not await made.wait_direct(1), why
    made.give_direct(1)
    assert await made.wait_direct(1)


async def test_more_than_there_are_is_refused_at_once():
    assert not await Slots(1, wait_s=60).wait_direct(2)


async def test_a_drain_refuses_those_that_wait():
    slots = Slots(1, wait_s=60)
    assert slots.take_direct(1)
    waiting = asyncio.create_task(slots.wait_direct(1))
    await asyncio.sleep(0)
    slots.open_direct(on=False)
    assert not await waiting


async def test_slots_are_not_lost_with_callers_that_go():
    draw = random.Random(11)
    slots = Slots(5, wait_s=60)

    async def call() -> None:
        cost = draw.randint(1, 3)
        assert await slots.wait_direct(cost)
        try:
            await asyncio.sleep(draw.random() * 0.002)
        finally:
            slots.give_direct(cost)

    calls = [asyncio.create_task(call()) for _ in range(500)]
    while not all(each.done() for each in calls):
        await asyncio.sleep(0.0005)
        draw.choice(calls).cancel()
        assert 0 <= slots.direct <= 5
    assert slots.direct == 0
    assert slots.take_direct(5)
