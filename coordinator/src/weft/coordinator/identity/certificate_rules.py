"""Which token a certificate stands for, and what its holder may do. Pure: time is passed in, by the store's clock."""

from __future__ import annotations

import math
from collections.abc import Iterable

from weft.coordinator.identity.token_rules import is_valid, use
from weft.rpc import refusals
from weft.rpc.identity.caller import CERTIFICATE_PREFIX, Caller
from weft.rpc.identity.caller_limits import set_in
from weft.rpc.identity.judges import TokenVerdict
from weft.rpc.identity.scope import fits, scope_of
from weft.rpc.security.mesh_names import agent_of
from weft.rpc.security.peer_identity import PeerCertificate
from weft.rpc.times import seconds, timestamp
from weft.v1 import security_pb2


def fitting(tokens: Iterable[security_pb2.Token], subject: str) -> security_pb2.Token | None:
    """The token that a certificate of another authority stands for: that of the longest pattern which fits its subject, and of
    several the newest. None: it stands for none."""
    found = [
        (len(pattern), seconds(token.create_time), token.id, token)
        for token in tokens
        for pattern in token.subjects
        if fits(pattern, subject)
    ]
    return max(found)[-1] if found else None


def verdict_of_certificate(
    token: security_pb2.Token | None, shown: PeerCertificate, now: float
) -> TokenVerdict:
    """What a certificate is worth.

    Args:
        token: the one that it stands for; None: there is none.

    Raises:
        Unauthenticated: the token is not valid, or there is none.
    """
    if token is None:
        raise refusals.certificate_unknown(shown.subject)
    if token.HasField("revoke_time"):
        raise refusals.token_revoked(token.id, shown=True)
    agent_id = agent_of(shown.subject)
    ends_at = end_of_membership(token, is_agent=bool(agent_id))
    if now >= ends_at:
        raise refusals.token_expired(token.id)
    scope = scope_of(token.scope)
    if agent_id:
        if scope.beyond(agent_id, (), {}) is not None:
            raise refusals.certificate_unknown(shown.subject)
        scope = scope._replace(agent_ids=(agent_id,))
    subject = f"{CERTIFICATE_PREFIX}{shown.subject}"
    caller = Caller(token.role, scope, token.id, subject=subject, token_name=token.name)
    return TokenVerdict(caller, ends_at, limits=set_in(token.limits))


def end_of_membership(token: security_pb2.Token, *, is_agent: bool) -> float:
    """When certificates cease to stand for a token. A join token's end is that of joining: an agent that has joined stays."""
    if (token.max_uses and is_agent) or not token.HasField("expire_time"):
        return math.inf
    return seconds(token.expire_time)


def holds(token: security_pb2.Token, subject: str, now: float) -> bool:
    """Whether a token that is not revoked is still that of a caller.

    Args:
        subject: the caller's.
    """
    if not subject.startswith(CERTIFICATE_PREFIX):
        return is_valid(token, now)
    return now < end_of_membership(token, is_agent=bool(agent_of(subject.removeprefix(CERTIFICATE_PREFIX))))


def note_membership(token: security_pb2.Token, agent_id: str, ends_at: float, lifetime_s: float) -> bool:
    """Note that an agent has a certificate of a join token until some time. False: nothing is to be noted.

    Args:
        agent_id: empty: it is no agent.
        lifetime_s: of certificates. The time is noted now and then alone.

    Raises:
        PermissionDenied: TOKEN_USED_UP.
    """
    if not token.max_uses or not agent_id:
        return False
    changed = use(token, agent_id)
    if seconds(token.member_until) < ends_at - lifetime_s / 4:
        token.member_until.CopyFrom(timestamp(ends_at))
        changed = True
    return changed
