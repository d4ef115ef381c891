"""An app's methods as hosted ones: each handler passes its call on to the app, durable and direct calls alike.

Metadata that goes along, besides the caller's own:

    weft-root-id     the call at the root of the tree
    weft-parent-id   this call, as calls made while handling it name it: an app that passes both on to its egress
                     hands down the deadline too
    weft-of-session  the key of the sticky session that the call belongs to
    weft-task-id, weft-attempt     of a durable call: the task, and the number of the attempt. With these, the app may record steps
                     (weft.v1.StepService) through its egress
    weft-state-*                   of a task whose lock keeps a state: that (app_state.py)
    traceparent, tracestate        the trace

An attempt whose call ends because the app was lost is reported as crashed: whether the app ran it to its end is unknown.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any, cast

import grpc
import grpc.aio
from google.protobuf.descriptor import MethodDescriptor

from weft.agent.direct.direct_contexts import DirectAsyncContext
from weft.agent.handlers.current_call import current_task
from weft.agent.handlers.handler_context import HandlerContext
from weft.agent.handlers.invoke import coded_unread
from weft.agent.hosting.hosted_methods import HostedMethod
from weft.agent.sidecar.app import App
from weft.agent.sidecar.app_state import take_change, to_app
from weft.agent.sidecar.calls_in_flight import HandledCalls
from weft.rpc import refusals
from weft.rpc.calls import call_context, metadata, relay
from weft.rpc.calls.call_context import CallContext
from weft.rpc.calls.session_keys import OF_SESSION_KEY, said_session
from weft.rpc.calls.traced_calls import status_of
from weft.rpc.contracts.descriptors import method_kind, method_name
from weft.rpc.errors import WeftError
from weft.rpc.payloads.payload_options import CODED_PREFIX
from weft.rpc.telemetry import trace_headers, traces
from weft.v1 import fleet_pb2

# A call that fails with one of these codes may have failed because the app died: then the loss shows within this time.
_LOST_CODES = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)
_LOSS_SEEN_S = 0.1
# These codes may have the same cause, but mostly have not: the loss must have shown already.
_RARELY_LOST_CODES = (grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN)

Behaviour = Callable[[Any, Any], Awaitable[Any]]


def forwarded(method: MethodDescriptor, app: App, calls: HandledCalls) -> HostedMethod:
    """A method of the app as a hosted one."""
    return HostedMethod(
        name=method_name(method),
        behavior=_behaviour(method, app, calls),
        # Bytes pass as they are.
        deserialize=bytes,
        serialize=bytes,
        request_streaming=method.client_streaming,
        response_streaming=method.server_streaming,
        is_async=True,
        slot_cost=1,
        isolated=None,
        file=method.containing_service.file,
        types=(method.input_type, method.output_type),
    )


def _behaviour(method: MethodDescriptor, app: App, calls: HandledCalls) -> Behaviour:
    service, name = method.containing_service.full_name, method_name(method)
    kind = cast("fleet_pb2.MethodKind", method_kind(method))
    handler: Any = relay.handler(
        app.channel, f"/{name}", kind, _outgoing, callee_keeps_time=True, observe=app.observe
    )
    pass_on: Behaviour = (
        handler.unary_unary or handler.unary_stream or handler.stream_unary or handler.stream_stream
    )

    async def forward(request: Any, context: Any) -> Any:
        if service in app.unavailable:
            await _refuse(context, service)
        if isinstance(request, bytes) and request.startswith(CODED_PREFIX):
            await relay.refuse(coded_unread(name), context)
        span = traces.passing_on(name)
        if span is None:
            return await pass_on_within(call_context.current(), request, context)
        with span:
            try:
                return await pass_on_within(_within(span), request, context)
            except BaseException as error:
                span.status = status_of(context, error)
                raise

    async def pass_on_within(at_hand: CallContext | None, request: Any, context: Any) -> Any:
        losses = app.losses
        if at_hand is not None:
            calls.begin(at_hand, call_context.handled())
        try:
            response = await pass_on(request, context)
            if isinstance(context, HandlerContext) and not isinstance(context, DirectAsyncContext):
                await _take_state(context)
            return response
        except grpc.aio.AbortError:
            if isinstance(context, HandlerContext) and not isinstance(context, DirectAsyncContext):
                context.crashed = await _crashed(context, app, losses)
            raise
        finally:
            if at_hand is not None:
                calls.end(at_hand)

    return forward


def _within(span: traces.PassedOn) -> CallContext | None:
    """The call context of calls that the app makes: they belong to the span of the call to the app."""
    at_hand = call_context.current()
    return None if at_hand is None else replace(at_hand, traceparent=span.span.traceparent)


def _outgoing(context: Any) -> metadata.Pairs:
    """The metadata that goes to the app."""
    if isinstance(context, DirectAsyncContext) or not isinstance(context, HandlerContext):
        said = said_session(context.invocation_metadata() or ())
        return _with_ids((*relay.passed_on(context), *_session("" if said is None else said.key)))
    assignment = context.assignment
    # The submitter of a task may have put anything there.
    own = metadata.from_proto([each for each in assignment.context.metadata if metadata.can_be_sent(each)])
    task = (("weft-task-id", assignment.task_id), ("weft-attempt", str(assignment.attempt)))
    state = to_app(assignment.state) if assignment.HasField("state") else ()
    return _with_ids((*own, *task, *state, *_session(assignment.context.session.key)))


async def _take_state(context: Any) -> None:
    """Take what the app has made of its state. What cannot be kept fails the call."""
    try:
        take_change(context)
    except WeftError as error:
        await relay.refuse(error, context)


def _session(key: str) -> metadata.Pairs:
    # Under a name of its own: an app that passes it on does not put its own calls into the session.
    return ((OF_SESSION_KEY, key),) if key else ()


def _with_ids(own: metadata.Pairs) -> metadata.Pairs:
    at_hand = call_context.current()
    if at_hand is None:
        return own
    active = trace_headers.current()
    # The caller's own headers name the span behind the active one.
    return at_hand.added_to((pair for pair in own if pair[0] not in active), active)


async def _crashed(context: HandlerContext, app: App, losses: int) -> bool:
    """Whether the call failed because the app was lost."""
    code = context.code()
    if context.cancel_signal or code not in (*_LOST_CODES, *_RARELY_LOST_CODES):
        return False
    return await app.lost_since(losses, _LOSS_SEEN_S if code in _LOST_CODES else 0.0)


async def _refuse(context: Any, service: str) -> None:
    """Answer a call that the app cannot take now. Always raises."""
    await relay.refuse(refusals.app_unavailable(service, current_task().agent_id), context)
