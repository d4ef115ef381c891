"""grpc.aio's callables with a stream of requests, as base classes. Older grpcio does not make them generic at runtime."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from grpc import aio

if TYPE_CHECKING:
    StreamUnaryCallable = aio.StreamUnaryMultiCallable[Any, Any]
    StreamStreamCallable = aio.StreamStreamMultiCallable[Any, Any]
else:
    StreamUnaryCallable = aio.StreamUnaryMultiCallable
    StreamStreamCallable = aio.StreamStreamMultiCallable
