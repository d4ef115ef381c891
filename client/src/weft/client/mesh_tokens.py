"""The tokens API: makes, lists, rotates and revokes tokens. For operators."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal, NamedTuple

from google.protobuf.timestamp_pb2 import Timestamp

from weft.client.api import Api
from weft.client.methods import Method
from weft.rpc import refusals
from weft.rpc.enum_names import enum_name
from weft.rpc.times import duration
from weft.v1 import access_pb2
from weft.v1 import security_pb2 as pb

_SERVICE = "weft.v1.TokenService"
_CREATE = Method.of(f"{_SERVICE}/CreateToken", pb.CreateTokenRequest, pb.CreateTokenResponse)
_GET = Method.of(f"{_SERVICE}/GetToken", pb.GetTokenRequest, pb.GetTokenResponse)
_LIST = Method.of(f"{_SERVICE}/ListTokens", pb.ListTokensRequest, pb.ListTokensResponse)
_ROTATE = Method.of(f"{_SERVICE}/RotateToken", pb.RotateTokenRequest, pb.RotateTokenResponse)
_REVOKE = Method.of(f"{_SERVICE}/RevokeToken", pb.RevokeTokenRequest, pb.RevokeTokenResponse)
_PAGE = 500
_DAY_S = 86400.0

RoleName = Literal["client", "agent", "observer", "operator"]
_ROLES: dict[str, access_pb2.Role] = {
    "client": access_pb2.ROLE_CLIENT,
    "agent": access_pb2.ROLE_AGENT,
    "observer": access_pb2.ROLE_OBSERVER,
    "operator": access_pb2.ROLE_OPERATOR,
}


class TokenScope(NamedTuple):
    """How far a token goes: patterns, in which `*` stands for any characters. An empty list limits nothing."""

    # Methods that its holder may call, by full name.
    methods: Sequence[str] = ()
    # Methods that an agent with it may host, ids that it may have, and labels, as "key=value".
    hosts: Sequence[str] = ()
    agent_ids: Sequence[str] = ()
    labels: Sequence[str] = ()
    # Namespaces in which its holder may call.
    namespaces: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Token:
    """A token without its text, at one moment."""

    id: str
    name: str
    role: str
    scope: TokenScope
    comment: str
    # The token of who made it. Empty: its maker showed none.
    created_by: str
    created_at: datetime
    # None: it has no end.
    expires_at: datetime | None
    # None: it was not.
    revoked_at: datetime | None
    rotated_at: datetime | None
    # A join token: how many agents, by id, may use it (0: any number), and those that have.
    max_uses: int
    used_by: Sequence[str]
    # Certificates that stand for it: patterns of their subjects.
    subjects: Sequence[str]
    # Most of what its holder may use of a coordinator at a time, where the token says it: by limit, such as "calls_per_s"; 0: any number.
    limits: Mapping[str, float]

    @classmethod
    def of(cls, proto: pb.Token) -> Token:
        scope = proto.scope
        return cls(
            id=proto.id,
            name=proto.name,
            role=enum_name(access_pb2.Role, proto.role, "ROLE_").lower(),
            scope=TokenScope(**{name: tuple(getattr(scope, name)) for name in TokenScope._fields}),
            comment=proto.comment,
            created_by=proto.created_by,
            created_at=_moment(proto.create_time),
            expires_at=_moment(proto.expire_time) if proto.HasField("expire_time") else None,
            revoked_at=_moment(proto.revoke_time) if proto.HasField("revoke_time") else None,
            rotated_at=_moment(proto.rotate_time) if proto.HasField("rotate_time") else None,
            max_uses=proto.max_uses,
            used_by=tuple(proto.used_by),
            subjects=tuple(proto.subjects),
            limits={each.name: value for each, value in proto.limits.ListFields()},
        )


@dataclass(frozen=True, slots=True)
class NewToken:
    """A token that was made or rotated, with its text: the secret, which can never be read again."""

    token: Token
    # Not in its representation, so that no log has it by accident.
    text: str = field(repr=False)


class Tokens:
    """Tokens; `Mesh.tokens` gives it. Every method raises `PermissionDenied` for who is not an operator."""

    def __init__(self, api: Api) -> None:
        self._api = api

    async def create(
        self,
        role: RoleName,
        *,
        scope: TokenScope | None = None,
        days: float | None = 90.0,
        name: str = "",
        comment: str = "",
        max_uses: int = 0,
        subjects: Sequence[str] = (),
        limits: Mapping[str, float] | None = None,
    ) -> NewToken:
        """Make a token. It is not repeated: a call of unknown outcome may have made one that nobody knows.

        Args:
            role: what its holder may do.
            scope: how far that goes. None: everywhere.
            days: how long it is valid. None: it has no end.
            name: what policies and lists call its holder.
            comment: what it is for.
            max_uses: a join token: how many agents may use it; 0: any number.
            subjects: certificates that stand for it: then it has no text.
            limits: most of what its holder may use at a time: calls_per_s, open_calls, open_streams, bytes_per_s, queued_tasks; 0: any
                number. Others are as the policy file or the coordinators' settings say.

        Raises:
            InvalidArgument: the message names the field.
        """
        request = pb.CreateTokenRequest(
            role=_role(role),
            scope=pb.TokenScope(**(scope or TokenScope())._asdict()),
            ttl=None if days is None else duration(days * _DAY_S),
            never_expires=days is None,
            name=name,
            comment=comment,
            max_uses=max_uses,
            subjects=subjects,
            limits=_limits(limits) if limits else None,
        )
        made = await self._api.call(_CREATE, request, repeatable=False)
        return NewToken(Token.of(made.token), made.text)

    async def get(self, token_id: str) -> Token:
        """One token.

        Raises:
            NotFound: there is none of this id.
        """
        return Token.of((await self._api.call(_GET, pb.GetTokenRequest(id=token_id))).token)

    async def list(self) -> AsyncGenerator[Token]:
        """All tokens by id, also those that ended in the last 30 days; page by page as they are taken."""
        page_token = ""
        while True:
            asked = pb.ListTokensRequest(page_size=_PAGE, page_token=page_token)
            page = await self._api.call(_LIST, asked)
            for token in page.tokens:
                yield Token.of(token)
            page_token = page.next_page_token
            if not page_token:
                return

    async def rotate(
        self, token_id: str, *, overlap_s: float = 3600.0, days: float | None = None
    ) -> NewToken:
        """Give a token another text. It is not repeated, as for `create`.

        Args:
            overlap_s: the old text stays valid for so long.
            days: how long the token is valid from now on. None: as long as it was to be.

        Raises:
            NotFound: there is none of this id.
            FailedPrecondition: it was revoked.
        """
        request = pb.RotateTokenRequest(
            id=token_id, overlap=duration(overlap_s), ttl=None if days is None else duration(days * _DAY_S)
        )
        made = await self._api.call(_ROTATE, request, repeatable=False)
        return NewToken(Token.of(made.token), made.text)

    async def revoke(self, token_id: str) -> Token:
        """Revoke a token for good: its holders are cut off within two seconds. Repeating it is harmless.

        Raises:
            NotFound: there is none of this id.
        """
        return Token.of((await self._api.call(_REVOKE, pb.RevokeTokenRequest(id=token_id))).token)


def _role(name: str) -> Any:
    if name not in _ROLES:
        raise refusals.invalid_field(f"role is {name!r}; it must be one of {', '.join(_ROLES)}", field="role")
    return _ROLES[name]


def _limits(given: Mapping[str, float]) -> pb.CallerLimits:
    made = pb.CallerLimits()
    for name, value in given.items():
        if name not in pb.CallerLimits.DESCRIPTOR.fields_by_name:
            known = ", ".join(pb.CallerLimits.DESCRIPTOR.fields_by_name)
            raise refusals.invalid_field(f"limits has {name!r}; there are {known}", field="limits")
        # Rates are numbers of any kind, the others whole ones.
        setattr(made, name, value if name.endswith("_per_s") else int(value))
    return made


def _moment(stamp: Timestamp) -> datetime:
    return stamp.ToDatetime(tzinfo=UTC)
