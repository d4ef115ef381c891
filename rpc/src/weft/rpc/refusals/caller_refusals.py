"""Refusals of callers: who is not known, and who may not.

No message says what exists: a denied caller learns what it lacks, nothing more. No message has a part of a token but its id.
"""

from __future__ import annotations

from typing import Literal, overload

from weft.rpc.errors import (
    FailedPrecondition,
    NotFound,
    Overloaded,
    PermissionDenied,
    Unauthenticated,
    Unavailable,
)
from weft.v1 import errors_pb2 as pb

_ID_KEY = "token_id"


# -- who calls --------------------------------------------------------------------------------------------------------


def token_missing() -> Unauthenticated:
    """Callers must show a token, and this one shows none."""
    return Unauthenticated(
        "this server takes calls with a token only, and the call has none: set WEFT_TOKEN or WEFT_TOKEN_FILE, or send the metadata"
        " `weft-token` or `authorization: Bearer …`; operators make tokens with `weft tokens create`",
        reason=pb.ERROR_REASON_TOKEN_MISSING,
    )


def token_invalid(why: str) -> Unauthenticated:
    """A token is damaged, unknown, or not alone; `why` has nothing of it."""
    return Unauthenticated(f"the token is not valid: {why}", reason=pb.ERROR_REASON_TOKEN_INVALID)


def token_expired(token_id: str) -> Unauthenticated:
    """A token has ended, or its text has."""
    return Unauthenticated(
        f"token {token_id} has expired, or was rotated: get its new text (`weft tokens rotate`), or another token",
        reason=pb.ERROR_REASON_TOKEN_EXPIRED,
        metadata={_ID_KEY: token_id},
    )


def jwt_invalid(why: str) -> Unauthenticated:
    """A token of an outside issuer proves nothing here; `why` has nothing of it."""
    return Unauthenticated(f"the JSON web token is not valid: {why}", reason=pb.ERROR_REASON_JWT_INVALID)


def issuer_unavailable(name: str) -> Unavailable:
    """The keys of an outside issuer cannot be read."""
    return Unavailable(
        f"tokens of the issuer {name} cannot be verified now: the coordinator cannot read its keys, and its log says why",
        reason=pb.ERROR_REASON_ISSUER_UNAVAILABLE,
        retry_after_s=5.0,
        metadata={"issuer": name},
    )


@overload
def token_revoked(token_id: str, *, shown: Literal[True]) -> Unauthenticated: ...
@overload
def token_revoked(token_id: str, *, shown: Literal[False]) -> FailedPrecondition: ...
def token_revoked(token_id: str, *, shown: bool) -> Unauthenticated | FailedPrecondition:
    """A token was revoked. With `shown`, a caller shows it; otherwise an operator wants to rotate it."""
    kind = Unauthenticated if shown else FailedPrecondition
    message = (
        f"token {token_id} was revoked"
        if shown
        else f"token {token_id} was revoked: create another one instead"
    )
    return kind(message, reason=pb.ERROR_REASON_TOKEN_REVOKED, metadata={_ID_KEY: token_id})


def ticket_invalid(why: str) -> Unauthenticated:
    """A ticket is of no use here; `why` has nothing of it."""
    return Unauthenticated(
        f"the ticket is not valid: {why}; get another one with CreateTickets",
        reason=pb.ERROR_REASON_TICKET_INVALID,
    )


def callers_unknown(why: str) -> Unavailable:
    """An agent cannot find out now who calls."""
    return Unavailable(f"this agent cannot find out who calls: {why}", reason=pb.ERROR_REASON_CALLERS_UNKNOWN)


def token_unsafe(message: str) -> FailedPrecondition:
    """A token would be sent over a connection that others may read."""
    return FailedPrecondition(message, reason=pb.ERROR_REASON_TOKEN_UNSAFE)


# -- what the caller may do -------------------------------------------------------------------------------------------


def role_needed(method: str, role: str, roles: str) -> PermissionDenied:
    """The caller's role may not make a call; `roles`: those that may."""
    return PermissionDenied(
        f"the caller's token has the role {role}, and {method} is for {roles}",
        reason=pb.ERROR_REASON_ROLE_NEEDED,
        metadata={"role": role, "roles": roles},
    )


def out_of_scope(scope: str, value: str) -> PermissionDenied:
    """The scope of the caller's token does not cover a value; `scope` is the field of `weft.v1.TokenScope`."""
    shown = value[:128]
    return PermissionDenied(
        f"the scope of the caller's token ({scope}) does not cover {shown!r}: an operator can make a token that does",
        reason=pb.ERROR_REASON_OUT_OF_SCOPE,
        metadata={"scope": scope, "value": shown},
    )


def policy_denied(subject: str, method: str) -> PermissionDenied:
    """The mesh's policy does not let a caller call a method."""
    shown = method[:128]
    return PermissionDenied(
        f"the mesh's policy does not let {subject or 'this caller'} call {shown!r}: an operator can say which rule it is"
        " (`weft policy check`) and change it",
        reason=pb.ERROR_REASON_POLICY_DENIED,
        metadata={"subject": subject, "method": shown},
    )


def caller_limit(subject: str, limit: str, value: str, retry_after_s: float) -> Overloaded:
    """A caller has reached one of its limits; `limit` is the field of `weft.v1.CallerLimits`."""
    return Overloaded(
        f"{subject or 'this caller'} has reached its limit of {limit}, which is {value}: try again in {_wait(retry_after_s)}; an operator can"
        " raise it (weft tokens create --limit, [[limits]] in the policy file, or the coordinator's settings)",
        reason=pb.ERROR_REASON_CALLER_LIMIT,
        metadata={"subject": subject, "limit": limit, "value": value},
        retry_after_s=retry_after_s,
    )


def namespace_limit(namespace: str, limit: str, value: str, retry_after_s: float) -> Overloaded:
    """All callers of a namespace together have reached one of its limits."""
    return Overloaded(
        f"the namespace {namespace} has reached its limit of {limit}, which is {value}: try again in {_wait(retry_after_s)}; an operator can"
        " raise it ([[namespace_limits]] in the policy file)",
        reason=pb.ERROR_REASON_NAMESPACE_LIMIT,
        metadata={"namespace": namespace, "limit": limit, "value": value},
        retry_after_s=retry_after_s,
    )


def _wait(retry_after_s: float) -> str:
    return f"{max(retry_after_s, 0.001):.3g} s"


def token_used_up(token_id: str, most: int) -> PermissionDenied:
    """As many agents as may have used a join token."""
    return PermissionDenied(
        f"token {token_id} is for {most} agents, and so many others have used it: create another one",
        reason=pb.ERROR_REASON_TOKEN_USED_UP,
        metadata={_ID_KEY: token_id},
    )


def token_not_found(token_id: str) -> NotFound:
    """No token has the id."""
    return NotFound(
        f"no token has the id {token_id!r}; `weft tokens list` shows those that there are",
        reason=pb.ERROR_REASON_TOKEN_NOT_FOUND,
        metadata={_ID_KEY: token_id},
    )
