"""Who gave an order that is carried out later, such as a schedule: noted with the order, and judged again each time.

order ─► maker: the token's id, or what an outside issuer's claims granted
tick  ─► the token as it is now ─┐
         what was granted ───────┴─► the policy as it is now ─► may the maker still call the method?
"""

from __future__ import annotations

from weft.coordinator.access.policy_judge import PolicyJudge
from weft.coordinator.identity.certificate_rules import holds
from weft.coordinator.identity.token_table import TokenTable
from weft.rpc import refusals
from weft.rpc.errors import NotFound
from weft.rpc.identity.caller import Caller
from weft.rpc.identity.edge import Edge
from weft.rpc.identity.judges import TokenVerdict
from weft.rpc.identity.scope import scope_of
from weft.v1 import security_pb2


def maker_of(caller: Caller) -> security_pb2.Maker | None:
    """The maker of what a caller orders. None: the coordinator does not ask who calls."""
    if not caller.subject:
        return None
    made = security_pb2.Maker(subject=caller.subject, token_id=caller.token_id)
    if not caller.token_id:
        made.role = caller.role
        made.scope.CopyFrom(security_pb2.TokenScope(**caller.scope._asdict()))
    return made


class Makers:
    """Judges makers of orders in one namespace.

    Args:
        namespace: empty: the default one.
    """

    def __init__(self, table: TokenTable, judge: PolicyJudge, edge: Edge, namespace: str = "") -> None:
        self._table = table
        self._judge = judge
        self._edge = edge
        self._namespace = namespace

    async def check(self, maker: security_pb2.Maker, method: str) -> None:
        """Refuse an order whose maker may not call its method now. One without a maker was made where nobody asked.

        Raises:
            Unauthenticated: TOKEN_REVOKED, TOKEN_EXPIRED, JWT_INVALID.
            PermissionDenied: OUT_OF_SCOPE, POLICY_DENIED.
            Unavailable: the store cannot be read.
        """
        if not maker.subject or not self._edge.on:
            return
        caller = self._judge.ruled(TokenVerdict(await self._caller(maker))).caller
        caller = caller._replace(namespace=self._namespace)
        caller.check_namespace()
        caller.check_method(method)

    async def _caller(self, maker: security_pb2.Maker) -> Caller:
        if not maker.token_id:
            if not self._judge.trusts(maker.subject):
                raise refusals.jwt_invalid(
                    f"the policy does not trust the issuer of {maker.subject} any more"
                )
            return Caller(maker.role, scope_of(maker.scope), subject=maker.subject)
        try:
            stored, _ = await self._table.read(maker.token_id)
        except NotFound:
            # Those that have ended are forgotten later.
            raise refusals.token_expired(maker.token_id) from None
        token = stored.token
        if token.HasField("revoke_time"):
            raise refusals.token_revoked(token.id, shown=True)
        if not holds(token, maker.subject, self._table.now()):
            raise refusals.token_expired(token.id)
        return Caller(
            token.role, scope_of(token.scope), token.id, subject=maker.subject, token_name=token.name
        )
