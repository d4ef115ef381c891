"""Times the calls that a process serves, and those that it makes, by method and status, as OpenTelemetry's conventions of RPC name them.

A wrapper of handlers, not an interceptor: those break handlers that read and write a stream themselves. Health, reflection, and the
streams of weft's own services, which last as long as their peer, are not timed.
"""

from __future__ import annotations

import asyncio
import inspect
import time
from typing import Any

import grpc
from grpc import aio

from weft.rpc.contracts.names import is_reserved
from weft.rpc.handler_shape import behaviour_of
from weft.rpc.telemetry import attributes
from weft.rpc.telemetry.figures import OTHER, Figures, Histogram, MetricSpec
from weft.rpc.telemetry.status_codes import SERVER_FAULTS
from weft.rpc.wrapped_handlers import WrappedHandlers

# As OpenTelemetry advises for durations of calls.
_BOUNDS_S = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)

SERVER_CALLS = MetricSpec(
    "rpc.server.call.duration",
    "histogram",
    "s",
    "Calls that this process served, without health, reflection, and long streams of weft's own.",
    (attributes.RPC_SYSTEM_NAME, attributes.RPC_METHOD, attributes.RPC_RESPONSE_STATUS_CODE),
    _BOUNDS_S,
)
CLIENT_CALLS = MetricSpec(
    "rpc.client.call.duration",
    "histogram",
    "s",
    "Calls that this process passed on: a coordinator's direct ones to agents, a sidecar's to its app, and those of the app through the"
    " egress.",
    SERVER_CALLS.labels,
    _BOUNDS_S,
)
RPC_METRICS = (SERVER_CALLS, CLIENT_CALLS)
# Methods and statuses that are counted apart, of calls served and of calls made.
MOST = 1000
MOST_MADE = 500

_NAMES = {code.value[0]: code.name for code in grpc.StatusCode}


class CallFigures:
    """Times the calls that a process serves or, with `made`, those that it makes."""

    def __init__(self, figures: Figures, *, made: bool = False) -> None:
        self._names = figures.names
        self._durations = figures.histograms(*((CLIENT_CALLS, MOST_MADE) if made else (SERVER_CALLS, MOST)))
        # Methods that there are.
        self._served: set[str] = set()
        # Calls so far, and those that failed by a fault of the server.
        self.count = 0
        self.faults = 0

    def timed(self, inner: grpc.GenericRpcHandler) -> grpc.GenericRpcHandler:
        """The same handlers, whose calls are timed."""
        return WrappedHandlers(inner, self.timed_handler)

    def timed_handler(self, handler: Any, method: str) -> Any:
        """The same handler of a method, whose calls are timed, unless they last as long as their peer."""
        return _with_time(handler, method, self)

    def of_success(self, method: str) -> Histogram:
        """Where the calls of a method are observed that succeed."""
        label = self._names.label(method)
        if label is not OTHER:
            self._served.add(method)
        return self._durations.of(attributes.GRPC, label, _NAMES[0])

    def observe(self, method: str, code: int, seconds: float) -> None:
        self.count += 1
        if code in SERVER_FAULTS:
            self.faults += 1
        if code == _UNIMPLEMENTED and method not in self._served:
            # Callers must not make labels.
            label = OTHER
        else:
            label = self._names.label(method)
            if label is not OTHER:
                self._served.add(method)
        self._durations.of(attributes.GRPC, label, _NAMES.get(code, "UNKNOWN")).observe(seconds)


_UNIMPLEMENTED = grpc.StatusCode.UNIMPLEMENTED.value[0]
_CANCELLED = grpc.StatusCode.CANCELLED.value[0]
_UNKNOWN = grpc.StatusCode.UNKNOWN.value[0]


def _with_time(handler: Any, method: str, figures: CallFigures) -> Any:
    shape, behaviour = behaviour_of(handler)
    lasting = is_reserved(method.partition("/")[0]) and (
        handler.request_streaming or handler.response_streaming
    )
    if lasting or inspect.isasyncgenfunction(behaviour) or method.startswith("grpc."):
        return handler

    succeeded: Histogram | None = None

    async def timed(request: Any, context: Any) -> Any:
        nonlocal succeeded
        began_s = time.perf_counter()
        try:
            response = await behaviour(request, context)
        except BaseException as error:
            figures.observe(method, _code(error, context), time.perf_counter() - began_s)
            raise
        # Every failure in weft is raised. This is the usual end, and costs one observation.
        if succeeded is None:
            succeeded = figures.of_success(method)
        figures.count += 1
        succeeded.observe(time.perf_counter() - began_s)
        return response

    return handler._replace(**{shape: timed})


def _code(error: BaseException, context: Any) -> int:
    """The status of a call that raised."""
    if isinstance(error, asyncio.CancelledError):
        return _CANCELLED
    code = context.code() if isinstance(error, aio.AbortError) else None
    if code is None:
        return _UNKNOWN
    return code if isinstance(code, int) else int(code.value[0])
