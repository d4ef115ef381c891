"""Groups as Python values: the callback of a group, and a group at one moment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Unpack

from google.protobuf.message import Message

from weft.client.methods import AnyMethod, as_method
from weft.client.options import SubmitOptions, task_options
from weft.client.task_snapshot import TaskState, moment
from weft.v1 import group_pb2


class Then:
    """The callback of a group: the task that is submitted when the group has ended.

    Args:
        method: as for `tasks.submit`.
        request: its request.
        options: see `SubmitOptions`, without a group.
    """

    __slots__ = ("proto",)

    def __init__(
        self,
        method: AnyMethod[Any, Any] | str,
        request: bytes | Message | Any,
        **options: Unpack[SubmitOptions],
    ) -> None:
        called = as_method(method)
        self.proto = group_pb2.GroupCallback(
            method=called.name,
            payload=called.serialize(request),
            # The callback of a group that a handler makes is not that handler's call.
            options=task_options(options, inherits=False),
        )

    def __repr__(self) -> str:
        return f"<Then {self.proto.method}>"


@dataclass(frozen=True, slots=True)
class Group:
    """A group at one moment."""

    name: str
    uid: str
    # Its tasks by state, also forgotten ones.
    counts: Mapping[TaskState, int]
    created_at: datetime | None
    # None: it is open.
    closed_at: datetime | None
    # None: it has not ended.
    ended_at: datetime | None
    # The method of the callback; empty: none.
    then: str
    # The callback's task, once it is submitted; else why it is not, although the group has ended.
    callback_task_id: str
    callback_error: str
    # The message, with the callback's request and options (not in a listing).
    proto: group_pb2.Group

    @property
    def total(self) -> int:
        """Its tasks."""
        return sum(self.counts.values())

    @property
    def unfinished(self) -> int:
        """Its tasks that have not ended."""
        return sum(count for state, count in self.counts.items() if not state.ended)

    @property
    def ended(self) -> bool:
        """Whether it is closed and has no unfinished task."""
        return self.ended_at is not None

    @classmethod
    def of(cls, proto: group_pb2.Group) -> Group:
        counts = {
            state: count for state in TaskState if (count := getattr(proto.counts, state.name.lower(), 0))
        }
        return cls(
            name=proto.name,
            uid=proto.uid,
            counts=counts,
            created_at=moment(proto, "create_time"),
            closed_at=moment(proto, "close_time"),
            ended_at=moment(proto, "end_time"),
            then=proto.callback.method,
            callback_task_id=proto.callback_task_id,
            callback_error=proto.callback_error,
            proto=proto,
        )
