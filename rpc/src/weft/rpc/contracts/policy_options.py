"""weft's options in descriptors: `(weft.v1.task)` of a method, `(weft.v1.tasks)` of a service.

They are read as `raw_options`: a file need not know weft/v1/options.proto, and may know another version of it.
"""

from __future__ import annotations

from typing import Any

from google.protobuf.descriptor import FieldDescriptor, FileDescriptor, MethodDescriptor
from google.protobuf.descriptor_pb2 import MethodDescriptorProto, MethodOptions, ServiceDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import DecodeError, Message

from weft.rpc.contracts import raw_options
from weft.rpc.contracts.descriptors import DURABLE_KINDS, PlainFileProto, method_kind
from weft.rpc.contracts.raw_options import option_values
from weft.v1 import options_pb2

METHOD_OPTION = options_pb2.task
SERVICE_OPTION = options_pb2.tasks
# Options that mean something for direct calls. A service's other ones are not for its methods with a stream of requests.
FOR_DIRECT = frozenset({"mode", "slot_cost", "check_rules"})


# -- reading ----------------------------------------------------------------------------------------------------


def is_foreign(pool: DescriptorPool, extension: FieldDescriptor) -> bool:
    """Whether a contract uses the number of weft's option for another one."""
    # The stub does not know that each extension extends something.
    extended: Any = extension.containing_type
    return raw_options.is_foreign(pool, extended.full_name, extension.number, extension.full_name)


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


def policies_of(file: FileDescriptor) -> dict[str, options_pb2.TaskPolicy]:
    """The policy of each method that has one, with its service's below its own, by "pkg.Service/Method".

    Values that are no policy are left out: coordinators refuse them.
    """
    foreign = {e.full_name: is_foreign(file.pool, e) for e in (METHOD_OPTION, SERVICE_OPTION)}

    def read(options: Message, extension: FieldDescriptor) -> options_pb2.TaskPolicy | None:
        try:
            return None if foreign[extension.full_name] else merged(option_values(options, extension.number))
        except DecodeError:
            return None

    found: dict[str, options_pb2.TaskPolicy] = {}
    proto = PlainFileProto.FromString(file.serialized_pb)
    for service in proto.service:
        shared = read(service.options, SERVICE_OPTION)
        for method in service.method:
            policy = in_force(shared, read(method.options, METHOD_OPTION), method)
            if policy is not None:
                found[f"{proto.package}.{service.name}/{method.name}".lstrip(".")] = policy
    return found


def mode_of(service: ServiceDescriptorProto, method: MethodDescriptorProto) -> options_pb2.CallMode:
    """How a method's calls are made by default, by its contract; UNSPECIFIED: it does not say, or not legibly."""
    try:
        shared = merged(option_values(service.options, SERVICE_OPTION.number))
        own = merged(option_values(method.options, METHOD_OPTION.number))
    except DecodeError:
        return options_pb2.CALL_MODE_UNSPECIFIED
    policy = in_force(shared, own, method)
    return options_pb2.CALL_MODE_UNSPECIFIED if policy is None else policy.mode


# -- layers -----------------------------------------------------------------------------------------------------


def in_force(
    shared: options_pb2.TaskPolicy | None,
    own: options_pb2.TaskPolicy | None,
    method: MethodDescriptor | MethodDescriptorProto,
) -> options_pb2.TaskPolicy | None:
    """A method's options with those of its service below them. None: there are none."""
    if shared is not None:
        shared = suitable(shared, method)
    if shared is None or own is None:
        return own if shared is None else shared
    return layered(shared, own)


def suitable(
    policy: options_pb2.TaskPolicy, method: MethodDescriptor | MethodDescriptorProto
) -> options_pb2.TaskPolicy | None:
    """What options for many methods say for this one: a method with a stream of requests has none for tasks, and one with a
    stream of responses no cache."""
    streams = method_kind(method) not in DURABLE_KINDS
    if not streams and not (method.server_streaming and policy.HasField("cache")):
        return policy
    result = options_pb2.TaskPolicy()
    result.CopyFrom(policy)
    result.ClearField("cache")
    for field, _ in policy.ListFields() if streams else ():
        durable = field.name == "mode" and policy.mode == options_pb2.CALL_MODE_DURABLE
        if durable or field.name not in FOR_DIRECT:
            result.ClearField(field.name)
    return result if result.ListFields() else None


def layered(under: options_pb2.TaskPolicy, over: options_pb2.TaskPolicy) -> options_pb2.TaskPolicy:
    """Options with a second layer over them: each field that `over` sets is used as a whole."""
    result = options_pb2.TaskPolicy()
    result.CopyFrom(under)
    for descriptor, _ in over.ListFields():
        result.ClearField(descriptor.name)
    result.MergeFrom(over)
    return result


# -- writing ----------------------------------------------------------------------------------------------------


def write(method: MethodDescriptorProto, policy: options_pb2.TaskPolicy, *, idempotent: bool) -> None:
    """Replace a method's own options.

    Args:
        idempotent: set protobuf's `idempotency_level`, too, unless the method has one.

    Raises:
        DecodeError: the method has another option under weft's number.
    """
    options = MethodOptions.FromString(method.options.SerializeToString())
    if policy.ListFields():
        # The generated stub does not say which message the extension is for.
        extension: Any = METHOD_OPTION
        options.Extensions[extension].CopyFrom(policy)
    if idempotent and not options.HasField("idempotency_level"):
        options.idempotency_level = MethodOptions.IDEMPOTENT
    method.options.ParseFromString(options.SerializeToString(deterministic=True))
