"""The limits of callers and namespaces at a coordinator's door: calls beyond them are refused, and streams of submissions slowed.

    call ─► edge: who calls ─► its meter, its namespace's meter ─┬─ room ─► the handler
                                                                 └─ refused, with the time until there is room

Handlers of callers without limits are not wrapped: they cost nothing. Memory is bounded by the open calls and by `KEPT` meters beside them:
the meter of a caller that has not been seen for long is forgotten, and begins full again.
"""

from __future__ import annotations

import time
from collections import Counter, OrderedDict
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from typing import Any
from weakref import WeakValueDictionary

from weft.coordinator.caller_limits.measured_call import (
    LimitedContext,
    measured_requests,
    take_bytes,
)
from weft.coordinator.caller_limits.use_meter import Totals, UseMeter
from weft.rpc.calls import relay
from weft.rpc.errors import WeftError
from weft.rpc.handler_shape import behaviour_of, with_behaviour
from weft.rpc.identity.caller import ANYBODY, Caller, has_limits
from weft.rpc.identity.caller_limits import NO_LIMITS, CallerLimits
from weft.rpc.security.namespace_names import DEFAULT

# Meters that are kept of callers without open calls.
KEPT = 4096
# Callers that were refused lately, in a report.
REPORTED = 20
_Key = tuple[str, CallerLimits, bool]


class CallMetering:
    """The meters of one coordinator. Belongs to its event loop.

    Args:
        of_namespace: the limits of a namespace, by its name.

    Attributes:
        caller_of: who makes a call, with its limits; by the call's context.
    """

    def __init__(self, of_namespace: Callable[[str], CallerLimits]) -> None:
        self._of_namespace = of_namespace
        self.caller_of: Callable[[Any], Caller] = _nobody
        self._known: WeakValueDictionary[_Key, UseMeter] = WeakValueDictionary()
        self._recent: OrderedDict[_Key, UseMeter] = OrderedDict()
        # Refused calls and tasks so far, by limit, and by whose limit it is.
        self._refused: Totals = Counter()

    def meters(self, caller: Caller) -> tuple[UseMeter, ...]:
        """Those of a call. Empty: it has no limits."""
        limits = caller.limits
        found = (self._meter(caller.subject, limits),) if limits is not NO_LIMITS and any(limits) else ()
        common = self.namespace_meter(caller.namespace)
        return found if common is None else (*found, common)

    def namespace_meter(self, namespace: str) -> UseMeter | None:
        """That of all callers of a namespace together (empty: the default one). None: it has no limits."""
        limits = self._of_namespace(namespace := namespace or DEFAULT)
        if limits is NO_LIMITS or not any(limits):
            return None
        return self._meter(namespace, limits, of_namespace=True)

    def _meter(self, name: str, limits: CallerLimits, *, of_namespace: bool = False) -> UseMeter:
        key = name, limits, of_namespace
        found = self._known.get(key)
        if found is None:
            found = self._known[key] = UseMeter(
                name, limits, time.monotonic(), of_namespace=of_namespace, totals=self._refused
            )
        self._recent[key] = found
        self._recent.move_to_end(key)
        if len(self._recent) > KEPT:
            self._recent.popitem(last=False)
        return found

    # -- calls ------------------------------------------------------------------------------------------------------

    def metered(self, handler: Any, path: str, caller: Caller) -> Any:
        """The handler of a path, for the calls of one caller. The same one, if there are no limits."""
        meters = self.meters(caller) if has_limits(path) else ()
        if not meters:
            return handler
        stream = is_stream(handler)

        async def around(behaviour: Callable[..., Any], request: Any, context: Any) -> Any:
            return await self.run(meters, behaviour, request, context, stream=stream)

        return with_behaviour(handler, around)

    async def run(
        self,
        meters: Sequence[UseMeter],
        behaviour: Callable[..., Any],
        request: Any,
        context: Any,
        *,
        stream: bool,
    ) -> Any:
        """One call, or its refusal."""
        if (why := self._begun(meters, stream=stream)) is not None:
            return await relay.refuse(why, context)
        try:
            measuring = [meter for meter in meters if meter.measures_bytes]
            context = LimitedContext(context, meters, measuring)
            if measuring:
                return await _measured(measuring, behaviour, request, context)
            return await behaviour(request, context)
        finally:
            for meter in meters:
                meter.end(stream=stream)

    def _begun(self, meters: Sequence[UseMeter], *, stream: bool) -> WeftError | None:
        """Begin a call, or say why not."""
        now_s = time.monotonic()
        for meter in meters:
            if (hit := meter.hit(now_s, stream=stream)) is not None:
                return meter.refusal(hit, now_s)
        for meter in meters:
            meter.begin(now_s, stream=stream)
        return None

    # -- what is told -------------------------------------------------------------------------------------------------

    def refused(self) -> Iterator[tuple[tuple[str, str], float]]:
        """Calls and tasks refused so far: by the limit's name, and by whose it is, "caller" or "namespace"."""
        yield from self._refused.copy().items()

    def limited(self, within_s: float) -> list[UseMeter]:
        """Callers and namespaces that were refused in the last time, the most refused ones first; at most `REPORTED`."""
        since_s = time.monotonic() - within_s
        found = [meter for meter in self._known.values() if meter.refused and meter.refused_at_s >= since_s]
        return sorted(found, key=lambda meter: -sum(meter.refused.values()))[:REPORTED]


def _nobody(_context: Any) -> Caller:
    return ANYBODY


def is_stream(handler: Any) -> bool:
    """Whether the calls of a handler count as streams."""
    return behaviour_of(handler)[0] != "unary_unary"


async def _measured(
    meters: Sequence[UseMeter], behaviour: Callable[..., Any], request: Any, context: Any
) -> Any:
    """A call whose bytes are counted."""
    if isinstance(request, AsyncIterator):
        request = measured_requests(meters, request)
    else:
        take_bytes(meters, request)
    response = await behaviour(request, context)
    take_bytes(meters, response)
    return response
