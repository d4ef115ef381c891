"""Who calls, and what callers may do: the pure policy of every door.

The edge of a server makes a `Caller` of what a call shows, once, and asks `refusal_of`. Rules come from the contract: an RPC of weft's
own says beside itself which roles may call it (`weft.v1.access`). Hosted methods are for clients, agents and operators, as far as
their scope goes.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from google.protobuf import descriptor_pool

from weft.rpc import refusals
from weft.rpc.contracts import names
from weft.rpc.errors import PermissionDenied, WeftError
from weft.rpc.identity.access_rules import NO_RULES, AccessRules, rules_of
from weft.rpc.identity.caller_limits import NO_LIMITS, CallerLimits
from weft.rpc.identity.scope import ANY, Scope, scope_of
from weft.rpc.security.namespace_names import DEFAULT
from weft.v1 import access_pb2, security_pb2

CLIENT, AGENT = access_pb2.ROLE_CLIENT, access_pb2.ROLE_AGENT
OBSERVER, OPERATOR = access_pb2.ROLE_OBSERVER, access_pb2.ROLE_OPERATOR
ROLES: dict[str, access_pb2.Role] = {
    "client": CLIENT,
    "agent": AGENT,
    "observer": OBSERVER,
    "operator": OPERATOR,
}

# Before the rest of a subject: how it was proved.
TOKEN_PREFIX, CERTIFICATE_PREFIX = "token:", "certificate:"
_SPIFFE = f"{CERTIFICATE_PREFIX}spiffe://"

_ROLE_NAMES: dict[int, str] = {number: name for name, number in ROLES.items()}
# Health and reflection have no options of weft's: they read only.
_READERS = frozenset(ROLES.values())
# Who may call hosted methods.
_USERS = frozenset({CLIENT, AGENT, OPERATOR})


class Caller(NamedTuple):
    """Who makes a call. Carries nothing secret.

    Attributes:
        role: what the caller may do.
        scope: how far that goes.
        token_id: the token of weft's own that proves it. Empty: the server asks for none, or something else proves it.
        namespace: the one of its call. Empty: the default one.
        subject: who it is, for the policy, lists and logs; the part before the first colon says how it was proved: `token:shop`. Empty:
            the server does not ask.
        rules: what the mesh's policy lets it call.
        limits: most of what it may use of a coordinator at a time. Agents do not know them.
        token_name: the name of that token. Empty: it has none, or it is not known here.
    """

    role: access_pb2.Role
    scope: Scope = ANY
    token_id: str = ""
    namespace: str = ""
    subject: str = ""
    rules: AccessRules = NO_RULES
    limits: CallerLimits = NO_LIMITS
    token_name: str = ""

    @property
    def names(self) -> Iterator[str]:
        """All names by which the policy can mean the caller: those of its token, too, if it shows a certificate that stands for it."""
        yield self.subject
        yield f"role:{role_name(self.role)}"
        for each in filter(None, (self.token_id, self.token_name)):
            yield f"{TOKEN_PREFIX}{each}"
        if self.subject.startswith(_SPIFFE):
            yield self.subject.removeprefix(CERTIFICATE_PREFIX)

    @property
    def sees_all(self) -> bool:
        """Whether the caller may see tasks of each method."""
        return not (self.scope.methods or self.rules)

    def sees(self, method: str) -> bool:
        """Whether the caller may call a method, and may see its tasks."""
        return self.scope.has_method(method) and self.rules.allow(method, self.namespace)

    def denial(self, method: str) -> PermissionDenied | None:
        """Why the caller may not call a hosted method: OUT_OF_SCOPE or POLICY_DENIED. None: it may. Whether the method exists is not
        said."""
        if not self.scope.has_method(method):
            return refusals.out_of_scope("methods", method)
        if not self.rules.allow(method, self.namespace):
            return refusals.policy_denied(self.subject, method)
        return None

    def check_method(self, method: str) -> None:
        """Refuse a method that the caller may not call.

        Raises:
            PermissionDenied: as `denial` says.
        """
        if (why := self.denial(method)) is not None:
            raise why

    def check_namespace(self) -> None:
        """Refuse a namespace that is not in the caller's scope.

        Raises:
            PermissionDenied: OUT_OF_SCOPE. Whether there is one of the name is not said.
        """
        if not self.scope.has_namespace(namespace := self.namespace or DEFAULT):
            raise refusals.out_of_scope("namespaces", namespace)

    def same_as(self, other: Caller) -> bool:
        """Whether both are the same identity, by the same proof."""
        return self.subject == other.subject and self.token_id == other.token_id


# Where nothing is set up, everybody who can reach the server may do everything.
ANYBODY = Caller(OPERATOR)


def role_name(role: int) -> str:
    """A role's name, for people."""
    return _ROLE_NAMES.get(role, "unknown")


def roles_of(path: str) -> frozenset[int] | None:
    """The roles that may call an RPC of the server's own. None: the method is a hosted one.

    Args:
        path: "/package.Service/Method".
    """
    service = path.removeprefix("/").rpartition("/")[0]
    if not names.is_reserved(service):
        return None
    # No such RPC: each caller with a role learns that.
    found = _access(path)
    return _READERS if found is None else frozenset({*found.roles, OPERATOR})


def concerns_every_namespace(path: str) -> bool:
    """Whether an RPC of the server's own is for callers whose scope has no list of namespaces."""
    found = _access(path)
    return found is not None and found.every_namespace


def has_limits(path: str) -> bool:
    """Whether limits of callers hold for calls of a path. Agents' own work has none, and probes of health have none."""
    if path.startswith("/grpc.health."):
        return False
    found = _access(path)
    return found is None or not found.unlimited


def _access(path: str) -> access_pb2.Access | None:
    """What the contract says of an RPC. None: it is not weft's own, or there is none."""
    service, _, method = path.removeprefix("/").rpartition("/")
    if not service.startswith("weft."):
        return None
    try:
        found = descriptor_pool.Default().FindServiceByName(service).methods_by_name[method]
    except KeyError:
        return None
    # The stubs of protobuf know no extensions.
    options: Any = found.GetOptions()
    access: access_pb2.Access = options.Extensions[access_pb2.access]
    return access


def refusal_of(caller: Caller, path: str, roles: frozenset[int] | None) -> WeftError | None:
    """Why a caller may not call a method in the namespace of its call. None: it may.

    Args:
        roles: of the path, by `roles_of`.
    """
    allowed = _USERS if roles is None else roles
    if caller.role not in allowed:
        may = ", ".join(sorted(role_name(each) for each in allowed))
        return refusals.role_needed(path.removeprefix("/"), role_name(caller.role), may)
    if caller.scope.namespaces:
        if concerns_every_namespace(path):
            return refusals.out_of_scope("namespaces", "*")
        try:
            caller.check_namespace()
        except PermissionDenied as refusal:
            return refusal
    if roles is None:
        return caller.denial(path.removeprefix("/"))
    if not caller.rules.allow(path.removeprefix("/"), caller.namespace):
        return refusals.policy_denied(caller.subject, path.removeprefix("/"))
    return None


def told_caller(response: security_pb2.CheckTokenResponse) -> Caller:
    """The caller whose token a coordinator has found valid."""
    rules = rules_of(response.rules)
    return Caller(response.role, scope_of(response.scope), response.id, subject=response.subject, rules=rules)


def tell_caller(caller: Caller) -> security_pb2.CheckTokenResponse:
    """The answer to an agent that asks whose a token is, for the namespace in which it asks. `told_caller` reads it."""
    return security_pb2.CheckTokenResponse(
        id=caller.token_id,
        role=caller.role,
        scope=security_pb2.TokenScope(**caller.scope._asdict()),
        subject=caller.subject,
        rules=caller.rules.within(caller.namespace).message(),
    )
