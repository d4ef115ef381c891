"""Server reflection, v1 and v1alpha, for the services that are hosted now and for the server's own.

Every question on a stream is answered, an invalid one with an error response. The next question is read only when the client
has taken the answer, so that a stream holds one question. If a client reads a contract by several questions on one stream, all
files come from the same contract: different contracts may have different files of the same name.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from typing import Any, Protocol

import grpc
from google.protobuf import descriptor_pool, text_format
from google.protobuf.descriptor import FileDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet
from google.protobuf.descriptor_pool import DescriptorPool
from google.rpc import error_details_pb2
from grpc_reflection.v1alpha import reflection_pb2 as pb

from weft.rpc.contracts import descriptors
from weft.rpc.contracts.health_contract import health_file
from weft.rpc.network.channel import BATCH_BYTES
from weft.rpc.network.routes import Routes

_SERVICES = ("grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection")


class ServiceFiles(Protocol):
    """A contract: the files that describe some hosted services."""

    @property
    def pool(self) -> DescriptorPool:
        """The pool with these files."""
        ...


class HostedServices(Protocol):
    """The services that a server hosts now."""

    def services(self) -> Iterable[str]:
        """Full names of the services."""
        ...

    def of_service(self, service: str) -> ServiceFiles | None:
        """The contract of a service. None: it is not hosted."""
        ...

    def in_force(self) -> Iterable[ServiceFiles]:
        """All contracts of hosted services."""
        ...


class Reflection:
    """Serves both reflection services.

    Args:
        hosted: the hosted services.
        own: full names of the server's own services. Their generated code must be imported.
        files: names of further files of its own, such as those of messages that no service names. Theirs too.
    """

    def __init__(self, hosted: HostedServices, own: Sequence[str], files: Iterable[str] = ()) -> None:
        self._hosted = hosted
        self._own = (*own, *_SERVICES)
        self._own_pool = _pool_of(own, files)
        # The two services have the same messages on the wire.
        self._handler = grpc.stream_stream_rpc_method_handler(
            self._answer_stream,
            request_deserializer=pb.ServerReflectionRequest.FromString,
            response_serializer=pb.ServerReflectionResponse.SerializeToString,
        )

    def serve_on(self, routes: Routes) -> None:
        for service in _SERVICES:
            routes.add(f"/{service}/ServerReflectionInfo", self._handler)

    async def _answer_stream(
        self, questions: AsyncIterator[pb.ServerReflectionRequest], _context: Any
    ) -> AsyncIterator[pb.ServerReflectionResponse]:
        last: DescriptorPool | None = None
        async for question in questions:
            answer, last = self._answer(question, last)
            answer.valid_host = question.host
            answer.original_request.CopyFrom(question)
            yield answer

    def _answer(
        self, question: pb.ServerReflectionRequest, last: DescriptorPool | None
    ) -> tuple[pb.ServerReflectionResponse, DescriptorPool | None]:
        """The answer, and the pool in which later questions look for files first."""
        kind = question.WhichOneof("message_request")
        if kind == "list_services":
            names = sorted({*self._own, *self._hosted.services()})
            services = [pb.ServiceResponse(name=name) for name in names]
            listed = pb.ListServiceResponse(service=services)
            return pb.ServerReflectionResponse(list_services_response=listed), last
        if kind == "all_extension_numbers_of_type":
            return self._extension_numbers(question.all_extension_numbers_of_type), last
        if kind == "file_by_filename":
            file = self._file(question.file_by_filename, last)
        elif kind == "file_containing_symbol":
            file = self._file_with_symbol(question.file_containing_symbol)
        elif kind == "file_containing_extension":
            extension = question.file_containing_extension
            file = self._file_with_extension(extension.containing_type, extension.extension_number)
        else:
            return _error(grpc.StatusCode.INVALID_ARGUMENT, "the request asks for nothing"), last
        if file is None:
            return _error(grpc.StatusCode.NOT_FOUND, f"there is no such {kind.rpartition('_')[2]}"), last
        return _files(file), file.pool

    # -- look-ups -----------------------------------------------------------------------------------------------

    def _pools(self, symbol: str = "") -> Iterator[DescriptorPool]:
        """The pools to look in, the best one first: for a service and its methods, the pool of the service's contract."""
        yield self._own_pool
        for service in (symbol, symbol.rpartition(".")[0]):
            if contract := self._hosted.of_service(service):
                yield contract.pool
        for contract in self._hosted.in_force():
            yield contract.pool

    def _file(self, name: str, last: DescriptorPool | None) -> FileDescriptor | None:
        for pool in (*([last] if last else []), *self._pools()):
            try:
                return pool.FindFileByName(name)
            except KeyError:
                continue
        return None

    def _file_with_symbol(self, symbol: str) -> FileDescriptor | None:
        parent, _, name = symbol.rpartition(".")
        for pool in self._pools(symbol):
            # Pools find every kind of symbol except methods.
            if method := descriptors.find_method(pool, f"{parent}/{name}"):
                return method.containing_service.file
            try:
                return pool.FindFileContainingSymbol(symbol)
            except KeyError:
                continue
        return None

    def _file_with_extension(self, type_name: str, number: int) -> FileDescriptor | None:
        for pool in self._pools(type_name):
            try:
                extended = pool.FindMessageTypeByName(type_name)
                extension = pool.FindExtensionByNumber(extended, number)
                return pool.FindFileContainingSymbol(extension.full_name)
            except KeyError:
                continue
        return None

    def _extension_numbers(self, type_name: str) -> pb.ServerReflectionResponse:
        numbers: set[int] = set()
        found = False
        for pool in self._pools(type_name):
            try:
                extended = pool.FindMessageTypeByName(type_name)
            except KeyError:
                continue
            found = True
            numbers.update(extension.number for extension in pool.FindAllExtensions(extended))
        if not found:
            return _error(grpc.StatusCode.NOT_FOUND, "there is no such type")
        response = pb.ExtensionNumberResponse(base_type_name=type_name, extension_number=sorted(numbers))
        return pb.ServerReflectionResponse(all_extension_numbers_response=response)


def _files(file: FileDescriptor) -> pb.ServerReflectionResponse:
    """A file and its imports, as far as one message has room. Clients ask for the missing files."""
    names = {file.name}
    serialized: list[bytes] = []
    size_bytes = 0
    waiting = [file]
    for current in waiting:  # it grows during the loop: breadth first
        content = current.serialized_pb
        size_bytes += len(content)
        if serialized and size_bytes > BATCH_BYTES:
            break
        serialized.append(content)
        waiting += [needed for needed in current.dependencies if needed.name not in names]
        names.update(needed.name for needed in current.dependencies)
    response = pb.FileDescriptorResponse(file_descriptor_proto=serialized)
    return pb.ServerReflectionResponse(file_descriptor_response=response)


def _error(code: grpc.StatusCode, message: str) -> pb.ServerReflectionResponse:
    response = pb.ErrorResponse(error_code=code.value[0], error_message=message)
    return pb.ServerReflectionResponse(error_response=response)


def _pool_of(own: Sequence[str], further: Iterable[str]) -> DescriptorPool:
    """A pool with the files of the server's own services, some further ones, and no others that this process has imported."""
    known = descriptor_pool.Default()
    files = [known.FindServiceByName(name).file for name in own]
    files += [known.FindFileByName(name) for name in further]
    # The standard error details too: generic clients look them up to print them.
    files += [known.FindFileByName(each.DESCRIPTOR.name) for each in (pb, error_details_pb2)]
    imported = FileDescriptorSet.FromString(descriptors.file_descriptor_set(files))
    newest = health_file()
    own_files = [newest if file.name == newest.name else file for file in imported.file]
    return descriptors.build_pool([*own_files, _reflection_v1()])


def _reflection_v1() -> FileDescriptorProto:
    """The file of reflection v1, which grpcio does not ship. It is v1alpha's file with another package."""
    v1alpha = FileDescriptorProto.FromString(pb.DESCRIPTOR.serialized_pb)
    text = text_format.MessageToString(v1alpha).replace("v1alpha", "v1")
    return text_format.Parse(text, FileDescriptorProto())
