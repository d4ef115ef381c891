"""PRODUCER spans: one for a task that is stored, or one for all tasks of a bulk message.

A task's context names the span that its attempts belong to. That is its PRODUCER; of a task in a bulk message with a trace of its own, it
stays the caller's, and the attempts link to the PRODUCER. Contexts are serialized: fields are appended, and the last one counts.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from google.rpc import code_pb2
from grpc import aio

from weft.coordinator.store.records import Enqueued, EnqueueResult, Submission
from weft.rpc.calls import traced_calls
from weft.rpc.errors import WeftError
from weft.rpc.telemetry import attributes, span_shapes, trace_context
from weft.rpc.telemetry.span_tracer import OpenSpan, SpanTracer
from weft.v1 import coordinator_pb2, task_pb2

SUBMIT_TASK = "weft.v1.CoordinatorService/SubmitTask"


class SubmitSpans:
    """Begins and ends them.

    Args:
        shared: the store is shared with other coordinators.
    """

    def __init__(self, tracer: SpanTracer, *, shared: bool) -> None:
        self._tracer = tracer
        self._stored = {attributes.STORE: "redis" if shared else "embedded"}

    @classmethod
    def of(cls, tracer: SpanTracer | None, *, shared: bool) -> SubmitSpans | None:
        """None: no traces are exported."""
        return None if tracer is None else cls(tracer, shared=shared)

    def begin(self, submissions: Sequence[Submission], parent: str) -> OpenSpan:
        """Begin the span of a submission.

        Args:
            parent: the `traceparent` of the call that submits tasks together.
        """
        return (
            self._one(submissions[0])
            if len(submissions) == 1 and not parent
            else self._batch(submissions, parent)
        )

    def _one(self, submission: Submission) -> OpenSpan:
        context = task_pb2.CallContext.FromString(submission.context)
        shape = span_shapes.submit(submission.method)
        span = self._tracer.begin(shape, context.traceparent, context.tracestate)
        submission.context += _parent(span)
        return span

    def _batch(self, submissions: Sequence[Submission], parent: str) -> OpenSpan:
        methods = {submission.method for submission in submissions}
        shape = span_shapes.submit(methods.pop() if len(methods) == 1 else "")
        span = self._tracer.begin(shape, parent)
        span.set(attributes.MESSAGING_BATCH_MESSAGE_COUNT, len(submissions))
        child = _parent(span)
        link = _batch(span) if span.sampled else b""
        for submission in submissions:
            given = submission.context
            own = task_pb2.CallContext.FromString(given).traceparent if given else ""
            has_own = bool(own) and trace_context.parse(own) is not None
            submission.context = given + (link if has_own else child)
        return span

    def end(self, span: OpenSpan, results: Sequence[EnqueueResult | WeftError]) -> None:
        """End it: the store has answered."""
        if len(results) == 1:
            (result,) = results
            if isinstance(result, Enqueued):
                span.set(attributes.MESSAGING_MESSAGE_ID, result.task_id)
                if result.existed:
                    span.set(attributes.TASK_EXISTED, True)
        if any(isinstance(result, Enqueued) for result in results):
            span.event(attributes.TASK_STORED, self._stored)
        span.finish()

    def fail(self, span: OpenSpan, error: WeftError) -> None:
        """End it: nothing is stored."""
        span.finish(error.status().code, error.message)


def _parent(span: OpenSpan) -> bytes:
    return task_pb2.CallContext(traceparent=span.traceparent).SerializeToString()


def _batch(span: OpenSpan) -> bytes:
    return task_pb2.CallContext(batch_traceparent=span.traceparent).SerializeToString()


@contextmanager
def submit_call(
    tracer: SpanTracer | None,
    request: coordinator_pb2.SubmitTaskRequest,
    context: aio.ServicerContext[Any, Any],
) -> Iterator[None]:
    """The SERVER span of a SubmitTask. Its parent: the call's own trace, or else that of the task's context.

    The request's context names the span then: the task belongs to it.
    """
    if tracer is None:
        yield
        return
    given = request.options.context
    pairs = (
        ("traceparent", given.traceparent),
        ("tracestate", given.tracestate),
        *(context.invocation_metadata() or ()),
    )
    span = traced_calls.begin(tracer, span_shapes.serve(SUBMIT_TASK), pairs)
    given.traceparent, given.tracestate = span.traceparent, span.trace_state
    code, message = int(code_pb2.OK), ""
    try:
        yield
    except WeftError as error:
        code, message = error.status().code, error.message
        raise
    except BaseException:
        code = code_pb2.UNKNOWN
        raise
    finally:
        span.finish(code, message)


def trace_of(context: aio.ServicerContext[Any, Any]) -> str:
    """The `traceparent` of a call; empty: it has none."""
    return next(
        (str(value) for key, value in context.invocation_metadata() or () if key == "traceparent"), ""
    )
