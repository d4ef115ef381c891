"""The servicer of `weft.v1.StickySessionService`."""

from __future__ import annotations

import time
from typing import Any

from grpc import aio

from weft.coordinator import guard
from weft.coordinator.request_checks import check_page_size
from weft.coordinator.sticky import sticky_codec
from weft.coordinator.sticky.sticky_sessions import StickySessions
from weft.coordinator.sticky.sticky_table import EXTEND_AFTER, KIND, SessionName, kept_session
from weft.coordinator.store.base import Store
from weft.coordinator.store.rules import MAX_AGENT_ID
from weft.coordinator.store.sticky_agent import StickyAgent
from weft.coordinator.store.table_store import MAX_KEY_BYTES
from weft.rpc import refusals
from weft.rpc.calls.session_keys import StickyCall
from weft.rpc.identity.edge import Edge
from weft.rpc.times import duration
from weft.v1 import sticky_pb2, sticky_pb2_grpc

Context = aio.ServicerContext[Any, Any]

_PAGE = 100
# A caller asks again at least so often while it uses a session: it may have moved.
_VALID_S = 5.0
_MAX_NAME = 512


class StickySessionService(sticky_pb2_grpc.StickySessionServiceServicer):
    """Each RPC's errors and guarantee are in the contract's comments."""

    def __init__(self, store: Store, sessions: StickySessions, edge: Edge) -> None:
        self._store = store
        self._sessions = sessions
        self._edge = edge

    @guard.unary
    async def FindStickySession(
        self, request: sticky_pb2.FindStickySessionRequest, context: Context
    ) -> sticky_pb2.FindStickySessionResponse:
        service, _, name = request.method.rpartition("/")
        if not service or not name or len(request.method) > _MAX_NAME:
            raise refusals.invalid_field(
                'method must be the full name of a method, "package.Service/Method"', field="method"
            )
        call = sticky_codec.checked(request.session, "session")
        self._edge.check_method(context, request.method)
        return answer_of(await self._sessions.find(request.method, call), call)

    @guard.unary
    async def ListStickySessions(
        self, request: sticky_pb2.ListStickySessionsRequest, context: Context
    ) -> sticky_pb2.ListStickySessionsResponse:
        check_page_size(request.page_size)
        if len(request.page_token.encode()) > MAX_KEY_BYTES:
            raise refusals.invalid_field("page_token is not one of this listing", field="page_token")
        if len(request.agent_id) > MAX_AGENT_ID:
            raise refusals.invalid_field(f"agent_id has at most {MAX_AGENT_ID} characters", field="agent_id")
        limit = request.page_size or _PAGE
        page = await self._store.list_rows(KIND, limit=limit, cursor=request.page_token)
        now = self._store.now()
        answer = sticky_pb2.ListStickySessionsResponse(next_page_token=page.cursor)
        for row in page.rows:
            kept = kept_session(row)
            if kept.due_at <= now or request.agent_id not in ("", kept.agent.agent_id):
                continue
            record = kept.record()
            if kept.name.hard:
                record.lost = self._sessions.lost(kept.agent, time.monotonic())
            answer.sessions.append(record)
        return answer

    @guard.unary
    async def EndStickySession(
        self, request: sticky_pb2.EndStickySessionRequest, context: Context
    ) -> sticky_pb2.EndStickySessionResponse:
        call = sticky_codec.checked(request.session, "session")
        service = request.service.partition("/")[0]
        if not service or len(request.service) > _MAX_NAME:
            raise refusals.invalid_field(
                'service must be the full name of a service, "package.Service"', field="service"
            )
        self._edge.check_method(context, request.service if "/" in request.service else f"{service}/")
        if not await self._sessions.table.end(SessionName(service, call.hard, call.key)):
            raise refusals.sticky_session_not_found(call.key, service)
        return sticky_pb2.EndStickySessionResponse()


def answer_of(agent: StickyAgent, call: StickyCall) -> sticky_pb2.FindStickySessionResponse:
    """The agent of a session, and how long the answer holds."""
    return sticky_pb2.FindStickySessionResponse(
        agent_id=agent.agent_id,
        instance_id=agent.instance_id,
        valid=duration(min(_VALID_S, EXTEND_AFTER * call.idle_ttl_s)),
    )
