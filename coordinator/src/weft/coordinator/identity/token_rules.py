"""The rules of tokens: what is valid when, and what a request for one may ask. Pure: time is passed in, by the store's clock."""

from __future__ import annotations

import hmac
import math
import re
from collections.abc import Sequence

from weft.rpc import refusals
from weft.rpc.identity.caller import AGENT, ROLES, TOKEN_PREFIX, Caller
from weft.rpc.identity.caller_limits import fault_of, set_in
from weft.rpc.identity.judges import TokenVerdict
from weft.rpc.identity.scope import MAX_PATTERN_CHARS, MAX_PATTERNS, Scope, scope_of
from weft.rpc.times import checked_duration, seconds, timestamp
from weft.v1 import security_pb2

DEFAULT_TTL_S = 90 * 86400.0
MAX_TTL_S = 3660 * 86400.0
DEFAULT_OVERLAP_S = 3600.0
MAX_OVERLAP_S = 30 * 86400.0
# Ended tokens are listed so long.
KEEP_ENDED_S = 30 * 86400.0
# Of the hash of a text, in tickets.
TEXT_HASH_BYTES = 8
MAX_COMMENT_CHARS = 256
MAX_USES = 1000
# An agent may keep an answer of CheckToken for so long.
CHECK_KEPT_S = 60.0
_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")


def verdict_of(stored: security_pb2.StoredToken | None, sha256: bytes, now: float) -> TokenVerdict:
    """What a shown token is worth.

    Args:
        stored: the token with the id of the shown text; None: there is none.
        sha256: of the shown text.

    Raises:
        Unauthenticated: it is not valid.
    """
    entry = None if stored is None else _entry(stored, sha256)
    if stored is None or entry is None:
        # Whether the id exists is not told to somebody who does not have its secret.
        raise refusals.token_invalid("this mesh has no such token")
    token = stored.token
    if token.HasField("revoke_time"):
        raise refusals.token_revoked(token.id, shown=True)
    ends_at = min(
        seconds(each.expire_time) if each.HasField("expire_time") else math.inf for each in (token, entry)
    )
    if now >= ends_at:
        raise refusals.token_expired(token.id)
    subject = f"{TOKEN_PREFIX}{token.name or token.id}"
    caller = Caller(token.role, scope_of(token.scope), token.id, subject=subject, token_name=token.name)
    return TokenVerdict(caller, ends_at, limits=set_in(token.limits), text_hash=sha256[:TEXT_HASH_BYTES])


def end_of_text(stored: security_pb2.StoredToken, text_hash: bytes) -> float:
    """When a text of a token ends by a rotation, apart from the token itself. 0: the token does not have the text any more.

    Args:
        text_hash: a part of its hash.
    """
    for each in stored.hashes:
        if each.sha256.startswith(text_hash):
            return seconds(each.expire_time) if each.HasField("expire_time") else math.inf
    return 0.0


def _entry(stored: security_pb2.StoredToken, sha256: bytes) -> security_pb2.TokenHash | None:
    return next((each for each in stored.hashes if hmac.compare_digest(each.sha256, sha256)), None)


def is_valid(token: security_pb2.Token, now: float) -> bool:
    """Whether a token is neither revoked nor expired."""
    return not token.HasField("revoke_time") and not (
        token.HasField("expire_time") and seconds(token.expire_time) <= now
    )


def forget_at(token: security_pb2.Token) -> float | None:
    """When the row of a token may be deleted. None: it has no end."""
    ends = [getattr(token, name) for name in ("revoke_time", "expire_time") if token.HasField(name)]
    if not ends:
        return None
    ended_at = min(map(seconds, ends))
    if token.HasField("member_until"):
        ended_at = max(ended_at, seconds(token.member_until))
    return ended_at + KEEP_ENDED_S


def new_token(
    request: security_pb2.CreateTokenRequest, token_id: str, created_by: str, now: float
) -> security_pb2.Token:
    """The token that a request asks for, checked.

    Raises:
        InvalidArgument
    """
    if request.role not in ROLES.values():
        raise refusals.invalid_field(f"role must be one of {', '.join(ROLES)}", field="role")
    check_scope(request.scope)
    if len(request.comment) > MAX_COMMENT_CHARS:
        raise refusals.invalid_field(f"comment is at most {MAX_COMMENT_CHARS} characters", field="comment")
    if request.max_uses and request.role != AGENT:
        raise refusals.invalid_field("max_uses is for tokens of agents", field="max_uses")
    if request.max_uses > MAX_USES:
        raise refusals.invalid_field(f"max_uses is at most {MAX_USES}", field="max_uses")
    if request.name and not _NAME.fullmatch(request.name):
        raise refusals.invalid_field(
            "a name has at most 64 letters, digits, dots, dashes and underscores", field="name"
        )
    if request.never_expires and request.HasField("ttl"):
        raise refusals.invalid_field(
            "a token with a ttl expires: leave one of the two out", field="never_expires"
        )
    check_subjects(request)
    check_limits(request.limits)
    token = security_pb2.Token(
        id=token_id,
        role=request.role,
        scope=request.scope,
        create_time=timestamp(now),
        created_by=created_by,
        comment=request.comment,
        max_uses=request.max_uses,
        name=request.name,
        subjects=request.subjects,
        limits=request.limits if request.HasField("limits") else None,
    )
    if not request.never_expires:
        ttl_s = DEFAULT_TTL_S
        if request.HasField("ttl"):
            ttl_s = checked_duration(request.ttl, "ttl", least_s=1.0, most_s=MAX_TTL_S)
        token.expire_time.CopyFrom(timestamp(now + ttl_s))
    return token


def check_subjects(request: security_pb2.CreateTokenRequest) -> None:
    """
    Raises:
        InvalidArgument: the subjects of certificates have a pattern that fits nothing, or the token has uses.
    """
    check_patterns(request.subjects, "subjects")
    if request.subjects and request.max_uses:
        raise refusals.invalid_field("a token of certificates has no uses to count", field="max_uses")


def check_limits(limits: security_pb2.CallerLimits) -> None:
    """
    Raises:
        InvalidArgument: a limit is out of its range.
    """
    for name, value in set_in(limits).items():
        if fault := fault_of(name, value):
            raise refusals.invalid_field(fault, field=f"limits.{name}")


def check_patterns(patterns: Sequence[str], field: str) -> None:
    """
    Raises:
        InvalidArgument: there are too many, or one fits nothing.
    """
    if len(patterns) > MAX_PATTERNS:
        raise refusals.invalid_field(f"{field} has at most {MAX_PATTERNS} patterns", field=field)
    for pattern in patterns:
        if not 1 <= len(pattern) <= MAX_PATTERN_CHARS or not pattern.isprintable():
            raise refusals.invalid_field(
                f"a pattern of {field} has 1 to {MAX_PATTERN_CHARS} printable characters", field=field
            )


def check_scope(scope: security_pb2.TokenScope) -> None:
    """
    Raises:
        InvalidArgument: it has too many patterns, or one that fits nothing.
    """
    for name in Scope._fields:
        patterns, field = getattr(scope, name), f"scope.{name}"
        check_patterns(patterns, field)
        for pattern in patterns:
            if name == "labels" and "=" not in pattern and pattern != "*":
                raise refusals.invalid_field(
                    f"a pattern of {field} is `key=value`, such as zone=*", field=field
                )


def rotate(
    stored: security_pb2.StoredToken, request: security_pb2.RotateTokenRequest, sha256: bytes, now: float
) -> None:
    """Give a token another text.

    Raises:
        InvalidArgument
        FailedPrecondition: it was revoked.
    """
    token = stored.token
    overlap_s = DEFAULT_OVERLAP_S
    if request.HasField("overlap"):
        overlap_s = checked_duration(request.overlap, "overlap", most_s=MAX_OVERLAP_S)
    if token.HasField("revoke_time"):
        raise refusals.token_revoked(token.id, shown=False)
    if token.subjects:
        raise refusals.invalid_field(f"token {token.id} has no text: certificates stand for it", field="id")
    if request.HasField("ttl"):
        ttl_s = checked_duration(request.ttl, "ttl", least_s=1.0, most_s=MAX_TTL_S)
    elif token.HasField("expire_time"):
        began = token.rotate_time if token.HasField("rotate_time") else token.create_time
        ttl_s = max(1.0, seconds(token.expire_time) - seconds(began))
    else:
        ttl_s = math.inf
    old_ends_at = now + overlap_s
    if token.HasField("expire_time"):
        old_ends_at = min(old_ends_at, seconds(token.expire_time))
    # The newest of the old texts alone: two rotations in a row must not leave three.
    kept = [
        security_pb2.TokenHash(sha256=each.sha256, expire_time=timestamp(old_ends_at))
        for each in stored.hashes[:1]
        if old_ends_at > now
    ]
    del stored.hashes[:]
    stored.hashes.add(sha256=sha256)
    stored.hashes.extend(kept)
    token.rotate_time.CopyFrom(timestamp(now))
    token.ClearField("expire_time")
    if math.isfinite(ttl_s):
        token.expire_time.CopyFrom(timestamp(now + ttl_s))


def use(token: security_pb2.Token, agent_id: str) -> bool:
    """Note that an agent uses a join token. False: it has used it before, or the token is for any number.

    Raises:
        PermissionDenied: as many others as may have used it.
    """
    if not token.max_uses or agent_id in token.used_by:
        return False
    if len(token.used_by) >= token.max_uses:
        raise refusals.token_used_up(token.id, token.max_uses)
    token.used_by.append(agent_id)
    return True
