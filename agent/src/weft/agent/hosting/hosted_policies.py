"""The task policies of hosted methods: of their .proto, and of the program that hosts them.

A program's options are checked where it gives them. Its agent writes them into the contract that it registers, below those of the
.proto: so coordinators, reflection and digests know one kind of options.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence

from google.protobuf import descriptor_pb2, duration_pb2
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import DecodeError

from weft.agent.errors import HostingError
from weft.agent.hosting.functions import synthesize
from weft.agent.hosting.hosted_methods import HostedMethod
from weft.rpc.contracts import descriptors, names, policy_options
from weft.rpc.contracts.descriptors import PlainFileProto, PlainFileSet
from weft.rpc.errors import InvalidArgument
from weft.rpc.task_policy.method_options import MethodOptions, option_name, to_policy
from weft.rpc.task_policy.policy_checks import check, check_layer
from weft.rpc.task_policy.policy_layers import resolve
from weft.v1 import options_pb2

# Stands for all methods of a servicer.
ALL = "*"
# The file that a contract with options imports, with its own imports.
_OPTION_FILES = (descriptor_pb2.DESCRIPTOR, duration_pb2.DESCRIPTOR, options_pb2.DESCRIPTOR)


# -- the program's options --------------------------------------------------------------------------------------


def with_options(methods: Sequence[HostedMethod], options: Mapping[str, MethodOptions]) -> list[HostedMethod]:
    """The same methods with the options of their .proto, and of the program that hosts them.

    Args:
        options: by a method's name, simple or full; "*" stands for all of `methods`, below their own.

    Raises:
        HostingError: there is no such method or option, or the method cannot have the value; the message says what to do.
    """
    given = _by_name(methods, options)
    shared = given.pop(ALL, {})
    in_proto = in_protos(methods)
    return [
        _with_options(method, shared, given.get(method.name, {}), in_proto.get(method.name))
        for method in methods
    ]


def in_protos(methods: Iterable[HostedMethod]) -> dict[str, options_pb2.TaskPolicy]:
    """The policies that the .proto files of these methods have, by the name of the method."""
    files = {method.file.name: method.file for method in methods if method.file is not None}
    found: dict[str, options_pb2.TaskPolicy] = {}
    for file in files.values():
        found.update(policy_options.policies_of(file))
    return found


def _by_name(
    methods: Sequence[HostedMethod], options: Mapping[str, MethodOptions]
) -> dict[str, MethodOptions]:
    """Options by the full names of methods, or "*"."""
    known = {method.name for method in methods}
    simple = {name.partition("/")[2]: name for name in known}
    given: dict[str, MethodOptions] = {}
    for key, value in options.items():
        name = key if key in known or key == ALL else simple.get(key)
        if name is None:
            raise HostingError(
                f'options of {key!r}: {names.unknown_method(key, simple)} ("{ALL}" stands for all methods that the'
                " servicer implements)"
            )
        if name in given:
            raise HostingError(f"options: {name} has options twice, by its simple and its full name")
        given[name] = value
    return given


def _with_options(
    method: HostedMethod,
    shared: MethodOptions,
    own: MethodOptions,
    in_proto: options_pb2.TaskPolicy | None,
) -> HostedMethod:
    policy = None
    if shared or own:
        descriptor = _descriptor(method)
        try:
            policy = _layers(shared, own, in_proto, descriptor)
        except InvalidArgument as error:
            raise _refused(method, error) from None
    given: MethodOptions = {**shared, **own}
    own_cost = given.get("slot_cost", method.slot_cost)
    if own_cost < 1:
        raise HostingError(f"{method.name}: slot_cost must be at least 1, not {own_cost}")
    return dataclasses.replace(
        method,
        # The larger one: an agent knows what its handler needs, and must not loosen what the .proto says.
        slot_cost=max(own_cost, 0 if in_proto is None else in_proto.slot_cost),
        policy=policy,
        idempotent=given.get("idempotent", False),
    )


def _layers(
    shared: MethodOptions,
    own: MethodOptions,
    in_proto: options_pb2.TaskPolicy | None,
    descriptor: MethodDescriptor,
) -> options_pb2.TaskPolicy | None:
    """The checked policy in force: the .proto's, the method's own, and those for all methods of its servicer."""
    above = to_policy(own)
    check_layer(above, descriptor)
    below = policy_options.suitable(to_policy(shared), descriptor) or options_pb2.TaskPolicy()
    check_layer(below, descriptor)
    policy = policy_options.layered(below, above)
    # Before the .proto's options are put over them: each value must mean something.
    check(policy, descriptor)
    # Each agent says by itself how many of its slots a call takes.
    policy.ClearField("slot_cost")
    return resolve(policy, in_proto) if policy.ListFields() else None


def _refused(method: HostedMethod, error: InvalidArgument) -> HostingError:
    """The refusal with the option's name in Python."""
    field = error.field or ""
    return HostingError(
        f"{method.name}: {error.message.replace(field, option_name(field), 1)}", field=option_name(field)
    )


def _descriptor(method: HostedMethod) -> MethodDescriptor:
    """The method's descriptor, made for it if no generated module has one."""
    file = synthesize([method])[0] if method.file is None else method.file
    service, _, name = method.name.partition("/")
    found: MethodDescriptor = file.services_by_name[service.rpartition(".")[2]].methods_by_name[name]
    return found


# -- the contract -----------------------------------------------------------------------------------------------


def contract_of(methods: Mapping[str, HostedMethod]) -> bytes:
    """The serialized FileDescriptorSet of hosted methods, with the options that their program gives."""
    files = {method.file.name: method.file for method in methods.values() if method.file is not None}
    synthesized = synthesize(method for method in methods.values() if method.file is None)
    descriptor_set = descriptors.file_descriptor_set([*files.values(), *synthesized])
    given = {
        name: method for name, method in methods.items() if method.policy is not None or method.idempotent
    }
    return _with_given(descriptor_set, given) if given else descriptor_set


def _with_given(descriptor_set: bytes, given: Mapping[str, HostedMethod]) -> bytes:
    files = {file.name: file for file in PlainFileSet.FromString(descriptor_set).file}
    for file in list(files.values()):
        changed = False
        for service in file.service:
            for proto in service.method:
                method = given.get(f"{file.package}.{service.name}/{proto.name}".lstrip("."))
                if method is not None:
                    _write(proto, method)
                    changed = changed or method.policy is not None
        if changed and options_pb2.DESCRIPTOR.name not in file.dependency:
            # Readers show an option by its name only if its file is imported.
            file.dependency.append(options_pb2.DESCRIPTOR.name)
    for needed in _OPTION_FILES:
        if needed.name not in files:
            files[needed.name] = PlainFileProto.FromString(needed.serialized_pb)
    return descriptors.serialized_set(files.values())


def _write(proto: descriptor_pb2.MethodDescriptorProto, method: HostedMethod) -> None:
    policy = options_pb2.TaskPolicy() if method.policy is None else method.policy
    try:
        policy_options.write(proto, policy, idempotent=method.idempotent)
    except DecodeError:
        raise HostingError(
            f"{method.name}: its .proto has another option under weft's number,"
            f" {policy_options.METHOD_OPTION.number}: leave out the options in the program"
        ) from None
