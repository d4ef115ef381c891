"""How consumers share a subscription: its topic is divided into parts by key, and each part has one owner at a time. Pure.

    member joins ─► parts without an owner that are to be its own are its own at once; others when their owners release them
    member leaves, or its time is over ─► its parts have no owner

The state is one row. All coordinators with members change it by compare-and-set, so that they need not agree on anything else.
"""

from __future__ import annotations

import zlib
from collections.abc import Collection, Mapping

from weft.rpc.times import seconds, timestamp
from weft.v1 import event_pb2

DEFAULT_PARTITIONS = 16
MAX_PARTITIONS = 64


def partition_of(key: str, event_id: str, count: int) -> int:
    """The part of an event: by its key; without one, by its id."""
    return zlib.crc32((key or event_id).encode()) % count


def prepare(state: event_pb2.SubscriptionState, subscription: event_pb2.Subscription) -> None:
    """Make the state that of this subscription."""
    if state.uid != subscription.uid:
        state.Clear()
        state.uid, state.cursor = subscription.uid, subscription.start_sequence
        for _ in range(subscription.spec.partitions or DEFAULT_PARTITIONS):
            state.partitions.add(cursor=subscription.start_sequence)


def take_part(
    state: event_pb2.SubscriptionState,
    member: str,
    now: float,
    hold_s: float,
    cursors: Mapping[int, int],
    released: Collection[int] = (),
) -> tuple[dict[int, int], set[int]]:
    """Note a member's progress and that it takes part for a while longer; give it the parts that it can have.

    Args:
        cursors: of the parts that it has.
        released: parts among these that it has released.

    Returns:
        the cursors of the parts that it has now, and those among them that it is to release.
    """
    kept = [each for each in state.members if each.id != member and seconds(each.hold_time) > now]
    kept.append(event_pb2.ConsumerMember(id=member, hold_time=timestamp(now + hold_s)))
    kept.sort(key=lambda each: each.id)
    del state.members[:]
    state.members.extend(kept)
    ids = [each.id for each in kept]
    owned: dict[int, int] = {}
    leaving: set[int] = set()
    for number, partition in enumerate(state.partitions):
        wanted = ids[number % len(ids)]
        if partition.owner == member:
            partition.cursor = max(partition.cursor, cursors.get(number, 0))
            if number in released or number not in cursors:
                partition.owner = ""
        if partition.owner not in ids:
            partition.owner = member if wanted == member else ""
        if partition.owner == member:
            owned[number] = partition.cursor
            if wanted != member:
                leaving.add(number)
    _sum_up(state)
    return owned, leaving


def leave(state: event_pb2.SubscriptionState, member: str, cursors: Mapping[int, int]) -> None:
    """A member goes: its parts have no owner."""
    kept = [each for each in state.members if each.id != member]
    del state.members[:]
    state.members.extend(kept)
    for number, partition in enumerate(state.partitions):
        if partition.owner == member:
            partition.owner = ""
            partition.cursor = max(partition.cursor, cursors.get(number, 0))
    _sum_up(state)


def _sum_up(state: event_pb2.SubscriptionState) -> None:
    state.cursor = min((each.cursor for each in state.partitions), default=state.cursor)
