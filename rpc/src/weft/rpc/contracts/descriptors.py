"""Descriptors of contracts: sets of files, their digest, pools, and methods.

Agents and coordinators know a contract by its digest. So the bytes of a set depend on its files alone, and not on the pool or on
the order in which services were added. Nothing here reads or changes the process-wide descriptor pool.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from graphlib import CycleError, TopologicalSorter
from typing import Any

from google.protobuf import descriptor_pb2
from google.protobuf.descriptor import Descriptor, FileDescriptor, MethodDescriptor
from google.protobuf.descriptor_pb2 import (
    FileDescriptorProto,
    FileDescriptorSet,
    MethodDescriptorProto,
    MethodOptions,
)
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import Message

from weft.rpc import refusals
from weft.rpc.contracts.descriptor_shapes import shape_fault, weak_field
from weft.rpc.errors import InvalidArgument
from weft.v1 import fleet_pb2

# The shapes of methods that can be tasks: those with one request.
DURABLE_KINDS = frozenset({fleet_pb2.METHOD_KIND_UNARY, fleet_pb2.METHOD_KIND_SERVER_STREAMING})

# Levels of `idempotency_level` by which a method may run twice for one call.
_REPEATABLE = frozenset({MethodOptions.NO_SIDE_EFFECTS, MethodOptions.IDEMPOTENT})

_MESSAGE_METACLASS: Any = type(FileDescriptorSet)


def file_descriptor_set(roots: Iterable[FileDescriptor]) -> bytes:
    """A serialized FileDescriptorSet of these files and all their imports, imports first.

    Raises:
        InvalidArgument: two different files have the same name (they are of different pools).
    """
    files: dict[str, FileDescriptorProto] = {}
    waiting = list(roots)
    while waiting:
        file = waiting.pop()
        proto = PlainFileProto.FromString(file.serialized_pb)
        if file.name not in files:
            files[file.name] = proto
            waiting.extend(file.dependencies)
        elif files[file.name] != proto:
            raise _invalid(f"two different files are named {file.name}")
    return serialized_set(files.values())


def serialized_set(files: Iterable[FileDescriptorProto]) -> bytes:
    """The serialized FileDescriptorSet of these files, which are of `PlainFileProto`, imports first."""
    by_name = {file.name: file for file in files}
    return PlainFileSet(file=_imports_first(by_name)).SerializeToString(deterministic=True)


def digest(file_descriptor_set: bytes) -> str:
    """The digest of a contract: the SHA-256 of its set's bytes, in hex."""
    return hashlib.sha256(file_descriptor_set).hexdigest()


def build_pool(files: Iterable[FileDescriptorProto]) -> DescriptorPool:
    """A new pool with these files, which may be in any order.

    Raises:
        InvalidArgument: an import is missing or cyclic, two different files have the same name, or a file is invalid.
    """
    by_name: dict[str, FileDescriptorProto] = {}
    for file in files:
        # Descriptors are proto2: a string that is not UTF-8 is bytes in Python.
        if any(isinstance(name, bytes) for name in (file.name, *file.dependency)):
            raise _invalid(f"a file's name is not UTF-8: {file.name!r} or one of its imports")
        if by_name.setdefault(file.name, file) != file:
            raise _invalid(f"two different files are named {file.name!r}")
    for file in by_name.values():
        for name in file.dependency:
            if name not in by_name:
                raise _invalid(f"{file.name!r} imports {name!r}, which is not in the set")
    pool = DescriptorPool()
    for file in _imports_first(by_name):
        try:
            pool.AddSerializedFile(file.SerializeToString())
        except TypeError as error:  # protobuf raises it for every fault of a descriptor
            raise _invalid(f"{file.name!r} is not a valid file: {error}") from None
        if field := weak_field(file):
            raise refusals.contract_invalid(
                f"{field}: the field has the option weak, which no implementation has today: remove it",
                field=field,
            )
        if fault := shape_fault(pool.FindFileByName(file.name)):
            raise _invalid(f"{file.name!r} is not a valid file: {fault}")
    return pool


def method_name(method: MethodDescriptor) -> str:
    """A method's full name in weft's form: "pkg.Service/Method"."""
    return f"{method.containing_service.full_name}/{method.name}"


def method_kind(method: MethodDescriptor | MethodDescriptorProto) -> int:
    """A method's shape, as a number of `weft.v1.MethodKind`."""
    match method.client_streaming, method.server_streaming:
        case False, False:
            return fleet_pb2.METHOD_KIND_UNARY
        case False, _:
            return fleet_pb2.METHOD_KIND_SERVER_STREAMING
        case _, False:
            return fleet_pb2.METHOD_KIND_CLIENT_STREAMING
        case _:
            return fleet_pb2.METHOD_KIND_BIDI_STREAMING


def may_run_twice(method: MethodDescriptor | MethodDescriptorProto) -> bool:
    """Whether the contract says, by protobuf's `idempotency_level`, that running a call twice does no harm."""
    if isinstance(method, MethodDescriptor):
        proto = PlainMethodProto()
        method.CopyToProto(proto)
        method = proto
    return method.options.idempotency_level in _REPEATABLE


def find_method(pool: DescriptorPool, name: str) -> MethodDescriptor | None:
    """The method "pkg.Service/Method" in a pool. None: it is not there."""
    service_name, _, simple_name = name.rpartition("/")
    try:
        service = pool.FindServiceByName(service_name)
    except KeyError:
        return None
    return service.methods_by_name.get(simple_name)


def message_class(descriptor: Descriptor) -> type[Message]:
    """The class of a message type, which may be of any pool.

    Not by `message_factory.GetMessageClass`: that makes the classes of all messages within, recursively, and keeps none of them,
    so that its time is exponential in their depth. upb, protobuf's implementation, makes these classes on demand.
    """
    members = {"DESCRIPTOR": descriptor, "__module__": descriptor.file.package}
    made: type[Message] = _MESSAGE_METACLASS(descriptor.name, (Message,), members)
    return made


def _without_extensions() -> DescriptorPool:
    pool = DescriptorPool()
    file: Any = descriptor_pb2.DESCRIPTOR
    pool.AddSerializedFile(file.serialized_pb)
    return pool


_PLAIN = _without_extensions()


def _plain(name: str) -> Any:
    return message_class(_PLAIN.FindMessageTypeByName(f"google.protobuf.{name}"))


# Descriptors whose options are not parsed. Parsed by the usual classes, a file with an option of its own under one of weft's
# numbers is no FileDescriptorProto at all.
PlainFileSet: type[FileDescriptorSet] = _plain("FileDescriptorSet")
PlainFileProto: type[FileDescriptorProto] = _plain("FileDescriptorProto")
PlainMethodProto: type[MethodDescriptorProto] = _plain("MethodDescriptorProto")


def _imports_first(files: Mapping[str, FileDescriptorProto]) -> list[FileDescriptorProto]:
    graph = {name: sorted(files[name].dependency) for name in sorted(files)}
    try:
        return [files[name] for name in TopologicalSorter(graph).static_order()]
    except CycleError as error:
        raise _invalid(f"files import each other in a circle: {' -> '.join(error.args[1])}") from None


def _invalid(message: str) -> InvalidArgument:
    return refusals.contract_invalid(message)
