"""The account of slots: who gets them, and who comes first."""

from __future__ import annotations

import random

from weft.agent.slots import Slots


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
    slots.direct_open = False
    assert not slots.take_direct(1)
    assert slots.take(1)


def test_the_end_of_a_direct_call_is_told():
    slots = Slots(1)
    told: list[int] = []
    slots.on_direct_end(lambda: told.append(slots.used))
    assert slots.take_direct(1)
    slots.give_direct(1)
    assert told == [0]
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
