"""Payloads of a claim that are not in memory: read from the file, as many as one claim may carry."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from weft.coordinator.store.embedded.reader import Reader
from weft.coordinator.store.records import Claimed


def fill_in(
    given: Sequence[list[Claimed]],
    unread: Mapping[str, int],
    reader: Reader,
    room_bytes: int,
    undo: Callable[[Sequence[Claimed]], None],
) -> None:
    """Fill in payloads and contexts. What exceeds the bound of one claim goes back, and what comes after it.

    Args:
        given: claims by request; shortened where some go back.
        unread: numbers of the tasks whose payloads are not in memory, by id.
    """
    sizes = reader.body_sizes(list(unread.values()))
    chosen: list[Claimed] = []
    for claims in given:
        for at, claimed in enumerate(claims):
            if claimed.task_id not in unread:
                continue
            room_bytes -= sizes[unread[claimed.task_id]]
            if room_bytes < 0 and chosen:
                undo(claims[at:])
                del claims[at:]
                break
            chosen.append(claimed)
    bodies = reader.bodies([unread[claimed.task_id] for claimed in chosen])
    for claimed in chosen:
        claimed.payload, claimed.context = bodies[unread[claimed.task_id]]
