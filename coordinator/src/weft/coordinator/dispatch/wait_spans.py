"""INTERNAL spans of the time in which a task waits: from ready to claimed, one an attempt; and CONSUMER spans of attempts that were
lost with their agents, which cannot tell of them.

Recorded when an attempt is handed out, as plain values: the rest is done where spans are exported.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from weft.coordinator.store.records import Claimed
from weft.coordinator.store.reruns import Rerun
from weft.rpc.telemetry import attributes, span_shapes, trace_context
from weft.rpc.telemetry.span_records import Recorded, SpanRecord, Value, new_span_id
from weft.rpc.telemetry.span_tracer import SpanTracer
from weft.v1 import session_pb2

# The last character of a `traceparent` whose trace is recorded.
_SAMPLED = frozenset("13579bdf")
# The `error.type` of an attempt that was lost with its agent.
AGENT_LOST = "agent_lost"


class WaitSpan(NamedTuple):
    """A wait that is over."""

    method: str
    traceparent: str
    trace_state: str
    batch: str
    task_id: str
    attempt: int
    agent_id: str
    ready_at: float
    claimed_at: float
    rerun: Rerun | None

    def record(self) -> SpanRecord | None:
        parent = trace_context.parse(self.traceparent)
        if parent is None:
            return None
        about: dict[str, Value] = {
            attributes.MESSAGING_MESSAGE_ID: self.task_id,
            attributes.TASK_ATTEMPT: self.attempt,
            attributes.AGENT_ID: self.agent_id,
        }
        ready_at = self.ready_at
        if self.rerun is not None:
            about |= span_shapes.of_rerun(self.rerun.cause, self.rerun.agent_id, self.rerun.code)
            # A released attempt left the time at which it was ready first.
            ready_at = max(ready_at, self.rerun.ended_at)
        batch = trace_context.parse(self.batch) if self.batch else None
        return SpanRecord(
            span_shapes.wait(self.method),
            parent.trace_id,
            new_span_id(),
            parent.span_id,
            int(min(ready_at, self.claimed_at) * 1e9),
            int(self.claimed_at * 1e9),
            about,
            links=() if batch is None else (batch.link,),
            trace_state=self.trace_state,
        )


class LostSpan(NamedTuple):
    """An attempt that was lost with its agent."""

    method: str
    traceparent: str
    trace_state: str
    batch: str
    task_id: str
    rerun: Rerun

    def record(self) -> SpanRecord | None:
        parent = trace_context.parse(self.traceparent)
        began_at = self.rerun.lost_since
        if parent is None or began_at is None:
            return None
        batch = trace_context.parse(self.batch) if self.batch else None
        return SpanRecord(
            span_shapes.process(self.method, self.rerun.agent_id),
            parent.trace_id,
            new_span_id(),
            parent.span_id,
            int(began_at * 1e9),
            int(max(began_at, self.rerun.ended_at) * 1e9),
            {
                attributes.MESSAGING_MESSAGE_ID: self.task_id,
                attributes.TASK_ATTEMPT: self.rerun.number,
                attributes.ERROR_TYPE: AGENT_LOST,
            },
            error="the agent was lost",
            failed=True,
            links=() if batch is None else (batch.link,),
            trace_state=self.trace_state,
        )


class WaitSpans:
    """Takes the waits of claimed attempts."""

    def __init__(self, add: Callable[[Recorded], None]) -> None:
        self._add = add

    @classmethod
    def of(cls, tracer: SpanTracer | None) -> WaitSpans | None:
        """None: no traces are exported."""
        return None if tracer is None else cls(tracer.add)

    def claimed(self, claimed: Claimed, assignment: session_pb2.Assignment, now_s: float) -> None:
        """An attempt is handed out; now: seconds since the epoch."""
        context = assignment.context
        traceparent = context.traceparent
        if traceparent[-1:] in _SAMPLED and len(traceparent) == trace_context.LENGTH:
            self._add(
                WaitSpan(
                    claimed.method,
                    traceparent,
                    context.tracestate,
                    context.batch_traceparent,
                    claimed.task_id,
                    claimed.attempt,
                    claimed.owner.agent_id,
                    claimed.ready_at,
                    now_s,
                    claimed.rerun,
                )
            )
            if claimed.rerun is not None and claimed.rerun.lost_since is not None:
                self._add(
                    LostSpan(
                        claimed.method,
                        traceparent,
                        context.tracestate,
                        context.batch_traceparent,
                        claimed.task_id,
                        claimed.rerun,
                    )
                )
