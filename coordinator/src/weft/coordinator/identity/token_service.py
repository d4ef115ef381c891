"""The servicer of `weft.v1.TokenService`: checks requests, and reads and changes tokens in the store's table."""

from __future__ import annotations

import math
from typing import Any

from grpc import aio

from weft.coordinator import guard
from weft.coordinator.access.policy_judge import PolicyJudge
from weft.coordinator.identity.ticket_office import TicketOffice
from weft.coordinator.identity.token_rules import CHECK_KEPT_S, new_token, rotate
from weft.coordinator.identity.token_table import TokenTable
from weft.coordinator.request_checks import check_page_size
from weft.rpc import refusals
from weft.rpc.errors import PermissionDenied, Unauthenticated
from weft.rpc.identity.caller import Caller, role_name, tell_caller
from weft.rpc.identity.edge import Edge
from weft.rpc.identity.shown_text import check_form
from weft.rpc.process.logs import get_logger
from weft.rpc.security import tickets, tokens
from weft.rpc.times import duration, timestamp
from weft.v1 import security_pb2, security_pb2_grpc

log = get_logger(__name__)

# Tickets that one request may ask for, and the characters of an agent's id.
MAX_TICKETS = 1000
MAX_ID_CHARS = 128

Context = aio.ServicerContext[Any, Any]


class TokenService(security_pb2_grpc.TokenServiceServicer):
    """Each RPC's errors and guarantee are in the contract's comments."""

    def __init__(
        self,
        table: TokenTable,
        judge: PolicyJudge,
        edge: Edge,
        office: TicketOffice,
        *,
        takes_subjects: bool = True,
    ) -> None:
        """
        Args:
            takes_subjects: certificates of other authorities may stand for tokens.
        """
        self._takes_subjects = takes_subjects
        self._table = table
        self._judge = judge
        self._edge = edge
        self._office = office

    @guard.unary
    async def CreateToken(
        self, request: security_pb2.CreateTokenRequest, context: Context
    ) -> security_pb2.CreateTokenResponse:
        maker = _name(self._edge.caller(context))
        if request.subjects and not self._takes_subjects:
            raise refusals.invalid_field(
                "subjects are for certificates of other authorities, and the ports of this mesh take those of its own alone (--ca auto):"
                " make a token without subjects, and let its holder join with it",
                field="subjects",
            )
        token = new_token(request, tokens.generate_id(), maker, self._table.now())
        text = await self._table.create(token)
        log.info("token.created", token_id=token.id, role=role_name(token.role), by=maker)
        return security_pb2.CreateTokenResponse(token=token, text=text)

    @guard.unary
    async def ListTokens(
        self, request: security_pb2.ListTokensRequest, context: Context
    ) -> security_pb2.ListTokensResponse:
        check_page_size(request.page_size)
        if request.page_token and not tokens.is_id(request.page_token):
            raise refusals.invalid_field("page_token is not one of this listing", field="page_token")
        found, cursor = await self._table.page(request.page_size or 100, request.page_token)
        return security_pb2.ListTokensResponse(tokens=found, next_page_token=cursor)

    @guard.unary
    async def GetToken(
        self, request: security_pb2.GetTokenRequest, context: Context
    ) -> security_pb2.GetTokenResponse:
        stored, _ = await self._table.read(request.id)
        return security_pb2.GetTokenResponse(token=stored.token)

    @guard.unary
    async def RotateToken(
        self, request: security_pb2.RotateTokenRequest, context: Context
    ) -> security_pb2.RotateTokenResponse:
        text = tokens.generate(request.id) if tokens.is_id(request.id) else ""
        now = self._table.now()

        def change(stored: security_pb2.StoredToken) -> bool:
            rotate(stored, request, tokens.digest(text), now)
            return True

        token = await self._table.change(request.id, change)
        log.info("token.rotated", token_id=token.id, by=_name(self._edge.caller(context)))
        return security_pb2.RotateTokenResponse(token=token, text=text)

    @guard.unary
    async def RevokeToken(
        self, request: security_pb2.RevokeTokenRequest, context: Context
    ) -> security_pb2.RevokeTokenResponse:
        now = self._table.now()
        maker = _name(self._edge.caller(context))

        def change(stored: security_pb2.StoredToken) -> bool:
            if stored.token.HasField("revoke_time"):
                return False
            stored.token.revoke_time.CopyFrom(timestamp(now))
            return True

        token = await self._table.change(request.id, change)
        log.info("token.revoked", token_id=token.id, by=maker)
        return security_pb2.RevokeTokenResponse(token=token)

    @guard.unary
    async def CheckToken(
        self, request: security_pb2.CheckTokenRequest, context: Context
    ) -> security_pb2.CheckTokenResponse:
        if not self._edge.on:
            return security_pb2.CheckTokenResponse(unchecked=True)
        # The agent's own namespace: that of the calls at its port.
        namespace = self._edge.caller(context).namespace
        try:
            if not request.text:
                verdict = self._edge.verdict(context)
            elif tickets.is_ticket(request.text):
                verdict = self._judge.ruled(await self._office.judge(request.text))
                if verdict.caller.namespace != namespace:
                    raise refusals.ticket_invalid("it is for another agent")
            else:
                check_form(request.text)
                verdict = await self._judge.judge(request.text)
            caller = verdict.caller._replace(namespace=namespace)
            caller.check_namespace()
        except (Unauthenticated, PermissionDenied) as refusal:
            return security_pb2.CheckTokenResponse(refusal=refusal.status())
        left_s = max(0.0, verdict.ends_at - self._judge.now())
        response = tell_caller(caller)
        response.time_left.CopyFrom(duration(min(left_s, CHECK_KEPT_S)))
        if math.isfinite(left_s):
            response.ends_in.CopyFrom(duration(left_s))
        return response

    @guard.unary
    async def CreateTickets(
        self, request: security_pb2.CreateTicketsRequest, context: Context
    ) -> security_pb2.CreateTicketsResponse:
        if not self._edge.on:
            return security_pb2.CreateTicketsResponse(unchecked=True)
        if len(request.agents) > MAX_TICKETS:
            raise refusals.invalid_field(f"agents are at most {MAX_TICKETS} a request", field="agents")
        for agent in request.agents:
            if not agent.agent_id or max(len(agent.agent_id), len(agent.instance_id)) > MAX_ID_CHARS:
                raise refusals.invalid_field(
                    f"an agent has an id of 1 to {MAX_ID_CHARS} characters", field="agents.agent_id"
                )
        verdict = self._edge.verdict(context)
        made = [self._office.make(verdict, each) for each in request.agents]
        ends_at = self._office.ends_at(verdict)
        return security_pb2.CreateTicketsResponse(
            texts=made, time_left=duration(max(0.0, ends_at - self._office.now()))
        )


def _name(caller: Caller) -> str:
    """What is kept of the maker of a token."""
    return caller.token_id or caller.subject
