"""The groups' quarter of a store: tasks that belong together by a name, counted by state, and the end of the whole.

A group is made by its first task (`Submission.group`) or by `create_group`. It *ends* when it is closed and has no unfinished
task; if a task of it is queued again by hand, it goes on, and ends once more. Its counts change with the tasks' own changes, in
the same transaction: they are never counted anew. A task counts once, whatever happens to its attempts, and still counts when it
is forgotten.

A group is kept while one of its tasks is. One that `create_group` made is kept on for a while (`kept_until`), also without tasks.
While its note is due, a closed group is kept in any case.

The store knows nothing of a group's note: the callback at the end of a group is a rule on top of it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from weft.coordinator.store.rules import State

# What `StoreListener.rows_changed` calls groups: one has ended or is gone, or its note has changed.
GROUPS = "groups"
# A note is due when its group ends.
AT_END = math.inf
# Groups that a store may have, and tasks that one may ever have had.
MAX_GROUPS = 100_000
MAX_MEMBERS = 1_000_000
# How long a group without tasks is kept after its last change, if `create_group` made it: before and after its end.
OPEN_KEPT_S = 7 * 86400.0
ENDED_KEPT_S = 86400.0


@dataclass(frozen=True, slots=True)
class GroupRecord:
    """A group as stored.

    Attributes:
        uid: generated; another group of the same name has another one.
        counts: its tasks by state, also forgotten ones.
        ended_at: when it ended; None while it is open or has unfinished tasks.
        due_at: when its user will look at its note, by the store's clock; `AT_END`: when it ends.
    """

    name: str
    uid: str
    created_at: float
    counts: Mapping[State, int]
    closed_at: float | None = None
    ended_at: float | None = None
    note: bytes = b""
    due_at: float | None = None

    @property
    def unfinished(self) -> int:
        return sum(count for state, count in self.counts.items() if not state.terminal)


class GroupChange(NamedTuple):
    """A new note of a group, as it is known, and when that is due."""

    known: GroupRecord
    note: bytes
    due_at: float | None


class TooManyGroups(NamedTuple):
    """A refused group or task: there are as many groups as there may be."""

    name: str
    limit: int


class GroupClosed(NamedTuple):
    """A refused task: its group is closed."""

    name: str


class GroupFull(NamedTuple):
    """A refused task: its group has had as many tasks as it may have."""

    name: str
    limit: int


GroupRefusal = TooManyGroups | GroupClosed | GroupFull


@dataclass(frozen=True, slots=True)
class GroupPage:
    """Groups by name, and the cursor of the next page; empty: this is the last page."""

    groups: Sequence[GroupRecord]
    cursor: str = ""


@dataclass(frozen=True, slots=True)
class DueGroups:
    """Groups with a due note, earliest first; when the next one is due (None: no time is known); and the time of the read."""

    groups: Sequence[GroupRecord]
    next_at: float | None
    now: float


def kept_until(touched_at: float, *, created: bool, ended: bool) -> float:
    """Until when a group without tasks is kept.

    Args:
        created: by `create_group`.
    """
    if not created:
        return 0.0
    return touched_at + (ENDED_KEPT_S if ended else OPEN_KEPT_S)


class GroupStore(Protocol):
    """Groups. A method that makes a change returns when the change is durable.

    `StoreListener.rows_changed(GROUPS)` tells every coordinator, soon and at least once, that a group has ended, one that had not is
    forgotten, or a note has changed.
    """

    async def create_group(
        self, name: str, note: bytes = b"", due_at: float | None = None
    ) -> tuple[GroupRecord, bool] | TooManyGroups:
        """Make a group. Returns it, and whether it was there already: then nothing has changed."""
        ...

    async def get_groups(self, names: Sequence[str]) -> Sequence[GroupRecord | None]:
        """Read groups; None: there is none of this name."""
        ...

    async def list_groups(self, *, limit: int, cursor: str = "") -> GroupPage:
        """A page of groups."""
        ...

    async def close_group(self, name: str) -> GroupRecord | None:
        """Let a group take no more tasks; returns it. May be repeated. None: there is none of this name."""
        ...

    async def change_groups(self, changes: Sequence[GroupChange]) -> Sequence[bool]:
        """Replace groups' notes, each by itself. False: the group has another note than `known` says, or is gone. If a note is due at
        the end and its group has ended, it is due now."""
        ...

    async def delete_group(self, name: str) -> bool | None:
        """Forget a group; its tasks stay, and its name is free. False: it has unfinished tasks. None: there is none of this
        name."""
        ...

    async def due_groups(self, limit: int) -> DueGroups:
        """Read groups whose note is due."""
        ...
