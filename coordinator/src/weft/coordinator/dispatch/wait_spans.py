"""INTERNAL spans of the time in which a task waits: from ready to claimed, one an attempt; and CONSUMER spans of attempts that were
lost with their agents, which cannot tell of them.

Kept when attempts are handed out, all of a pass at one agent as one entry of plain values: the rest is done where spans are exported.
Most tasks of an entry were submitted together. Their spans differ in id and task alone, so their bytes are made once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property
from random import randbytes
from typing import NamedTuple

from weft.coordinator.store.records import Claimed
from weft.coordinator.store.reruns import Rerun
from weft.rpc.telemetry import attributes, otlp_encoding, span_shapes, trace_context
from weft.rpc.telemetry.otlp_encoding import tail
from weft.rpc.telemetry.span_records import Recorded, SpanLink, SpanRecord, Value, new_span_id
from weft.rpc.telemetry.span_tracer import SpanTracer
from weft.rpc.telemetry.trace_context import TraceContext
from weft.v1 import task_pb2

# The last character of a `traceparent` whose trace is recorded.
_SAMPLED = frozenset("13579bdf")
# The `error.type` of an attempt that was lost with its agent.
AGENT_LOST = "agent_lost"
# Spans of one entry: entries are exported whole.
_MOST = 256
_ID_BYTES = 8
_NO_ID = "0" * 16


class WaitFacts(NamedTuple):
    """What the waits of several tasks may have in common."""

    method: str
    # The serialized CallContext.
    context: bytes
    attempt: int
    rerun: Rerun | None


class WaitsOver:
    """Waits that are over, of tasks that one agent has claimed at a time.

    Args:
        waits: task ids, since when each was ready, and what else is known of its wait.
    """

    def __init__(
        self, waits: Sequence[tuple[str, float, WaitFacts]], agent_id: str, claimed_at: float
    ) -> None:
        self.count = len(waits)
        self._waits = waits
        self._agent_id = agent_id
        self._end_ns = int(claimed_at * 1e9)

    @cached_property
    def _ids(self) -> bytes:
        return randbytes(_ID_BYTES * self.count)  # noqa: S311

    def records(self) -> Iterable[SpanRecord]:
        for (task_id, ready_at, facts), span_id in zip(self._waits, _parts(self._ids), strict=True):
            record = self._record(facts)
            record.span_id = span_id.hex()
            record.start_ns = self._start_ns(ready_at, facts)
            record.attributes[attributes.MESSAGING_MESSAGE_ID] = task_id
            yield record

    def encoded(self) -> bytes:
        last, length = None, 0
        head = between = b""
        parts: list[bytes] = []
        ids, at, end_ns = self._ids, 0, self._end_ns
        for task_id, ready_at, facts in self._waits:
            # Task ids are ASCII.
            if facts is not last or len(task_id) != length:
                last, length = facts, len(task_id)
                head, between = otlp_encoding.alike(
                    self._record(facts), attributes.MESSAGING_MESSAGE_ID, length
                )
            start_ns = int(ready_at * 1e9) if facts.rerun is None else self._start_ns(ready_at, facts)
            span_id = ids[at : at + _ID_BYTES]
            at += _ID_BYTES
            parts += (head, tail(min(start_ns, end_ns), end_ns, span_id), between, task_id.encode())
        return b"".join(parts)

    def _start_ns(self, ready_at: float, facts: WaitFacts) -> int:
        if facts.rerun is not None:
            # A released attempt left the time at which it was ready first.
            ready_at = max(ready_at, facts.rerun.ended_at)
        return min(int(ready_at * 1e9), self._end_ns)

    def _record(self, wait: WaitFacts) -> SpanRecord:
        """The span without its start, its id, and its task's."""
        parent, links, trace_state = _trace_of(wait.context)
        about: dict[str, Value] = {
            attributes.TASK_ATTEMPT: wait.attempt,
            attributes.AGENT_ID: self._agent_id,
        }
        if (rerun := wait.rerun) is not None:
            about |= span_shapes.of_rerun(rerun.cause, rerun.agent_id, rerun.code)
        return SpanRecord(
            span_shapes.wait(wait.method),
            parent.trace_id,
            _NO_ID,
            parent.span_id,
            0,
            self._end_ns,
            about,
            links=links,
            trace_state=trace_state,
        )


class LostSpan:
    """An attempt that was lost with its agent."""

    count = 1

    def __init__(self, claimed: Claimed, rerun: Rerun, began_at: float) -> None:
        self._method, self._task_id, self._context = claimed.method, claimed.task_id, claimed.context
        self._rerun = rerun
        self._began_at = began_at
        self._id = new_span_id()

    def records(self) -> Sequence[SpanRecord]:
        return (self._record(),)

    def encoded(self) -> bytes:
        return otlp_encoding.span(self._record())

    def _record(self) -> SpanRecord:
        parent, links, trace_state = _trace_of(self._context)
        return SpanRecord(
            span_shapes.process(self._method, self._rerun.agent_id),
            parent.trace_id,
            self._id,
            parent.span_id,
            int(self._began_at * 1e9),
            int(max(self._began_at, self._rerun.ended_at) * 1e9),
            {
                attributes.MESSAGING_MESSAGE_ID: self._task_id,
                attributes.TASK_ATTEMPT: self._rerun.number,
                attributes.ERROR_TYPE: AGENT_LOST,
            },
            error="the agent was lost",
            failed=True,
            links=links,
            trace_state=trace_state,
        )


class WaitSpans:
    """Takes the waits of claimed attempts."""

    def __init__(self, add: Callable[[Recorded], None]) -> None:
        self._add = add

    @classmethod
    def of(cls, tracer: SpanTracer | None) -> WaitSpans | None:
        """None: no traces are exported."""
        return None if tracer is None else cls(tracer.add_many)

    def claimed(self, agent_id: str, batch: Sequence[Claimed], now_s: float) -> None:
        """An agent has claimed attempts; now: seconds since the epoch."""
        waits: list[tuple[str, float, WaitFacts]] = []
        facts, sampled = WaitFacts("", b"", 0, None), False
        for claimed in batch:
            # Tasks that were submitted together have the same ones.
            if (
                claimed.context != facts.context
                or claimed.attempt != facts.attempt
                or claimed.method != facts.method
                or claimed.rerun is not facts.rerun
            ):
                facts = WaitFacts(claimed.method, claimed.context, claimed.attempt, claimed.rerun)
                sampled = _is_sampled(claimed.context)
            if sampled:
                waits.append((claimed.task_id, claimed.ready_at, facts))
                rerun = claimed.rerun
                if rerun is not None and rerun.lost_since is not None:
                    self._add(LostSpan(claimed, rerun, rerun.lost_since))
        for begin in range(0, len(waits), _MOST):
            self._add(WaitsOver(waits[begin : begin + _MOST], agent_id, now_s))


def _trace_of(context: bytes) -> tuple[TraceContext, tuple[SpanLink, ...], str]:
    """The parent of a task's spans, their link, and their `tracestate`."""
    given = task_pb2.CallContext.FromString(context)
    parent = trace_context.parse(given.traceparent)
    assert parent is not None
    batch = trace_context.parse(given.batch_traceparent) if given.batch_traceparent else None
    return parent, () if batch is None else (batch.link,), given.tracestate


def _is_sampled(context: bytes) -> bool:
    if not context:
        return False
    traceparent = task_pb2.CallContext.FromString(context).traceparent
    return traceparent[-1:] in _SAMPLED and trace_context.parse(traceparent) is not None


def _parts(ids: bytes) -> Iterator[bytes]:
    return (ids[at : at + _ID_BYTES] for at in range(0, len(ids), _ID_BYTES))
