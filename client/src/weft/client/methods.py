"""Methods with the types of their messages.

`methods(Stub)` reads the methods of a generated stub class. A type checker knows their messages when the stub is typed:
mypy-protobuf writes the `_pb2_grpc.pyi` for that. `Method.of(name, Request, Response)` needs no stub.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, NoReturn, Protocol, TypeVar, cast, overload

import grpc
import grpc.aio
from google.protobuf.message import Message

from weft.rpc import refusals

Req = TypeVar("Req")
Resp = TypeVar("Resp")
ReqMessage = TypeVar("ReqMessage", bound=Message)
RespMessage = TypeVar("RespMessage", bound=Message)
Stub = TypeVar("Stub")


@dataclass(frozen=True, slots=True)
class Method(Generic[Req, Resp]):
    """A gRPC method: its full name, and functions that serialize its requests and parse its responses."""

    name: str
    serialize: Callable[[Req], bytes] = field(repr=False, compare=False)
    parse: Callable[[bytes], Resp] = field(repr=False, compare=False)
    # Whether it gives a stream of responses.
    streaming: bool = False

    @staticmethod
    def of(
        name: str, request: type[ReqMessage], response: type[RespMessage], *, streaming: bool = False
    ) -> Method[ReqMessage, RespMessage]:
        """The method `name` ("pkg.Service/Method") with these message classes."""
        return Method(checked_name(name), request.SerializeToString, response.FromString, streaming)

    @staticmethod
    def untyped(name: str) -> Method[bytes | Message, bytes]:
        """The method `name` with serialized messages: a request may be bytes or a message, a response is bytes."""
        return Method(checked_name(name), _to_bytes, bytes)

    @staticmethod
    def on_channel(
        path: str,
        serialize: Callable[[Any], bytes] | None,
        parse: Callable[[bytes], Any] | None,
        *,
        streaming: bool = False,
    ) -> Method[Any, Any]:
        """The method as a stub asks a channel for it; without a serializer the messages are bytes."""
        return Method(path.removeprefix("/"), serialize or bytes, parse or bytes, streaming)

    if (
        not TYPE_CHECKING
    ):  # a type checker sees the attributes of `methods(Stub)` as a stub's, which are callable

        def __call__(self, *_: Any, **__: Any) -> NoReturn:
            short = self.name.rpartition("/")[2]
            raise TypeError(
                f"{self.name} is named here, not called: submit it, as in mesh.tasks.submit(methods(Stub).{short},"
                f" request); for a plain call use Stub(mesh.channel()).{short}(request)"
            )


class HasMethod(Protocol[Req, Resp]):
    """An object that stands for a method: a function of `@agent.method`, or a method of a stub on a mesh's channel, also a direct one."""

    @property
    def method(self) -> Method[Req, Resp]: ...


if TYPE_CHECKING:
    # The forms in which the tasks API accepts a method. Methods of stubs have the types that they have on a channel.
    AnyMethod = (
        Method[Req, Resp]
        | HasMethod[Req, Resp]
        | grpc.UnaryUnaryMultiCallable[Req, Resp]
        | grpc.UnaryStreamMultiCallable[Req, Resp]
        | grpc.aio.UnaryUnaryMultiCallable[Req, Resp]
        | grpc.aio.UnaryStreamMultiCallable[Req, Resp]
    )
else:
    # gRPC's own classes are not generic when a program runs.
    AnyMethod = Method


def _to_bytes(request: bytes | Message) -> bytes:
    return request if isinstance(request, bytes) else request.SerializeToString()


def checked_name(name: str) -> str:
    """A full method name without a leading slash.

    Raises:
        InvalidArgument: it is not of the form "pkg.Service/Method".
    """
    bare = name.removeprefix("/")
    service, slash, method = bare.partition("/")
    if not service or not slash or not method or "/" in method:
        raise refusals.invalid_field(
            f"{name!r} is no method name, such as 'acme.v1.Analyst/Analyze'", field="method"
        )
    return bare


@overload
def as_method(method: AnyMethod[Req, Resp]) -> Method[Req, Resp]: ...
@overload
def as_method(method: str) -> Method[bytes | Message, bytes]: ...
def as_method(method: Any) -> Method[Any, Any]:
    """The method that a caller named.

    Raises:
        InvalidArgument: the name is malformed, or the method takes a stream of requests.
        TypeError: it is not a method.
    """
    if isinstance(method, Method):
        return method
    if isinstance(method, str):
        return Method.untyped(method)
    found = getattr(method, "method", None)
    if isinstance(found, Method):
        return found
    if isinstance(method, DirectOnly):
        found = method
    if isinstance(found, DirectOnly):
        raise refusals.invalid_field(
            f"{found.name} takes a stream of requests, so it cannot be a task: call it on"
            " mesh.channel(direct=True)",
            field="method",
        )
    raise TypeError(
        f"{method!r} is not a method: pass methods(Stub).Name, a function of @agent.method, a method of a stub on"
        " mesh.channel(), or 'pkg.Service/Method'"
    )


def methods(stub: type[Stub]) -> Stub:
    """The methods of a generated stub class: a stub whose attributes are `Method`s.

    A type checker sees the stub itself, so a typed stub gives typed submissions.

    >>> probe = methods(ProbeServiceStub)
    >>> handle = await mesh.tasks.submit(probe.Echo, Payload(data=b"..."))
    """
    make: Any = stub
    return cast("Stub", make(RecordingChannel()))


class DirectOnly(NamedTuple):
    """A method that takes a stream of requests."""

    name: str


class RecordingChannel:
    """Looks like a channel to a stub's constructor, and gives it methods to keep."""

    def unary_unary(
        self,
        path: str,
        request_serializer: Callable[[Any], bytes],
        response_deserializer: Callable[[bytes], Any],
        **_: Any,
    ) -> Method[Any, Any]:
        return Method.on_channel(path, request_serializer, response_deserializer)

    def unary_stream(
        self,
        path: str,
        request_serializer: Callable[[Any], bytes],
        response_deserializer: Callable[[bytes], Any],
        **_: Any,
    ) -> Method[Any, Any]:
        return Method.on_channel(path, request_serializer, response_deserializer, streaming=True)

    def stream_unary(self, path: str, *_: Any, **__: Any) -> DirectOnly:
        return DirectOnly(checked_name(path))

    def stream_stream(self, path: str, *_: Any, **__: Any) -> DirectOnly:
        return DirectOnly(checked_name(path))
