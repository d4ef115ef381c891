"""Which of its four behaviours a handler of gRPC has: for wrappers, which put another one in its place."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from weft.rpc.network.gone import to_caller

_SHAPES = ("unary_unary", "unary_stream", "stream_unary", "stream_stream")


def behaviour_of(handler: Any) -> tuple[str, Any]:
    """The name of a handler's behaviour, such as "unary_unary", and the behaviour."""
    shape = next(shape for shape in _SHAPES if getattr(handler, shape) is not None)
    return shape, getattr(handler, shape)


def with_behaviour(handler: Any, around: Callable[..., Awaitable[Any]]) -> Any:
    """A handler with something around its behaviour: `around(behaviour, request, context)`."""
    shape, behaviour = behaviour_of(handler)
    if inspect.isasyncgenfunction(behaviour):
        behaviour = written(behaviour)

    # A function, not a partial: gRPC asks at each call whether it is a coroutine function, and that takes longer for others.
    async def wrapped(request: Any, context: Any) -> Any:
        return await around(behaviour, request, context)

    return handler._replace(**{shape: wrapped})


def written(behaviour: Callable[..., Any]) -> Callable[..., Any]:
    """A behaviour that yields its responses, as one that writes them."""
    return partial(_written, behaviour)


async def _written(behaviour: Callable[..., Any], request: Any, context: Any) -> None:
    async with contextlib.aclosing(behaviour(request, context)) as responses:
        async for response in responses:
            await to_caller(context.write(response))
