"""Finds the hosted method of a test's handler: a servicer's bound method, or a function with annotations."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from google.protobuf import message_factory
from google.protobuf.message import Message

from weft.agent import HostingError
from weft.agent.hosting.functions import client_method, function_method
from weft.agent.hosting.hosted_methods import HostedMethod, servicer_methods
from weft.agent.hosting.method_rules import with_rules
from weft.client import Method

# The method name of a function that no agent hosts.
UNNAMED_SERVICE = "weft.testing.Function"


@dataclass(frozen=True, slots=True)
class TestedMethod:
    """A handler as an agent hosts it, and how the test's requests and responses become bytes and back."""

    # Pytest must not collect it as a test class.
    __test__ = False

    hosted: HostedMethod
    serialize: Callable[[Any], bytes]
    parse: Callable[[bytes], Any]

    def serialized(self, request: Any) -> tuple[bytes, Iterable[bytes] | AsyncIterable[bytes] | None]:
        """The payload of one request, or the requests of a stream."""
        if not self.hosted.request_streaming:
            return self.serialize(request), None
        if isinstance(request, AsyncIterable):
            return b"", self._each_async(request)
        if isinstance(request, Iterable):
            return b"", self._each(request)
        raise TypeError(f"{self.hosted.name} takes a stream of requests: give an iterable of them")

    def _each(self, requests: Iterable[Any]) -> Iterator[bytes]:
        for request in requests:
            yield self.serialize(request)

    async def _each_async(self, requests: AsyncIterable[Any]) -> AsyncIterator[bytes]:
        async for request in requests:
            yield self.serialize(request)


def tested_method(handler: Callable[..., Any]) -> TestedMethod:
    """The hosted method behind a handler.

    Raises:
        HostingError: an agent could not host it either; the message says what to change.
    """
    servicer = getattr(handler, "__self__", None)
    generated = [
        add
        for base in type(servicer).__mro__
        if base.__module__.endswith("_pb2_grpc")
        if (add := getattr(sys.modules.get(base.__module__), f"add_{base.__name__}_to_server", None))
    ]
    if generated:
        return _of_servicer(handler, servicer, generated)
    try:
        return _of_function(handler)
    except HostingError as error:
        if servicer is None:
            raise
        raise HostingError(
            f"{type(servicer).__name__} has no generated base class, so the messages of {_name_of(handler)} are not"
            f" known: derive it from the ...Servicer of its ..._pb2_grpc module. Or as a function: {error.message}"
        ) from None


def _of_servicer(
    handler: Callable[..., Any], servicer: Any, generated: Iterable[Callable[[Any, Any], None]]
) -> TestedMethod:
    for add in generated:
        for hosted in servicer_methods(add, servicer):
            if hosted.behavior == handler:
                return _with_messages(_checked(hosted))
    raise HostingError(
        f"{_name_of(handler)} is no method of a service that {type(servicer).__name__} implements"
    )


def _of_function(handler: Callable[..., Any]) -> TestedMethod:
    method = getattr(handler, "method", None)
    name = _name_of(handler)
    short = name if name.isidentifier() else "Unnamed"
    # A function of `@agent.method` has a method name of its own.
    full = method.name if isinstance(method, Method) else f"{UNNAMED_SERVICE}/{short}"
    hosted, called = _checked(function_method(full, handler)), client_method(full, handler)
    return TestedMethod(hosted, called.serialize, called.parse)


def _checked(hosted: HostedMethod) -> HostedMethod:
    """The method with the checks of its messages, as an agent makes them."""
    (checked,) = with_rules([hosted])
    return checked


def _with_messages(hosted: HostedMethod) -> TestedMethod:
    request, response = (message_factory.GetMessageClass(each) for each in hosted.types)

    def serialize(given: Any) -> bytes:
        if not isinstance(given, Message) or given.DESCRIPTOR.full_name != request.DESCRIPTOR.full_name:
            raise TypeError(f"{hosted.name} takes {request.DESCRIPTOR.full_name}, not {type(given).__name__}")
        data: bytes = given.SerializeToString()
        return data

    return TestedMethod(hosted, serialize, response.FromString)


def _name_of(handler: Callable[..., Any]) -> str:
    return getattr(handler, "__name__", repr(handler))
