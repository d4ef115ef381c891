"""The routes of a server: one look-up finds the handler of a known path. gRPC itself asks all handlers in turn, at each call."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import grpc
from grpc import aio

from weft.rpc.network.path_bound import refused_path


class Routes(grpc.GenericRpcHandler):
    """Handlers by path, and one that is asked for all other calls. Generated code adds its services here as to a server.

    Args:
        server: it serves them. None: something else asks this for the handlers.
    """

    def __init__(self, server: aio.Server | None = None) -> None:
        if server is not None:
            server.add_generic_rpc_handlers((self,))
        self._by_path: dict[str, Any] = {}
        # Asked for each other call.
        self.others: grpc.GenericRpcHandler | None = None

    def add(self, path: str, handler: Any) -> None:
        """Serve a path ("/package.Service/Method")."""
        self._by_path[path] = handler

    def include(self, others: Routes) -> None:
        """Serve the paths of others, too."""
        self._by_path |= others._by_path

    def known(self, path: str) -> Any:
        """The handler of a path; None: it is not among these."""
        return self._by_path.get(path)

    def paths(self) -> Collection[str]:
        """The paths that are served."""
        return self._by_path.keys()

    def add_registered_method_handlers(self, service: str, handlers: Mapping[str, Any]) -> None:
        """Serve the methods of a service, by their short names."""
        for name, handler in handlers.items():
            self.add(f"/{service}/{name}", handler)

    def add_generic_rpc_handlers(self, handlers: object) -> None:
        """Generated code calls this with the same handlers; nothing to do."""

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        """The handler of a call."""
        found = self._by_path.get(handler_call_details.method)
        if found is None and self.others is not None:
            return refused_path(handler_call_details.method) or self.others.service(handler_call_details)
        return found
