"""An app's contract: from its reflection or, without reflection, from a file of descriptors.

weft's own services, health and reflection are left out: every server of weft has those itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import grpc.aio
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.protobuf.message import DecodeError

from weft.agent.errors import HostingError
from weft.rpc.contracts import descriptors
from weft.rpc.contracts.contract_reader import ContractReader
from weft.rpc.contracts.names import is_reserved
from weft.rpc.errors import Unimplemented, WeftError

READ_TIMEOUT_S = 5.0


@dataclass(frozen=True, slots=True, eq=False)
class AppContract:
    """The services of an app. Equal contracts have the same `digest`."""

    methods: Sequence[MethodDescriptor]
    digest: str

    @property
    def services(self) -> list[str]:
        """Full names, sorted."""
        return sorted({method.containing_service.full_name for method in self.methods})


async def by_reflection(channel: grpc.aio.Channel) -> AppContract:
    """Ask the app.

    Raises:
        HostingError: it has no reflection, or its answers make no contract; the message says what to do.
        WeftError: the app does not answer now.
    """
    reader = ContractReader(channel, timeout_s=READ_TIMEOUT_S)
    try:
        files = await reader.files()
    except Unimplemented:
        raise HostingError(
            "the app has no server reflection, so its methods are not known: enable reflection in it, or pass "
            "its descriptors with --descriptors FILE (protoc --include_imports -o FILE, or buf build -o FILE)"
        ) from None
    except WeftError as error:
        if error.code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED):
            raise
        raise HostingError(
            f"the app's reflection answers with an error ({error.code.name}: {error.message}): correct it, or pass "
            "--descriptors FILE"
        ) from None
    try:
        # A large one takes a while: heartbeats go on.
        return await asyncio.to_thread(_contract, files)
    except WeftError as error:
        raise HostingError(
            f"the app's reflection gives no valid contract ({error.message}): correct it, or pass --descriptors FILE"
        ) from None


def from_file(path: Path) -> AppContract:
    """Read a FileDescriptorSet. Every service in it counts as the app's.

    Raises:
        HostingError: the file cannot be read, or it makes no contract.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise HostingError(f"the descriptors in {path} cannot be read: {error.strerror}") from None
    try:
        files = descriptors.PlainFileSet.FromString(content).file
        names = [f"{file.package}.{each.name}".lstrip(".") for file in files for each in file.service]
        return _contract({name: files for name in names if not is_reserved(name)})
    except DecodeError:
        raise HostingError(
            f"{path} is not a FileDescriptorSet, as protoc --include_imports -o writes"
        ) from None
    except WeftError as error:
        raise HostingError(f"the descriptors in {path} make no contract: {error.message}") from None


def _contract(files: Mapping[str, Iterable[FileDescriptorProto]]) -> AppContract:
    """The contract of services, from the files behind each.

    Raises:
        WeftError: the files do not hold together, or there is no service.
    """
    unique: dict[str, FileDescriptorProto] = {}
    for each in files.values():
        for file in each:
            if unique.setdefault(file.name, file) != file:
                raise HostingError(f"two different files are named {file.name}")
    pool = descriptors.build_pool(unique.values())
    try:
        found = [pool.FindServiceByName(name) for name in sorted(files)]
    except KeyError as error:
        raise HostingError(f"no file describes a service that is listed: {error.args[0]}") from None
    methods = [method for service in found for method in service.methods]
    if not methods:
        raise HostingError("there is no service in it but health and reflection")
    contract = descriptors.file_descriptor_set(service.file for service in found)
    return AppContract(methods, descriptors.digest(contract))
