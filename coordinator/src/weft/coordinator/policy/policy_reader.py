"""Reads task policies from the descriptors of a contract: `(weft.v1.task)` of a method, `(weft.v1.tasks)` of its service.

The options are read from their bytes, by number: the agent's files need not contain weft/v1/options.proto, and may contain
another version of it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from google.protobuf import unknown_fields
from google.protobuf.descriptor import FieldDescriptor, FileDescriptor, MethodDescriptor
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import DecodeError, Message

from weft.coordinator.policy.fallbacks import fallback_fault
from weft.coordinator.policy.method_policy import MethodPolicy
from weft.coordinator.policy.policy_compiler import compiled
from weft.rpc import refusals
from weft.rpc.contracts.descriptors import PlainFileProto, find_method, method_name
from weft.rpc.contracts.policy_options import (
    METHOD_OPTION,
    SERVICE_OPTION,
    in_force,
    is_foreign,
    merged,
)
from weft.rpc.contracts.raw_options import option_values
from weft.rpc.errors import InvalidArgument
from weft.rpc.process.logs import get_logger
from weft.rpc.task_policy.policy_checks import check_layer
from weft.v1 import options_pb2

log = get_logger(__name__)


class PolicyReader:
    """Reads the policies of one contract.

    Args:
        pool: the contract's own pool.
    """

    def __init__(self, pool: DescriptorPool) -> None:
        self._pool = pool
        # Raw options of methods and services, by full name with a dot; read a file at a time.
        self._raw: dict[str, tuple[bytes, ...]] = {}
        self._read_files: set[str] = set()
        self._foreign = {
            extension.full_name: is_foreign(pool, extension) for extension in (METHOD_OPTION, SERVICE_OPTION)
        }

    def read(self, method: MethodDescriptor) -> MethodPolicy | None:
        """The checked policy of a method; None: the contract has no options for it.

        Raises:
            InvalidArgument: CONTRACT_INVALID; the message names method and option.
        """
        policy, own = self._options(method)
        if policy is None:
            return None
        try:
            check_layer(policy, method)
            made = compiled(policy, method)
            if made.fallback and (fault := fallback_fault(method, made.fallback, self._find)):
                raise refusals.invalid_field(f"fallback: {fault}", field="fallback")
        except InvalidArgument as error:
            raise _invalid(method, own, error.field or "", error.message) from None
        return made

    def _find(self, name: str) -> tuple[MethodDescriptor, str] | None:
        found = find_method(self._pool, name)
        if found is None:
            return None
        policy, _ = self._options(found)
        return found, "" if policy is None else policy.fallback

    def _options(
        self, method: MethodDescriptor
    ) -> tuple[options_pb2.TaskPolicy | None, options_pb2.TaskPolicy | None]:
        """A method's options with those of its service below them, and its own."""
        service = method.containing_service
        self._read_file(service.file)
        shared = self._parse(method, SERVICE_OPTION, service.full_name)
        own = self._parse(method, METHOD_OPTION, f"{service.full_name}.{method.name}")
        return in_force(shared, own, method), own

    def _read_file(self, described: FileDescriptor) -> None:
        if described.name in self._read_files:
            return
        self._read_files.add(described.name)
        # Only now: protobuf serializes the file anew each time.
        file = PlainFileProto.FromString(described.serialized_pb)
        prefix = f"{file.package}." if file.package else ""
        for service in file.service:
            self._keep(f"{prefix}{service.name}", service.options, SERVICE_OPTION)
            for method in service.method:
                self._keep(f"{prefix}{service.name}.{method.name}", method.options, METHOD_OPTION)

    def _keep(self, name: str, options: Message, extension: FieldDescriptor) -> None:
        if self._foreign[extension.full_name]:
            return
        found = option_values(options, extension.number)
        if found:
            self._raw[name] = found

    def _parse(
        self, method: MethodDescriptor, extension: FieldDescriptor, name: str
    ) -> options_pb2.TaskPolicy | None:
        try:
            policy = merged(self._raw.get(name, ()))
        except DecodeError:
            raise refusals.contract_invalid(
                f"{method_name(method)}: option ({extension.full_name}) of {name} is not a weft.v1.TaskPolicy"
            ) from None
        if policy is None:
            return None
        if unknown := sorted({field.field_number for field in _unknown(policy)}):
            log.warning(
                "contract.options_unknown",
                method=method_name(method),
                fields=unknown,
                effect="this coordinator is older than these options, and ignores them",
            )
        return policy


def _unknown(message: Message) -> Iterable[Any]:
    # The stub does not show that a set can be iterated over.
    found: Any = unknown_fields.UnknownFieldSet(message)
    return list(found)


def _invalid(
    method: MethodDescriptor, own: options_pb2.TaskPolicy | None, field: str, message: str
) -> InvalidArgument:
    """A refusal that names the method, and the option at which the value was set."""
    name = field.partition(".")[0]
    is_own = own is not None and any(descriptor.name == name for descriptor, _ in own.ListFields())
    extension = METHOD_OPTION if is_own else SERVICE_OPTION
    return refusals.contract_invalid(
        f"{method_name(method)}: option ({extension.full_name}): {message}",
        field=f"({extension.full_name}).{field}",
    )
