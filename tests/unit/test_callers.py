"""The policy of callers: each RPC of weft's own says who may call it, and the pure rule heeds that."""

from __future__ import annotations

import importlib

import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorSet

from scripts import docs_reference
from weft.rpc.errors import PermissionDenied
from weft.rpc.identity.caller import (
    AGENT,
    ANYBODY,
    CLIENT,
    OBSERVER,
    OPERATOR,
    ROLES,
    Caller,
    concerns_every_namespace,
    has_limits,
    refusal_of,
    roles_of,
)
from weft.rpc.identity.scope import Scope
from weft.v1 import access_pb2, errors_pb2

FILES = docs_reference.descriptors()
for _name in FILES:
    if _name.startswith("weft/v1/"):
        # Its descriptors.
        importlib.import_module(_name.removesuffix(".proto").replace("/", ".") + "_pb2")
RPCS = sorted(
    f"/{file.package}.{service.name}/{method.name}"
    for name, file in FILES.items()
    # Services of others, weft's ready ones among them, are hosted: they have no roles.
    if name.startswith("weft/v1/")
    for service in file.service
    for method in service.method
)
READING = ("Get", "List", "Watch", "Wait", "Describe", "Subscribe")


def test_the_table_has_the_rpcs() -> None:
    assert len(RPCS) >= 45
    assert FileDescriptorSet(file=FILES.values()).IsInitialized()


@pytest.mark.parametrize("path", RPCS)
def test_each_rpc_says_who_may_call_it(path: str) -> None:
    service, _, name = path.removeprefix("/").partition("/")
    method = access_pb2.DESCRIPTOR.pool.FindServiceByName(service).methods_by_name[name]
    said = method.GetOptions().Extensions[access_pb2.access].roles
    assert said, f"{path} has no option (weft.v1.access)"
    assert len(set(said)) == len(said)
    # An operator may call everything, and is named where nobody else may.
    assert (OPERATOR in said) == (list(said) == [OPERATOR])
    # Who only looks changes nothing. It needs a certificate for that.
    if OBSERVER in said and name != "IssueCertificate":
        assert name.startswith(READING)
    if name.startswith(("Update", "Create", "Rotate", "Revoke", "Delete")):
        assert OBSERVER not in said
    assert roles_of(path) == {*said, OPERATOR}


@pytest.mark.parametrize("path", RPCS)
def test_agents_own_work_has_no_limits_and_all_else_has(path: str) -> None:
    """What agents alone may call keeps them in the mesh: a limit on it would lose their leases, and others their results."""
    said = roles_of(path)
    assert said is not None
    assert has_limits(path) == (said != {AGENT, OPERATOR})


@pytest.mark.parametrize("role", ROLES.values(), ids=ROLES)
@pytest.mark.parametrize(
    "path", [*RPCS, "/grpc.health.v1.Health/Check", "/acme.v1.S/M", "/weft.v1.None/None"]
)
def test_the_rule_heeds_the_roles(path: str, role: access_pb2.Role) -> None:
    roles = roles_of(path)
    allowed = role in ({CLIENT, AGENT, OPERATOR} if roles is None else roles)
    refusal = refusal_of(Caller(role, Scope(methods=("acme.*",))), path, roles)
    assert (refusal is None) == allowed
    if refusal is not None:
        assert isinstance(refusal, PermissionDenied)
        assert refusal.reason == errors_pb2.ERROR_REASON_ROLE_NEEDED


def test_hosted_methods_are_in_the_scope() -> None:
    caller = Caller(CLIENT, Scope(methods=("acme.v1.S/M", "other.*")))
    assert refusal_of(caller, "/acme.v1.S/M", None) is None
    refusal = refusal_of(caller, "/acme.v1.S/Secret", None)
    assert refusal is not None
    assert refusal.reason == errors_pb2.ERROR_REASON_OUT_OF_SCOPE
    assert caller.sees("other.S/M")
    caller.check_method("other.S/M")
    with pytest.raises(PermissionDenied):
        caller.check_method("acme.v1.S/Secret")


def test_namespaces_are_in_the_scope() -> None:
    caller = Caller(OPERATOR, Scope(namespaces=("team-*",)))
    for path in [*RPCS, "/acme.v1.S/M", "/grpc.health.v1.Health/Check"]:
        roles = roles_of(path)
        refusal = refusal_of(caller._replace(namespace="team-a"), path, roles)
        assert (refusal is None) != concerns_every_namespace(path), path
        for other in ("", "default", "team", "of-others"):
            refusal = refusal_of(caller._replace(namespace=other), path, roles)
            assert refusal is not None
            assert refusal.reason == errors_pb2.ERROR_REASON_OUT_OF_SCOPE
    assert Scope(namespaces=("team-a",)).home == "team-a"
    assert Scope(namespaces=("team-*",)).home == Scope(namespaces=("a", "b")).home == Scope().home == ""


def test_without_tokens_everybody_may_do_everything() -> None:
    assert all(refusal_of(ANYBODY, path, roles_of(path)) is None for path in [*RPCS, "/a.S/M"])
