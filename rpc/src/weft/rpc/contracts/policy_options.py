"""weft's options in descriptors: `(weft.v1.task)` of a method, `(weft.v1.tasks)` of a service.

They are read by number, as bytes: a file need not know weft/v1/options.proto, and may know another version of it. The messages
here are those of `PlainFileProto`, which parse no options.
"""

from __future__ import annotations

from typing import Any

from google.protobuf import unknown_fields
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.descriptor_pb2 import MethodDescriptorProto, MethodOptions, ServiceDescriptorProto
from google.protobuf.message import Message

from weft.v1 import options_pb2

METHOD_OPTION = options_pb2.task
SERVICE_OPTION = options_pb2.tasks
# The wire type of a message.
_LENGTH = 2


def option_parts(options: Message, extension: FieldDescriptor) -> tuple[bytes, ...]:
    """The serialized values of an option, in order. By protobuf's rules they are to be merged; mostly there is one.

    Args:
        options: the options of a method or service.
    """
    # The stub does not show that a set can be iterated over.
    found: Any = unknown_fields.UnknownFieldSet(options)
    return tuple(
        field.data for field in found if field.field_number == extension.number and field.wire_type == _LENGTH
    )


def merged(parts: tuple[bytes, ...]) -> options_pb2.TaskPolicy | None:
    """The policy in an option's values; None: there are none.

    Raises:
        DecodeError: they are no policy.
    """
    if not parts:
        return None
    policy = options_pb2.TaskPolicy()
    for part in parts:
        policy.MergeFromString(part)
    return policy


def of_method(method: MethodDescriptorProto) -> options_pb2.TaskPolicy | None:
    """A method's own options.

    Raises:
        DecodeError: they are no policy.
    """
    return merged(option_parts(method.options, METHOD_OPTION))


def of_service(service: ServiceDescriptorProto) -> options_pb2.TaskPolicy | None:
    """A service's options for all its methods.

    Raises:
        DecodeError: they are no policy.
    """
    return merged(option_parts(service.options, SERVICE_OPTION))


def write(method: MethodDescriptorProto, policy: options_pb2.TaskPolicy, *, may_run_twice: bool) -> None:
    """Replace a method's own options.

    Args:
        may_run_twice: set protobuf's `idempotency_level`, too, unless the method has one.

    Raises:
        DecodeError: the method's options have another one under weft's number.
    """
    options = MethodOptions.FromString(method.options.SerializeToString())
    if policy.ListFields():
        # The generated stub does not say which message the extension is for.
        extension: Any = METHOD_OPTION
        options.Extensions[extension].CopyFrom(policy)
    if may_run_twice and not options.HasField("idempotency_level"):
        options.idempotency_level = MethodOptions.IDEMPOTENT
    method.options.ParseFromString(options.SerializeToString(deterministic=True))
