"""What a member gets when it is started: its token, and its settings as variables."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import NamedTuple

from weft.coordinator.identity.token_rules import new_token, rotate
from weft.coordinator.identity.token_table import TokenTable
from weft.coordinator.pools.pool_codec import POOL_LABEL, VERSION_LABEL
from weft.coordinator.pools.pool_rules import NewMember
from weft.coordinator.pools.provider import MemberSpec
from weft.coordinator.pools.rollout_rules import template_of
from weft.rpc.errors import NotFound, Overloaded
from weft.rpc.identity.caller import AGENT
from weft.rpc.network.targets import is_source
from weft.rpc.security import namespace_names, tokens
from weft.rpc.times import timestamp
from weft.v1 import pool_pb2, security_pb2

_ANY_ADDRESS = ("0.0.0.0", "[::]")
_ID_DIGITS = 6


class MemberJoin(NamedTuple):
    """How members come into the mesh.

    Attributes:
        target: the coordinators' address, as members dial it.
        namespace: theirs. Empty: the default one.
        table: of tokens. None: nobody asks for them.
        tls: variables by which a member reaches the coordinator safely.
    """

    target: Callable[[], str]
    namespace: str
    table: TokenTable | None
    tls: Callable[[str], Mapping[str, str]]


class MemberStart:
    """Makes what members are started with.

    Args:
        draw: digits by chance, so many.
    """

    def __init__(self, joining: MemberJoin, draw: Callable[[int], str]) -> None:
        self._joining = joining
        self._draw = draw

    def new_member(self, pool: str) -> NewMember:
        """The ids of a new member of a pool."""
        token_id = tokens.generate_id() if self._joining.table is not None else ""
        return NewMember(f"{pool}-{self._draw(_ID_DIGITS)}", token_id)

    async def spec(self, pool: pool_pb2.Pool, member: pool_pb2.PoolMember) -> MemberSpec:
        """All that starts a member. Its token is stored, if it has one.

        Raises:
            WeftError: the store cannot be read or written.
        """
        template, joining = template_of(pool, member.version), self._joining
        target = joining.target()
        labels = dict(template.labels) | {POOL_LABEL: pool.name, VERSION_LABEL: str(member.version)}
        found = {
            "WEFT_TARGET": target,
            "WEFT_AGENT_ID": member.id,
            "WEFT_AGENT_LABELS": json.dumps(labels, ensure_ascii=False),
            "WEFT_AGENT_RESOURCES": json.dumps(dict(template.resources)) if template.resources else "",
            "WEFT_AGENT_SLOTS": str(template.slots or ""),
            "WEFT_NAMESPACE": joining.namespace,
            "WEFT_TOKEN": await self._token(pool, member),
            # The files of the folder are for people and services.
            "WEFT_CONFIG": "off",
        }
        own = {name: text for name, text in found.items() if text}
        return MemberSpec(
            member.id, pool.name, template, dict(joining.tls(target)) | dict(template.environment) | own
        )

    async def _token(self, pool: pool_pb2.Pool, member: pool_pb2.PoolMember) -> str:
        table = self._joining.table
        if table is None or not member.token_id:
            return ""
        text = tokens.generate(member.token_id)
        request = security_pb2.CreateTokenRequest(
            role=AGENT,
            scope=security_pb2.TokenScope(
                agent_ids=[member.id], namespaces=[self._joining.namespace or namespace_names.DEFAULT]
            ),
            comment=f"pool: {pool.name}",
            max_uses=1,
            # It is revoked when the member has ended.
            never_expires=True,
        )
        try:
            return await table.create(new_token(request, member.token_id, "", table.now()), text)
        except Overloaded:
            # An earlier start made it, and nobody knows the text. That start may still have used it.
            turn = security_pb2.RotateTokenRequest(id=member.token_id)
            digest = tokens.digest(text)

            def turned(stored: security_pb2.StoredToken) -> bool:
                rotate(stored, turn, digest, table.now())
                return True

            await table.change(member.token_id, turned)
            return text

    async def revoke(self, token_id: str) -> None:
        """A member has ended: its token is of no use any more."""
        table = self._joining.table
        if table is None:
            return
        now = table.now()

        def revoked(stored: security_pb2.StoredToken) -> bool:
            if stored.token.HasField("revoke_time"):
                return False
            stored.token.revoke_time.CopyFrom(timestamp(now))
            return True

        try:
            await table.change(token_id, revoked)
        except NotFound:
            return


def own_target(address: str) -> str:
    """A coordinator's bound address, as agents of its machine dial it."""
    host, _, port = address.rpartition(":")
    return f"127.0.0.1:{port}" if host in _ANY_ADDRESS else address


def tls_variables(target: str, *, pin: str, join_port: int, ca: str) -> dict[str, str]:
    """The variables by which a member reaches coordinators safely.

    Args:
        pin: of a mesh that makes its certificates. Empty: it does not.
        ca: file of the authorities of the coordinator's certificate. Empty: it has none.
    """
    if pin and is_source(target):
        # It joins at the port after those that the source names.
        return {"WEFT_TLS_PIN": pin}
    if pin:
        hosts = [each.rpartition(":")[0] for each in target.split(",")]
        return {"WEFT_TLS_PIN": pin, "WEFT_TLS_JOIN": ",".join(f"{host}:{join_port}" for host in hosts)}
    return {"WEFT_TLS_CA": ca} if ca else {}
