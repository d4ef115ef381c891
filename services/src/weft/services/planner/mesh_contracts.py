"""The contracts that a mesh hosts, read by reflection: its methods, with one descriptor pool for those that a graph uses."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from google.protobuf.descriptor import Descriptor, MethodDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import Message

from weft.rpc.contracts import descriptors
from weft.rpc.contracts.contract_reader import ContractReader
from weft.rpc.contracts.payload_rules import PayloadRules

if TYPE_CHECKING:
    from weft.client import Mesh


class MeshContracts:
    """The methods of some services, and what is known of all others.

    Args:
        files: the files of each service of the mesh, with their imports.
        services: those whose methods are used; None: all. Of two services with different files of one name, the later one is left out.
    """

    def __init__(
        self, files: Mapping[str, Sequence[FileDescriptorProto]], services: Collection[str] | None = None
    ) -> None:
        self._files = files
        # Services that cannot be used together with the others, and the file that differs.
        self.conflicts: dict[str, str] = {}
        merged: dict[str, FileDescriptorProto] = {}
        for service in sorted(files.keys() if services is None else files.keys() & set(services)):
            different = next((each.name for each in files[service] if _differs(each, merged)), None)
            if different is not None:
                self.conflicts[service] = different
            else:
                merged |= {each.name: each for each in files[service]}
        self.pool: DescriptorPool = descriptors.build_pool(merged.values())
        self.rules = PayloadRules(self.pool)
        self._used = files.keys() if services is None else set(services)

    def find(self, method: str) -> MethodDescriptor | None:
        """The method "pkg.Service/Method" of a used service; None: there is none."""
        if method.rpartition("/")[0] not in self._used:
            return None
        return descriptors.find_method(self.pool, method)

    def method_names(self) -> list[str]:
        """The methods of all services of the mesh, in order."""
        return sorted(
            f"{service}/{method.name}"
            for service, files in self._files.items()
            for file in files
            for each in file.service
            if (f"{file.package}.{each.name}" if file.package else each.name) == service
            for method in each.method
        )

    def message_type(self, name: str) -> Descriptor:
        """A message type of the pool.

        Raises:
            KeyError: there is none.
        """
        found: Descriptor = self.pool.FindMessageTypeByName(name)
        return found


def _differs(file: FileDescriptorProto, merged: Mapping[str, FileDescriptorProto]) -> bool:
    return file.name in merged and merged[file.name] != file


async def read_contracts(mesh: Mesh, methods: Iterable[str] | None = None) -> MeshContracts:
    """The contracts of a mesh.

    Args:
        methods: those that are used; None: all.

    Raises:
        weft.rpc.errors.WeftError: they cannot be read.
    """
    files = await ContractReader(mesh.channel()).files()
    services = None if methods is None else {each.rpartition("/")[0] for each in methods}
    return MeshContracts(files, services)


def message_of(message_type: Descriptor, payload: bytes) -> Message:
    """A message of a pool of its own.

    Raises:
        google.protobuf.message.DecodeError: the bytes are no such message.
    """
    return descriptors.message_class(message_type).FromString(payload)


def is_stream(method: Any) -> bool:
    """Whether it takes or gives a stream."""
    return bool(method.client_streaming or method.server_streaming)
