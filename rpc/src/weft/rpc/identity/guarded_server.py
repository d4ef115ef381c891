"""What stands between a server and its edge: handlers of which the edge is asked first, and the head of a call as they see it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple, Protocol

import grpc

from weft.rpc.network.path_bound import refused_path
from weft.rpc.security.namespace_names import NAMESPACE_KEY, named_in


class Guard(Protocol):
    """An edge, for what is behind it (`weft.rpc.identity.edge.Edge`)."""

    @property
    def on(self) -> bool:
        """Whether callers must show tokens now."""
        ...

    def guarded(self, inner: grpc.GenericRpcHandler) -> grpc.GenericRpcHandler:
        """The same handlers, behind the edge."""
        ...

    def entered(self, inner: grpc.GenericRpcHandler, details: grpc.HandlerCallDetails) -> Any:
        """The handler for one call."""
        ...


class GuardedServer:
    """A server for generated code, whose handlers are behind an edge."""

    def __init__(self, server: Any, edge: Guard) -> None:
        self._server = server
        self._edge = edge

    def add_generic_rpc_handlers(self, handlers: Iterable[grpc.GenericRpcHandler]) -> None:
        self._server.add_generic_rpc_handlers(tuple(map(self._edge.guarded, handlers)))

    def add_registered_method_handlers(self, service: str, handlers: object) -> None:
        """Generated code calls this with the same handlers again; nothing to do."""


class GuardedHandlers(grpc.GenericRpcHandler):
    """Handlers behind an edge."""

    def __init__(self, inner: grpc.GenericRpcHandler, edge: Guard) -> None:
        self._inner = inner
        self._edge = edge

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        if not self._edge.on:
            return self._inner.service(handler_call_details)
        # Nothing is asked or kept of a path that is too long.
        return refused_path(handler_call_details.method) or self._edge.entered(
            self._inner, handler_call_details
        )


class _Placed(NamedTuple):
    """The head of a call, in a namespace that it does not say itself."""

    method: str
    invocation_metadata: Any


def placed(details: grpc.HandlerCallDetails, namespace: str) -> Any:
    """The head of a call, in a namespace (empty: the default one)."""
    pairs: Any = details.invocation_metadata or ()
    if named_in(pairs) == namespace:
        return details
    others = tuple((key, value) for key, value in pairs if key != NAMESPACE_KEY)
    return _Placed(details.method, (*others, (NAMESPACE_KEY, namespace)) if namespace else others)
