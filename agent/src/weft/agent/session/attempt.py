"""One attempt at a task, kept by its agent from the assignment until the coordinator has its end.

The outbox alone writes its fields, under the outbox's lock. An attempt does nothing itself.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

from weft.rpc.times import seconds
from weft.v1 import session_pb2

Ref = tuple[str, int]


class HeldAttempt:
    """One attempt at a task."""

    __slots__ = (
        "assignment",
        "deadline_at",
        "epoch",
        "held",
        "on_room",
        "progress",
        "progress_bytes",
        "progress_count",
        "ref",
        "release_sequence",
        "released",
        "result",
        "size_bytes",
    )

    def __init__(self, assignment: session_pb2.Assignment, epoch: int) -> None:
        self.assignment = assignment
        self.ref: Ref = (assignment.task_id, assignment.attempt)
        # By this process' monotonic clock, which is not disturbed by a change of the wall clock.
        self.deadline_at: float | None = None
        if assignment.HasField("time_left"):
            self.deadline_at = time.monotonic() + seconds(assignment.time_left)

        self.epoch = epoch
        # False once nothing is left to report: acknowledged, released, or lost to another agent.
        self.held = True
        self.result: session_pb2.AttemptResult | None = None
        self.size_bytes = 0
        self.released = False
        # The heartbeat whose echo shows that the coordinator has the release; 0: not sent.
        self.release_sequence = 0
        # Responses that are not acknowledged, oldest first; None: there were none.
        self.progress: deque[session_pb2.Progress] | None = None
        self.progress_bytes = 0
        self.progress_count = 0
        self.on_room: Callable[[], None] | None = None

    @property
    def ended(self) -> bool:
        """Whether no more reports follow. Its handler may still run."""
        return self.result is not None or self.released or not self.held
