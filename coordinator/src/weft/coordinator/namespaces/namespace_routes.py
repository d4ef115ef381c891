"""The way of a call to its namespace: one look at its metadata. Calls that say none are in the default namespace."""

from __future__ import annotations

from typing import Any

import grpc

from weft.coordinator.namespaces.namespaces import Namespaces
from weft.rpc.network.routes import Routes
from weft.rpc.security.namespace_names import DEFAULT, NAMESPACE_KEY


class NamespaceRoutes(grpc.GenericRpcHandler):
    """All handlers of a coordinator.

    Args:
        default: those of the default namespace.
        common: those that stand once, the same in every namespace.
    """

    def __init__(self, default: Routes, common: Routes, namespaces: Namespaces) -> None:
        default.include(common)
        self._default = default
        self._common = common
        self._namespaces = namespaces

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        """The handler of a call."""
        for key, value in handler_call_details.invocation_metadata or ():
            if key == NAMESPACE_KEY and value and value != DEFAULT:
                return self._common.known(handler_call_details.method) or self._namespaces.handler(
                    str(value), handler_call_details
                )
        return self._default.service(handler_call_details)
