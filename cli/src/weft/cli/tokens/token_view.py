"""Tokens for people and as JSON documents. Never their texts."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp

from weft.cli.terminal.output import Styled, StyledText
from weft.cli.terminal.tables import Column
from weft.rpc.identity.caller import role_name
from weft.rpc.identity.caller_limits import set_in, texts_of
from weft.v1 import security_pb2

COLUMNS = (
    Column("id"),
    Column("name"),
    Column("role"),
    Column("is"),
    Column("ends"),
    Column("uses", right=True),
    Column("scope", below=True),
    Column("limits", below=True),
    Column("comment", below=True, spare=1),
)
_TIMES = ("create_time", "expire_time", "revoke_time", "rotate_time")


def row(token: security_pb2.Token) -> list[StyledText]:
    """A token as a row of `COLUMNS`."""
    return [
        token.id,
        token.name,
        role_name(token.role),
        standing(token),
        _ends(token),
        _uses(token),
        _scope(token),
        _limits(token),
        token.comment,
    ]


def facts(token: security_pb2.Token) -> list[tuple[str, StyledText]]:
    """Names and values that describe a token."""
    return [
        ("token", token.id),
        ("name", token.name),
        ("role", role_name(token.role)),
        ("is", standing(token)),
        ("scope", _scope(token) or "everything"),
        ("limits", _limits(token)),
        *((name.removesuffix("_time"), _time(token, name)) for name in _TIMES if token.HasField(name)),
        ("made by", token.created_by or "somebody without a token"),
        ("uses", _uses(token)),
        ("used by", ", ".join(token.used_by)),
        ("certificates", ", ".join(token.subjects)),
        ("comment", token.comment),
    ]


def summary(token: security_pb2.Token) -> str:
    """Role, scope and end, in a line."""
    scope, ends = _scope(token), _ends(token)
    return (
        f"{role_name(token.role)}, {scope or 'everything'}, {f'until {ends}' if ends else 'without an end'}"
    )


def document(token: security_pb2.Token) -> dict[str, Any]:
    """A token as JSON."""
    return {
        "id": token.id,
        "name": token.name,
        "role": role_name(token.role),
        "state": str(standing(token)),
        "scope": {
            "methods": list(token.scope.methods),
            "hosts": list(token.scope.hosts),
            "agent_ids": list(token.scope.agent_ids),
            "labels": list(token.scope.labels),
            "namespaces": list(token.scope.namespaces),
        },
        "limits": dict(set_in(token.limits)),
        **{name: _time(token, name) if token.HasField(name) else None for name in _TIMES},
        "created_by": token.created_by,
        "comment": token.comment,
        "max_uses": token.max_uses,
        "used_by": list(token.used_by),
        "subjects": list(token.subjects),
    }


def standing(token: security_pb2.Token) -> StyledText:
    """Whether it is valid, expired or revoked, by this machine's clock."""
    if token.HasField("revoke_time"):
        return Styled("revoked", "red")
    if token.HasField("expire_time") and _datetime(token.expire_time) <= datetime.now(UTC):
        return Styled("expired", "yellow")
    return Styled("valid", "green")


def _scope(token: security_pb2.Token) -> str:
    lists = ((field.name, getattr(token.scope, field.name)) for field in token.scope.DESCRIPTOR.fields)
    return "; ".join(f"{name} {', '.join(patterns)}" for name, patterns in lists if patterns)


def _limits(token: security_pb2.Token) -> str:
    return ", ".join(texts_of(set_in(token.limits)))


def _uses(token: security_pb2.Token) -> str:
    return f"{len(token.used_by)} of {token.max_uses}" if token.max_uses else ""


def _ends(token: security_pb2.Token) -> str:
    return _time(token, "expire_time") if token.HasField("expire_time") else ""


def _time(token: security_pb2.Token, name: str) -> str:
    return f"{_datetime(getattr(token, name)):%Y-%m-%dT%H:%M:%SZ}"


def _datetime(value: Timestamp) -> datetime:
    return value.ToDatetime(UTC)
