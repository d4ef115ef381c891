"""A direct call as `current_task()` and the calls that its handler makes see it.

Nearly all of it is looked up when it is asked for: most handlers ask for nothing.
"""

from __future__ import annotations

import itertools
import secrets
import time
from typing import Any

from weft.agent.running import CancelSignal, budget_of
from weft.rpc.budget import MAX_ID_CHARS, PARENT_ID_KEY, ROOT_ID_KEY, Budget
from weft.rpc.times import MAX_DURATION_S, timestamp
from weft.v1 import session_pb2

_PROCESS = secrets.token_hex(6)
_count = itertools.count(1)


def draw_id() -> str:
    """A call id: unique, and cheap."""
    return f"call-{_PROCESS}-{next(_count)}"


def assignment_of(method: str, native: Any) -> session_pb2.Assignment:
    """What stands for a direct call's assignment, without its payload and the caller's own metadata."""
    made = session_pb2.Assignment(task_id=draw_id(), attempt=1, method=method)
    call = made.context
    for key, value in native.invocation_metadata() or ():
        if key == ROOT_ID_KEY:
            call.root_id = _id(value)
        elif key == PARENT_ID_KEY:
            call.parent_id = _id(value)
        elif key == "traceparent":
            call.traceparent = str(value)
        elif key == "tracestate":
            call.tracestate = str(value)
    left_s = native.time_remaining()
    if left_s is not None and left_s < MAX_DURATION_S:
        made.deadline.CopyFrom(timestamp(time.time() + left_s))
    return made


def _id(value: str | bytes) -> str:
    # A caller's word, which goes into logs and further calls.
    return str(value)[:MAX_ID_CHARS]


class DirectCall:
    """A direct call with an async handler, over grpc.aio's own context."""

    __slots__ = ("_assignment", "_budget", "_cancel_signal", "_method", "_native", "agent_id")

    def __init__(self, method: str, agent_id: str, native: Any) -> None:
        self.agent_id = agent_id
        self._method = method
        self._native = native
        self._assignment: session_pb2.Assignment | None = None
        self._budget: Budget | None = None
        self._cancel_signal: CancelSignal | None = None

    @property
    def assignment(self) -> session_pb2.Assignment:
        if self._assignment is None:
            self._assignment = assignment_of(self._method, self._native)
        return self._assignment

    @property
    def cancel_signal(self) -> CancelSignal:
        if self._cancel_signal is None:
            self._cancel_signal = signal = CancelSignal()
            # Once the call has ended, whoever still works for it may stop.
            self._native.add_done_callback(lambda _native: signal.set())
        return self._cancel_signal

    def time_left_s(self) -> float | None:
        left_s: float | None = self._native.time_remaining()
        return left_s

    def budget(self) -> Budget:
        if self._budget is None:
            left_s = self.time_left_s()
            deadline_at = None if left_s is None else time.monotonic() + left_s
            self._budget = budget_of(self.assignment, deadline_at)
        return self._budget
