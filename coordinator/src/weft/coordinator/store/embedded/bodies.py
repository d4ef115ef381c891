"""Reads the payloads of claims that are only in the file, as many as one claim may carry."""

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
    """Fill in payloads and contexts. Claims beyond the bound of one claim are undone.

    Args:
        given: claims by request; undone ones are removed.
        unread: numbers by id of the tasks whose payloads are not in memory.
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
