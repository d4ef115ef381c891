"""Contracts with task policies, made from descriptors: the options are bytes under weft's numbers, as any language writes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from google.protobuf import json_format
from google.protobuf.descriptor_pb2 import FileDescriptorProto

from tests.support.schema import METHOD, PACKAGE, file
from tests.support.wire_format import delimited
from weft.coordinator.contracts.contract_catalogue import Contract
from weft.coordinator.contracts.method_info import MethodInfo
from weft.coordinator.policy.method_policy import MethodPolicy
from weft.rpc.contracts.descriptors import PlainFileProto, PlainFileSet
from weft.v1 import options_pb2

# A request with a field of each kind.
MESSAGES = {
    "Request": "string tenant_id = 1; int32 count = 2; bool flag = 3; bytes blob = 4; enum Kind kind = 5;"
    " Order order = 6; repeated string tags = 7; map<string, string> attributes = 8; double ratio = 9;"
    " repeated Order orders = 10; Request inner = 11",
    "Order": "Customer customer = 1; int64 number = 2",
    "Customer": "string id = 1",
    "Empty": "",
}

# Options in the JSON form of `weft.v1.TaskPolicy`.
Options = Mapping[str, Any]

# Every option that there is.
FULL: Options = {
    "retry": {"max_attempts": 3, "initial_backoff": "0.5s", "retryable_codes": [14, 13]},
    "limits": {"schedule_to_start": "60s", "start_to_close": "30s", "schedule_to_close": "300s"},
    "priority": 7,
    "slot_cost": 2,
    "result_ttl": "60s",
    "failure_ttl": "120s",
    "requirements": {"labels": {"zone": "eu"}, "resources": {"gpu": 1}},
    "mode": "CALL_MODE_DIRECT",
    "idempotency_key": "order.number",
    "fairness_key": "tenant_id",
    "run_limits": [
        {"max_running": 10},
        {"key": "order.customer.id", "max_running": 1, "at_limit": "AT_LIMIT_CANCEL_OLDEST"},
        {"key": 'metadata["x-tenant"]', "max_rate_per_s": 2.5, "burst": 4},
        {"key": "fairness_key", "max_running": 2},
    ],
    "locks": [{"name": "db-migrate"}, {"name": "customer", "key": "order.customer.id", "shared": True}],
    "consumes": {"gpu": 1, "memory_bytes": 4e9},
    "budget": {"tokens": 10_000, "active_s": 60},
    "cache": {"ttl": "10s"},
    "fallback": f"{PACKAGE}.Service/Other",
    "no_wait": True,
    "check_rules": False,
    "durable_children": True,
    "on_event": {"filter": "event.tenant_id != ''"},
}


def task_policy(options: Options) -> options_pb2.TaskPolicy:
    return json_format.ParseDict(dict(options), options_pb2.TaskPolicy())


def with_options(
    made: FileDescriptorProto, methods: Mapping[str, Options | bytes], service: Options | bytes | None = None
) -> FileDescriptorProto:
    """The file with these options at its (first) service's methods, by simple name, and at the service."""
    # By classes that know no extensions: the options may be no policy at all.
    plain = PlainFileProto.FromString(made.SerializeToString())
    hosted = plain.service[0]
    if service is not None:
        hosted.options.MergeFromString(_extension(options_pb2.tasks.number, service))
    for method in hosted.method:
        if method.name in methods:
            method.options.MergeFromString(_extension(options_pb2.task.number, methods[method.name]))
    return plain


def plain_set(*files: FileDescriptorProto) -> bytes:
    """The serialized set of files of any class."""
    made = PlainFileSet()
    for each in files:
        made.file.add().MergeFromString(each.SerializeToString())
    return made.SerializeToString(deterministic=True)


def policy_file(
    options: Options | bytes | None = None,
    *,
    service: Options | bytes | None = None,
    methods: Sequence[str] = ("Call Request Response",),
    others: Mapping[str, Options | bytes] | None = None,
    package: str = PACKAGE,
    name: str = "t.proto",
) -> bytes:
    """The serialized files of a contract whose method `Call` has `options`, and whose `others` have theirs."""
    given = {**({} if options is None else {"Call": options}), **(others or {})}
    made = file(name, MESSAGES, package=package, methods=methods)
    return plain_set(with_options(made, given, service))


def policy_contract(options: Options | bytes | None = None, **more: Any) -> Contract:
    """The contract of `policy_file`, which hosts all methods."""
    methods = more.get("methods", ("Call Request Response",))
    package = more.get("package", PACKAGE)
    return Contract.load(
        policy_file(options, **more), [f"{package}.Service/{method.split()[0]}" for method in methods]
    )


def policy_method(options: Options | bytes | None = None, **more: Any) -> MethodInfo:
    """The method `Call` of such a contract."""
    return policy_contract(options, **more).methods[METHOD]


def policy_of(options: Options | bytes | None = None, **more: Any) -> MethodPolicy | None:
    return policy_method(options, **more).policy


def _extension(number: int, options: Options | bytes) -> bytes:
    """The field of an options message that holds the extension, without a class that knows it."""
    content = options if isinstance(options, bytes) else task_policy(options).SerializeToString()
    return delimited(number, content)
