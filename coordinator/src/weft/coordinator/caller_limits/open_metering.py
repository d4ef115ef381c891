"""The limits of callers where nobody is asked who calls: each machine, by its address, is one caller: `peer:ADDRESS`."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import grpc

from weft.coordinator.caller_limits.call_metering import KEPT, CallMetering, is_stream
from weft.rpc.handler_shape import with_behaviour
from weft.rpc.identity.caller import ANYBODY, Caller, has_limits
from weft.rpc.security.namespace_names import DEFAULT, named_in

# Handlers that are kept: far more than a server has methods.
_KEPT_HANDLERS = 8192


class OpenMetering(grpc.GenericRpcHandler):
    """Handlers behind the limits of their callers.

    Args:
        limited: a caller with its limits.
    """

    def __init__(
        self, inner: grpc.GenericRpcHandler, metering: CallMetering, limited: Callable[[Caller], Caller]
    ) -> None:
        self._inner = inner
        self._metering = metering
        self._limited = limited
        # By subject.
        self._callers: OrderedDict[str, Caller] = OrderedDict()
        # By path: a handler, and the same one behind the limits.
        self._handlers: dict[str, tuple[Any, Any]] = {}

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        handler, path = self._inner.service(handler_call_details), handler_call_details.method
        if handler is None or not has_limits(path):
            return handler
        known = self._handlers.get(path)
        if known is not None and known[0] is handler:
            return known[1]
        stream = is_stream(handler)

        async def around(behaviour: Callable[..., Any], request: Any, context: Any) -> Any:
            meters = self._metering.meters(self.caller(context))
            if not meters:
                return await behaviour(request, context)
            return await self._metering.run(meters, behaviour, request, context, stream=stream)

        made = with_behaviour(handler, around)
        if len(self._handlers) >= _KEPT_HANDLERS:
            self._handlers.clear()
        self._handlers[path] = handler, made
        return made

    def caller(self, context: Any) -> Caller:
        """Who makes a call."""
        subject = f"peer:{host_of(context.peer())}"
        found = self._callers.get(subject)
        if found is None:
            found = self._callers[subject] = self._limited(ANYBODY._replace(subject=subject))
            if len(self._callers) > KEPT:
                self._callers.popitem(last=False)
        named = named_in(context.invocation_metadata() or ())
        return found._replace(namespace=named) if named not in {"", DEFAULT} else found


def host_of(peer: str) -> str:
    """The address of a machine, without a port, of gRPC's name of a peer: "ipv4:10.0.0.1:4711"."""
    kind, _, address = peer.partition(":")
    if kind not in {"ipv4", "ipv6"}:
        return "local"
    host = address.rpartition(":")[0]
    return host.replace("%5B", "").replace("%5D", "").strip("[]")
