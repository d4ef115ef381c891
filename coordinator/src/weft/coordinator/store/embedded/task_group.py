"""A group of tasks in memory: what its tasks point to."""

from __future__ import annotations

from weft.coordinator.store.rules import State


class TaskGroup:
    """A group: counts by state, and what decides on its end and on how long it is kept. Compared by identity.

    Attributes:
        counts: by the number of the state.
        members: its stored tasks.
        created: by `create_group`.
        due: its note has a time.
        deleted: it has no name any more; its tasks have it for as long as they are stored.
    """

    __slots__ = (
        "closed",
        "counts",
        "created",
        "deleted",
        "due",
        "ended",
        "id",
        "members",
        "name",
        "touched_at",
    )

    def __init__(self, number: int, name: str, touched_at: float, *, created: bool) -> None:
        self.id = number
        self.name = name
        self.touched_at = touched_at
        self.created = created
        self.counts = [0] * (len(State) + 1)
        self.members = 0
        self.closed = self.ended = self.due = self.deleted = False

    @property
    def unfinished(self) -> int:
        return sum(self.counts[: State.SUCCEEDED])
