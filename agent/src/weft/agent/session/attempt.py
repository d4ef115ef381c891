"""One attempt at a task, as its agent keeps it from the assignment until the coordinator has its end.

The fields are in two groups, each with one owner: nothing else may write them. An attempt does nothing itself.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from weft.rpc.times import seconds
from weft.v1 import session_pb2

if TYPE_CHECKING:
    from weft.agent.handler_context import HandlerContext
    from weft.agent.handlers.runners import Runner
    from weft.agent.hosted_methods import HostedMethod

Ref = tuple[str, int]


class HeldAttempt:
    """One attempt at a task."""

    __slots__ = (
        "assignment",
        "context",
        "deadline_at",
        "epoch",
        "held",
        "hosted",
        "interrupted",
        "on_room",
        "over",
        "progress",
        "progress_bytes",
        "progress_count",
        "ref",
        "release_sequence",
        "released",
        "result",
        "runner",
        "size_bytes",
        "task",
        "thread",
        "timer",
    )

    def __init__(self, assignment: session_pb2.Assignment, epoch: int) -> None:
        self.assignment = assignment
        self.ref: Ref = (assignment.task_id, assignment.attempt)
        # By this process' monotonic clock, which is not disturbed by a change of the wall clock.
        self.deadline_at: float | None = None
        if assignment.HasField("time_left"):
            self.deadline_at = time.monotonic() + seconds(assignment.time_left)

        # The outbox's, under its lock.
        self.epoch = epoch
        # False once nothing more need be reported: acknowledged, handed back, or lost to another agent.
        self.held = True
        self.result: session_pb2.AttemptResult | None = None
        self.size_bytes = 0
        self.released = False
        # The heartbeat whose echo shows that the coordinator has the hand-back; 0: not sent.
        self.release_sequence = 0
        # Responses that are not acknowledged, oldest first; None: there were none.
        self.progress: deque[session_pb2.Progress] | None = None
        self.progress_bytes = 0
        self.progress_count = 0
        self.on_room: Callable[[], None] | None = None

        # The executor's, on the event loop.
        self.hosted: HostedMethod | None = None
        self.context: HandlerContext | None = None
        self.runner: Runner | None = None
        self.task: asyncio.Task[None] | None = None
        self.timer: asyncio.TimerHandle | None = None
        # Identifier of the thread that runs its handler; 0: none does yet. Written by that thread.
        self.thread = 0
        # Cancelled because the agent stops, not because anybody wanted it: it is handed back.
        self.interrupted = False
        # The executor has done with it; its slot is free.
        self.over = False

    @property
    def ended(self) -> bool:
        """Nothing more is reported of it, whether or not its handler still runs."""
        return self.result is not None or self.released or not self.held
