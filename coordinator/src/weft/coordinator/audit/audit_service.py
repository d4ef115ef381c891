"""The servicer of `weft.v1.AuditService`: reads the events of all coordinators from the store."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator
from typing import Any

from grpc import aio

from weft.coordinator import guard
from weft.coordinator.audit.audit_event import Record, message_of
from weft.coordinator.audit.audit_log import AuditLog
from weft.coordinator.audit.audit_table import AuditTable, cursor_at
from weft.coordinator.request_checks import check_page_size
from weft.coordinator.settings import CoordinatorSettings
from weft.rpc import refusals
from weft.rpc.times import seconds
from weft.v1 import audit_pb2, audit_pb2_grpc

Context = aio.ServicerContext[Any, Any]

# Events of one message.
_BATCH = 200
# A watch reads again from so long ago: another coordinator may write an event a little late.
_LATE_S = 10.0
# Keys that a watch knows it has sent: more than are written in that time, nearly always.
_KNOWN = 20_000
# Without any news, a watch looks so often.
_LOOK_S = 5.0
MAX_WATCHES = 100
_MAX_CURSOR_CHARS = 128


class AuditService(audit_pb2_grpc.AuditServiceServicer):
    """Each RPC's errors and guarantee are in the contract's comments.

    Args:
        kept: events are kept in the store.
    """

    def __init__(
        self, table: AuditTable, log: AuditLog, settings: CoordinatorSettings, *, kept: bool
    ) -> None:
        self._table = table
        self._log = log
        self._kept = kept
        self.stalled_stream_s = settings.stalled_stream_s
        self._news: set[asyncio.Event] = set()
        self._stopping = False

    def come(self) -> None:
        """There may be new events."""
        for each in self._news:
            each.set()

    def stop(self) -> None:
        """End the watches."""
        self._stopping = True
        self.come()

    @guard.unary
    async def ListAuditEvents(
        self, request: audit_pb2.ListAuditEventsRequest, context: Context
    ) -> audit_pb2.ListAuditEventsResponse:
        check_page_size(request.page_size)
        self._check_kept()
        cursor = request.page_token
        if len(cursor) > _MAX_CURSOR_CHARS or not cursor.isascii() or not cursor.isprintable():
            raise refusals.invalid_field("page_token is not one of this listing", field="page_token")
        if not cursor and request.HasField("since"):
            cursor = cursor_at(seconds(request.since))
        records, cursor = await self._table.page(request.page_size or 100, cursor)
        return audit_pb2.ListAuditEventsResponse(
            events=map(message_of, records),
            next_page_token=cursor,
            faults=self._log.faults,
            lost=self._log.lost,
        )

    @guard.stream
    async def WatchAuditEvents(
        self, request: audit_pb2.WatchAuditEventsRequest, context: Context
    ) -> AsyncIterator[audit_pb2.WatchAuditEventsResponse]:
        self._check_kept()
        if len(self._news) >= MAX_WATCHES:
            raise refusals.overloaded(f"{MAX_WATCHES} calls watch the audit, the most that are allowed")
        since = seconds(request.since) if request.HasField("since") else self._table.now()
        news = asyncio.Event()
        self._news.add(news)
        known: deque[str] = deque(maxlen=_KNOWN)
        try:
            while not self._stopping:
                news.clear()
                batch: list[Record] = []
                began = self._table.now()
                sent = set(known)
                async for key, record in self._table.after(cursor_at(since)):
                    if key in sent:
                        continue
                    known.append(key)
                    batch.append(record)
                    if len(batch) >= _BATCH:
                        yield _response(batch)
                        batch = []
                if batch:
                    yield _response(batch)
                since = max(since, began - _LATE_S)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_LOOK_S):
                        await news.wait()
        finally:
            self._news.discard(news)
        raise refusals.stopping("the coordinator is stopping; watch at another one", retry_after_s=1.0)

    def _check_kept(self) -> None:
        if not self._kept:
            raise refusals.audit_off()


def _response(records: list[Record]) -> audit_pb2.WatchAuditEventsResponse:
    return audit_pb2.WatchAuditEventsResponse(events=map(message_of, records))
