"""Reads a server's contract by reflection: its methods, and their requests and responses as JSON.

Works with any server that has reflection, v1 or v1alpha, and needs no generated code. Every call has a deadline.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import grpc
from google.protobuf.descriptor_pb2 import DescriptorProto, FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import DecodeError, Message
from google.rpc import status_pb2
from grpc_reflection.v1alpha import reflection_pb2 as pb

from weft.rpc import errors, refusals
from weft.rpc.contracts import descriptors, json_form, names, policy_options
from weft.rpc.contracts.secret_fields import SecretFields
from weft.v1 import fleet_pb2

# The two services have the same messages on the wire.
_PATHS = (
    "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
)
# No deserializer: if an answer does not parse, grpc.aio logs a traceback and returns None.
_CODEC: Mapping[str, Any] = {"request_serializer": pb.ServerReflectionRequest.SerializeToString}
# No real service has more files than this.
MAX_FILES = 4096
# Nor more bytes: the files of all its services together, with what they share counted for each.
MAX_FILES_BYTES = 64 * 1024 * 1024

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class MethodEntry:
    """A method that a server lists."""

    # "pkg.Service/Method".
    name: str
    # A number of weft.v1.MethodKind.
    kind: int
    # Full names of the messages.
    request_type: str
    response_type: str
    # By the contract, running a call twice does no harm.
    may_run_twice: bool
    # How its calls are made by default, by the contract: a number of weft.v1.CallMode.
    mode: int

    @property
    def durable(self) -> bool:
        """Whether its shape can be a task."""
        return self.kind in descriptors.DURABLE_KINDS


@dataclass(frozen=True, slots=True, eq=False)
class ResolvedMethod:
    """A method with its message classes, which are of a descriptor pool of their own."""

    name: str
    kind: int
    request_class: type[Message]
    response_class: type[Message]
    pool: DescriptorPool

    @property
    def durable(self) -> bool:
        """Whether its shape can be a task."""
        return self.kind in descriptors.DURABLE_KINDS

    @property
    def request_streaming(self) -> bool:
        """Whether it takes a stream of requests."""
        return self.kind in (fleet_pb2.METHOD_KIND_CLIENT_STREAMING, fleet_pb2.METHOD_KIND_BIDI_STREAMING)

    @property
    def response_streaming(self) -> bool:
        """Whether it answers with a stream of responses."""
        return self.kind in (fleet_pb2.METHOD_KIND_SERVER_STREAMING, fleet_pb2.METHOD_KIND_BIDI_STREAMING)

    def request_from_json(self, text: str) -> bytes:
        """A serialized request from JSON text, by protobuf's JSON mapping; "" is an empty request.

        Raises:
            weft.rpc.errors.InvalidArgument: the text is not JSON, or does not fit the message; `field` says where.
        """
        return json_form.parse(text, self.request_class, self.pool)

    def request_to_json(self, payload: bytes, secrets: SecretFields | None = None) -> Any:
        """A serialized request as a JSON value: a dict, except for well-known types such as StringValue.

        Args:
            secrets: the fields whose values are left out; None: all values are shown.

        Raises:
            weft.rpc.errors.InvalidArgument: the bytes do not parse as the request's type.
        """
        return json_form.render(payload, self.request_class, self.pool, secrets)

    def response_to_json(self, payload: bytes, secrets: SecretFields | None = None) -> Any:
        """A serialized response as a JSON value, as `request_to_json`."""
        return json_form.render(payload, self.response_class, self.pool, secrets)


@dataclass(frozen=True, slots=True, eq=False)
class ResolvedMessage:
    """A message type with its class, which is of a descriptor pool of its own."""

    name: str
    message_class: type[Message]
    pool: DescriptorPool

    def from_json(self, text: str) -> bytes:
        """A serialized message from JSON text, as `ResolvedMethod.request_from_json`."""
        return json_form.parse(text, self.message_class, self.pool)

    def to_json(self, payload: bytes, secrets: SecretFields | None = None) -> Any:
        """A serialized message as a JSON value, as `ResolvedMethod.request_to_json`."""
        return json_form.render(payload, self.message_class, self.pool, secrets)


class ContractReader:
    """Reads a server's contract, over a channel that the caller owns.

    Every method raises:
        weft.rpc.errors.Unimplemented: the server has no reflection.
        weft.rpc.errors.Unavailable, DeadlineExceeded and others: the call of reflection failed.
    """

    def __init__(self, channel: grpc.aio.Channel, *, timeout_s: float = 10.0) -> None:
        self._channel = channel
        self._timeout_s = timeout_s
        # The path of the reflection version that the server has. None: not known yet.
        self._path: str | None = None

    async def methods(self, *, reserved: bool = False) -> list[MethodEntry]:
        """The methods of all services, sorted by service. With `reserved`, also those of weft's own services, health and reflection."""

        async def read(stream: _ReflectionStream) -> list[MethodEntry]:
            services = [s for s in await stream.services() if reserved or not names.is_reserved(s)]
            return [entry for service in services for entry in _entries(service, await stream.files(service))]

        return await self._on_stream(read)

    async def files(self) -> dict[str, list[FileDescriptorProto]]:
        """The files of each service, including imports. Without weft's own services, health and reflection."""

        async def read(stream: _ReflectionStream) -> dict[str, list[FileDescriptorProto]]:
            services = await stream.services()
            return {name: await stream.files(name) for name in services if not names.is_reserved(name)}

        return await self._on_stream(read)

    async def resolve(self, name: str) -> ResolvedMethod:
        """The method "pkg.Service/Method".

        Raises:
            weft.rpc.errors.NotFound: there is no such method (METHOD_UNKNOWN); the message names similar ones.
        """

        async def read(stream: _ReflectionStream) -> list[FileDescriptorProto]:
            return await stream.files(name.rpartition("/")[0])

        try:
            files = await self._on_stream(read)
        except errors.NotFound:
            files = []
        pool = descriptors.build_pool(files)
        method = descriptors.find_method(pool, name)
        if method is None:
            raise await self._unknown(name)
        return ResolvedMethod(
            name=name,
            kind=descriptors.method_kind(method),
            request_class=descriptors.message_class(method.input_type),
            response_class=descriptors.message_class(method.output_type),
            pool=pool,
        )

    async def resolve_message(self, name: str) -> ResolvedMessage:
        """A message type, by its full name.

        Raises:
            weft.rpc.errors.NotFound: there is none of this name.
        """

        async def read(stream: _ReflectionStream) -> list[FileDescriptorProto]:
            return await stream.files(name)

        pool = descriptors.build_pool(await self._on_stream(read))
        try:
            found = pool.FindMessageTypeByName(name)
        except KeyError:
            raise refusals.event_type_unknown(name) from None
        return ResolvedMessage(name, descriptors.message_class(found), pool)

    async def message_types(self) -> set[str]:
        """Full names of the message types in the files of hosted services, without those of protobuf itself."""
        found: set[str] = set()
        for files in (await self.files()).values():
            for file in files:
                if not file.package.startswith("google."):
                    found.update(_message_names(file.message_type, file.package))
        return found

    async def _unknown(self, name: str) -> errors.NotFound:
        known = [entry.name for entry in await self.methods()]
        return refusals.method_unknown(names.unknown_method(name, known), method=name, called=False)

    async def _on_stream(self, read: Callable[[_ReflectionStream], Awaitable[_T]]) -> _T:
        """Run `read` on a new reflection stream, of the version that the server has."""
        path = self._path = self._path or await self._find_path()
        call = self._channel.stream_stream(path, **_CODEC)(timeout=self._timeout_s)
        try:
            result = await read(_ReflectionStream(call))
            await call.done_writing()
            return result
        except grpc.aio.AioRpcError as error:
            raise errors.from_call(error) from None
        finally:
            call.cancel()

    async def _find_path(self) -> str:
        """The path of reflection v1, or of v1alpha if the server does not have v1.

        It asks with a single request: if a server refuses a stream while a request is written, grpc.aio may report INTERNAL
        instead of the refusal (grpc/grpc#36066).
        """
        for path in _PATHS:
            question = pb.ServerReflectionRequest(list_services="*")
            call = self._channel.unary_stream(path, **_CODEC)(question, timeout=self._timeout_s)
            try:
                await call.read()
            except grpc.aio.AioRpcError as error:
                if error.code() is not grpc.StatusCode.UNIMPLEMENTED:
                    raise errors.from_call(error) from None
            else:
                return path
            finally:
                call.cancel()
        raise NoReflection("the server has no reflection: its methods cannot be listed")


class NoReflection(errors.Unimplemented):
    """The server has no reflection."""


class ReflectionFailed(errors.Internal):
    """The server's reflection gives invalid answers."""


class _ReflectionStream:
    """Questions and answers on one reflection stream, one at a time."""

    def __init__(self, call: grpc.aio.StreamStreamCall[Any, Any]) -> None:
        self._call = call
        self._read_bytes = 0

    async def services(self) -> list[str]:
        answer = await self._ask(pb.ServerReflectionRequest(list_services="*"))
        return sorted(service.name for service in answer.list_services_response.service)

    async def files(self, symbol: str) -> list[FileDescriptorProto]:
        """The file that defines a symbol, and its imports. Some servers send imports only on request."""
        answer = await self._ask(pb.ServerReflectionRequest(file_containing_symbol=symbol))
        files = _by_name(answer)
        missing = deque(_imports(files.values()) - files.keys())
        while missing:
            name = missing.popleft()
            if name in files:
                continue
            if len(files) >= MAX_FILES:
                raise ReflectionFailed(f"{symbol} needs more than {MAX_FILES} files: the most that are read")
            more = _by_name(await self._ask(pb.ServerReflectionRequest(file_by_filename=name)))
            if name not in more:
                raise ReflectionFailed(f"reflection answers a question for {name} without that file")
            # The first file of a name is kept: the first answer's files belong together.
            files = more | files
            missing.extend(_imports(more.values()) - files.keys())
        return list(files.values())

    async def _ask(self, question: pb.ServerReflectionRequest) -> pb.ServerReflectionResponse:
        # The write fails if the call has ended; then the read has the status.
        with contextlib.suppress(asyncio.InvalidStateError):
            await self._call.write(question)
        serialized = await self._call.read()
        if not isinstance(serialized, bytes):
            raise ReflectionFailed("the server ended the reflection stream without an answer")
        self._read_bytes += len(serialized)
        if self._read_bytes > MAX_FILES_BYTES:
            raise ReflectionFailed(
                f"reflection answers with more than {MAX_FILES_BYTES} bytes: the most that are read"
            )
        try:
            answer = pb.ServerReflectionResponse.FromString(serialized)
        except DecodeError:
            raise ReflectionFailed("the server answers with bytes that are no answer of reflection") from None
        if answer.HasField("error_response"):
            failure = answer.error_response
            raise errors.from_status(
                status_pb2.Status(code=failure.error_code, message=failure.error_message)
            )
        return answer


def _message_names(types: Iterable[DescriptorProto], scope: str) -> Iterator[str]:
    for each in types:
        if not each.options.map_entry:
            name = f"{scope}.{each.name}" if scope else each.name
            yield name
            yield from _message_names(each.nested_type, name)


def _by_name(answer: pb.ServerReflectionResponse) -> dict[str, FileDescriptorProto]:
    serialized = answer.file_descriptor_response.file_descriptor_proto
    try:
        files = [descriptors.PlainFileProto.FromString(file) for file in serialized]
    except DecodeError:
        raise ReflectionFailed("reflection answers with bytes that are not a descriptor") from None
    if any(isinstance(name, bytes) for file in files for name in _texts(file)):
        # Descriptors are proto2: a string that is not UTF-8 is bytes in Python.
        raise ReflectionFailed("reflection answers with a descriptor that has a name which is not UTF-8")
    return {file.name: file for file in files}


def _texts(file: FileDescriptorProto) -> Iterator[str]:
    """What is read of a file as text."""
    yield from (file.name, file.package, *file.dependency)
    for service in file.service:
        yield service.name
        for method in service.method:
            yield from (method.name, method.input_type, method.output_type)


def _imports(files: Iterable[FileDescriptorProto]) -> set[str]:
    return {name for file in files for name in file.dependency}


def _entries(service_name: str, files: Iterable[FileDescriptorProto]) -> list[MethodEntry]:
    entries: list[MethodEntry] = []
    for file in files:
        for service in file.service:
            if (f"{file.package}.{service.name}" if file.package else service.name) != service_name:
                continue
            entries += [
                MethodEntry(
                    name=f"{service_name}/{method.name}",
                    kind=descriptors.method_kind(method),
                    request_type=method.input_type.removeprefix("."),
                    response_type=method.output_type.removeprefix("."),
                    may_run_twice=descriptors.may_run_twice(method),
                    mode=policy_options.mode_of(service, method),
                )
                for method in service.method
            ]
    return entries
