"""Methods with the types of their messages: what makes a submission typed.

A stub that gRPC's generator writes knows each method's name and messages, but tells no type checker.
`methods(Stub)` reads them from the stub; `Method.of(name, Request, Response)` says them with types.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar, overload

from google.protobuf.message import Message

from weft.rpc.errors import InvalidArgument

Req = TypeVar("Req")
Resp = TypeVar("Resp")
ReqMessage = TypeVar("ReqMessage", bound=Message)
RespMessage = TypeVar("RespMessage", bound=Message)


@dataclass(frozen=True, slots=True)
class Method(Generic[Req, Resp]):
    """A gRPC method: its full name, and how its messages become bytes and back."""

    name: str
    serialize: Callable[[Req], bytes] = field(repr=False, compare=False)
    parse: Callable[[bytes], Resp] = field(repr=False, compare=False)
    # It answers with a stream of responses.
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
        raise InvalidArgument(
            f"{name!r} is no method name, such as 'acme.v1.Analyst/Analyze'", field="method"
        )
    return bare


@overload
def as_method(method: Method[Req, Resp]) -> Method[Req, Resp]: ...
@overload
def as_method(method: str) -> Method[bytes | Message, bytes]: ...
def as_method(method: Method[Any, Any] | str) -> Method[Any, Any]:
    return Method.untyped(method) if isinstance(method, str) else method


class _AnyStub(Protocol):
    def __call__(self, channel: Any, /) -> Any: ...


class Methods:
    """The methods of a stub class, as attributes by their short names, or by iteration."""

    def __init__(self, found: dict[str, Method[Any, Any]]) -> None:
        self._found = found

    def __getattr__(self, name: str) -> Method[Any, Any]:
        try:
            return self._found[name]
        except KeyError:
            known = ", ".join(self._found)
            raise AttributeError(f"no durable method {name}; there is {known or 'none'}") from None

    def __iter__(self) -> Iterator[Method[Any, Any]]:
        return iter(self._found.values())


def methods(stub: _AnyStub) -> Methods:
    """The unary and server-streaming methods of a generated stub class.

    >>> probe = methods(ProbeServiceStub)
    >>> handle = await mesh.tasks.submit(probe.Echo, Payload(data=b"..."))
    """
    recorder = _RecordingChannel()
    stub(recorder)
    return Methods(recorder.found)


class _RecordingChannel:
    """Looks like a channel to a stub's constructor, and writes down what it asks for."""

    def __init__(self) -> None:
        self.found: dict[str, Method[Any, Any]] = {}

    def unary_unary(
        self,
        path: str,
        request_serializer: Callable[[Any], bytes],
        response_deserializer: Callable[[bytes], Any],
        **_: Any,
    ) -> None:
        self._record(Method(checked_name(path), request_serializer, response_deserializer))

    def unary_stream(
        self,
        path: str,
        request_serializer: Callable[[Any], bytes],
        response_deserializer: Callable[[bytes], Any],
        **_: Any,
    ) -> None:
        self._record(Method(checked_name(path), request_serializer, response_deserializer, streaming=True))

    def stream_unary(self, *_: Any, **__: Any) -> None:
        """Not durable: left out."""

    def stream_stream(self, *_: Any, **__: Any) -> None:
        """Not durable: left out."""

    def _record(self, method: Method[Any, Any]) -> None:
        self.found[method.name.rpartition("/")[2]] = method
