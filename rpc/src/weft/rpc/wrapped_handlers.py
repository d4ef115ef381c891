"""Handlers with something around each, made once for a path."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import grpc

# Handlers that are kept: far more than a server has methods. Of longer paths nothing is kept: callers choose them.
_KEPT = 2048
_PATH_CHARS = 512


class WrappedHandlers(grpc.GenericRpcHandler):
    """The handlers of another one.

    Args:
        wrap: given a handler and its path without the first slash, the same with something around it.
    """

    def __init__(self, inner: grpc.GenericRpcHandler, wrap: Callable[[Any, str], Any]) -> None:
        self._inner = inner
        self._wrap = wrap
        # By path: a handler, and the same one wrapped.
        self._handlers: dict[str, tuple[Any, Any]] = {}

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        handler: Any = self._inner.service(handler_call_details)
        if handler is None:
            return None
        path: str = handler_call_details.method
        known = self._handlers.get(path)
        if known is not None and known[0] is handler:
            return known[1]
        made = self._wrap(handler, path.removeprefix("/"))
        if len(path) <= _PATH_CHARS:
            if len(self._handlers) >= _KEPT:
                self._handlers.clear()
            self._handlers[path] = handler, made
        return made
