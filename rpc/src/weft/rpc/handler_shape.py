"""Which of its four behaviours a handler of gRPC has: for wrappers, which put another one in its place."""

from __future__ import annotations

from typing import Any

_SHAPES = ("unary_unary", "unary_stream", "stream_unary", "stream_stream")


def behaviour_of(handler: Any) -> tuple[str, Any]:
    """The name of a handler's behaviour, such as "unary_unary", and the behaviour."""
    shape = next(shape for shape in _SHAPES if getattr(handler, shape) is not None)
    return shape, getattr(handler, shape)
