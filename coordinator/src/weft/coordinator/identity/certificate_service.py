"""The servicer of `weft.v1.CertificateService`: certificates for who joins, by the token that they show."""

from __future__ import annotations

from typing import Any

from grpc import aio

from weft.coordinator import guard
from weft.coordinator.identity.certificate_rules import end_of_membership, note_membership
from weft.coordinator.identity.own_authority import OwnAuthority
from weft.coordinator.identity.token_table import TokenTable
from weft.rpc import refusals
from weft.rpc.identity.caller import AGENT, OPERATOR, Caller, role_name
from weft.rpc.identity.edge import Edge
from weft.rpc.process.logs import get_logger
from weft.rpc.security import mesh_names
from weft.rpc.times import checked_duration, duration, timestamp
from weft.v1 import certificate_pb2, certificate_pb2_grpc, security_pb2

log = get_logger(__name__)

_ISSUE = "weft.v1.CertificateService/IssueCertificate"
# Of each step of a change of the authority.
MAX_OVERLAP_S = 30 * 86400.0

Context = aio.ServicerContext[Any, Any]


class CertificateService(certificate_pb2_grpc.CertificateServiceServicer):
    """Each RPC's errors and guarantee are in the contract's comments.

    Args:
        authority: None: this coordinator makes no certificates.
    """

    def __init__(self, table: TokenTable, edge: Edge, authority: OwnAuthority | None) -> None:
        self._table = table
        self._edge = edge
        self._authority = authority
        # Where callers without a certificate join.
        self.join_port = 0

    @guard.unary
    async def IssueCertificate(
        self, request: certificate_pb2.IssueCertificateRequest, context: Context
    ) -> certificate_pb2.IssueCertificateResponse:
        with self._edge.counting(context, _ISSUE):
            return await self._issued(request, context)

    async def _issued(
        self, request: certificate_pb2.IssueCertificateRequest, context: Context
    ) -> certificate_pb2.IssueCertificateResponse:
        from weft.rpc.security.certificates import Names

        authority, caller = self._present(), self._edge.caller(context)
        agent_id = request.agent_id
        if agent_id:
            _check_agent(caller, agent_id)
        is_agent = bool(agent_id)
        if caller.token_id:
            token = await self._joined(caller, agent_id)
            name, uri = token.id, mesh_names.client_uri(token.id)
            ends_at = end_of_membership(token, is_agent=is_agent)
        else:
            # Its token proves it with each call: the certificate opens connections alone, as long as that one is valid.
            name, uri = mesh_names.OUTSIDE_NAME, mesh_names.outside_uri(caller.subject)
            ends_at = self._edge.verdict(context).ends_at
        if agent_id:
            names = Names(name, [mesh_names.agent_port(agent_id)], uris=[mesh_names.agent_uri(agent_id)])
        else:
            names = Names(name, uris=[uri])
        left_s = ends_at - self._table.now()
        made = authority.sign(request.signing_request, names, left_s, serves=is_agent)
        log.info("certificate.issued", subject=names.uris[0], token_id=caller.token_id)
        return certificate_pb2.IssueCertificateResponse(
            certificate=made.certificate,
            authorities=authority.known.trusted,
            expire_time=timestamp(made.ends.timestamp()),
            renew_after=duration(made.renew_after_s),
        )

    @guard.unary
    async def GetAuthority(
        self, request: certificate_pb2.GetAuthorityRequest, context: Context
    ) -> certificate_pb2.GetAuthorityResponse:
        found = self._present().present
        return certificate_pb2.GetAuthorityResponse(
            pin=found.pin,
            certificate=found.certificate,
            join_port=self.join_port,
            expire_time=timestamp(found.ends.timestamp()),
            change=self._present().known.change,
        )

    @guard.unary
    async def RotateAuthority(
        self, request: certificate_pb2.RotateAuthorityRequest, context: Context
    ) -> certificate_pb2.RotateAuthorityResponse:
        overlap_s: float | None = None
        if request.HasField("overlap"):
            overlap_s = checked_duration(request.overlap, "overlap", most_s=MAX_OVERLAP_S)
        change, existed = await self._present().rotate(overlap_s)
        return certificate_pb2.RotateAuthorityResponse(change=change, existed=existed)

    def _present(self) -> OwnAuthority:
        if self._authority is None:
            raise refusals.no_authority()
        return self._authority

    async def _joined(self, caller: Caller, agent_id: str) -> security_pb2.Token:
        """The caller's token, with its use noted.

        Raises:
            PermissionDenied: TOKEN_USED_UP.
            NotFound: it was deleted meanwhile.
        """
        assert self._authority is not None
        lifetime_s = self._authority.lifetime_s
        ends_at = self._table.now() + lifetime_s
        return await self._table.change(
            caller.token_id, lambda stored: note_membership(stored.token, agent_id, ends_at, lifetime_s)
        )


def _check_agent(caller: Caller, agent_id: str) -> None:
    """
    Raises:
        InvalidArgument: no agent can have the id.
        PermissionDenied: the caller may not be this agent.
    """
    if not mesh_names.is_agent_id(agent_id):
        raise refusals.invalid_field(
            "an agent's id has 1 to 128 characters of A-Z a-z 0-9 . _ : / @ -", field="agent_id"
        )
    if caller.role not in (AGENT, OPERATOR):
        raise refusals.role_needed("a certificate for an agent", role_name(caller.role), role_name(AGENT))
    if (beyond := caller.scope.beyond(agent_id, (), {})) is not None:
        raise refusals.out_of_scope(*beyond)
