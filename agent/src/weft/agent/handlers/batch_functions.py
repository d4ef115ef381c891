"""Functions of batches as hosted methods: a function of lists becomes one of a single request, by its annotations."""

from __future__ import annotations

import collections.abc
import inspect
import types
import typing
from collections.abc import Callable
from typing import Any

from weft.agent.errors import HostingError
from weft.agent.handlers.batches import Batch, BatchQueue
from weft.agent.hosting.hosted_function import plain_function

_LISTS: tuple[object, ...] = (list, tuple, collections.abc.Sequence)
_UNIONS: tuple[object, ...] = (typing.Union, types.UnionType)
_EXAMPLE = "annotate it such as `async def embed(requests: list[Text]) -> list[Vector | Exception]`"


def single_function(
    name: str, function: Callable[..., Any], batch: Batch, *, isolate: bool
) -> Callable[..., Any]:
    """A function of one request, which is one of a batch of the given function.

    Raises:
        HostingError: the function cannot be one of batches; the message says what to change.
    """
    function = plain_function(function)
    if isolate:
        raise HostingError(
            f"{name}: isolated calls run in processes of their own, so they cannot be a batch: give isolate or batch"
        )
    if inspect.isasyncgenfunction(function) or inspect.isgeneratorfunction(function):
        raise HostingError(
            f"{name}: {function.__name__} yields; a function of batches returns a list; {_EXAMPLE}"
        )
    parameters = list(inspect.signature(function).parameters.values())
    if len(parameters) != 1:
        raise HostingError(
            f"{name}: {function.__name__} must take the list of requests and nothing else; {_EXAMPLE}"
        )
    try:
        hints = typing.get_type_hints(function)
    except NameError as error:
        raise HostingError(
            f"{name}: the annotations of {function.__name__} cannot be resolved ({error}); import their types where the function is defined,"
            " outside `if TYPE_CHECKING`"
        ) from error
    queue: BatchQueue[Any, Any] = BatchQueue(function, batch)

    async def single(request: Any) -> Any:
        return await queue.call(request)

    single.__name__, single.__qualname__, single.__doc__ = (
        function.__name__,
        function.__qualname__,
        function.__doc__,
    )
    single.__module__ = function.__module__
    single.__annotations__ = {
        "request": _item(name, f"parameter {parameters[0].name!r}", hints.get(parameters[0].name)),
        "return": _without_exceptions(_item(name, "return value", hints.get("return"))),
    }
    return single


def _item(name: str, what: str, hint: Any) -> Any:
    items = typing.get_args(hint)
    if typing.get_origin(hint) not in _LISTS or not items:
        found = "has no annotation" if hint is None else f"is annotated {hint!r}"
        raise HostingError(f"{name}: the {what} {found}, and is no list; {_EXAMPLE}")
    return items[0]


def _without_exceptions(hint: Any) -> Any:
    if typing.get_origin(hint) not in _UNIONS:
        return hint
    kinds = [
        each
        for each in typing.get_args(hint)
        if not (isinstance(each, type) and issubclass(each, BaseException))
    ]
    return kinds[0] if len(kinds) == 1 else hint
