"""The servicer of `weft.v1.LogService`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

from grpc import aio

from weft.coordinator import guard
from weft.coordinator.fleet.agent_register import AgentRegister
from weft.coordinator.identity.task_sight import check_seen
from weft.coordinator.sessions.sessions_by_agent import SessionsByAgent
from weft.coordinator.settings import CoordinatorSettings
from weft.coordinator.store.base import Store
from weft.coordinator.task_logs.log_requests import LogRequests
from weft.coordinator.task_logs.task_log_reader import TaskLogReader
from weft.rpc import refusals
from weft.rpc.errors import WeftError
from weft.rpc.identity.edge import Edge
from weft.v1 import logs_pb2, logs_pb2_grpc

Context = aio.ServicerContext[Any, Any]


class LogService(logs_pb2_grpc.LogServiceServicer):
    """Each RPC's errors and guarantee are in the contract's comments.

    Args:
        is_elsewhere: whether another coordinator has the session of an agent.
    """

    def __init__(
        self,
        store: Store,
        sessions: SessionsByAgent,
        register: AgentRegister,
        settings: CoordinatorSettings,
        edge: Edge,
    ) -> None:
        self._edge = edge
        self.stalled_stream_s = settings.stalled_stream_s
        self.asked = LogRequests(store, sessions, register.is_elsewhere)
        self._store = store
        self._max_readers = settings.max_watchers
        self._readers: set[asyncio.Timeout] = set()
        self._closed: WeftError | None = None

    async def stop(self, error: WeftError) -> None:
        """End all streams with an error, and give up the questions of other coordinators."""
        self._closed = error
        now_s = asyncio.get_running_loop().time()
        for reader in self._readers:
            reader.reschedule(now_s)
        await self.asked.stop()

    @guard.stream
    async def GetTaskLogs(
        self, request: logs_pb2.GetTaskLogsRequest, context: Context
    ) -> AsyncIterator[logs_pb2.GetTaskLogsResponse]:
        if self._closed is not None:
            raise self._closed
        await check_seen(self._store, self._edge.caller(context), [request.task_id])
        if len(self._readers) >= self._max_readers:
            raise refusals.overloaded(
                f"{self._max_readers} streams read logs already; try again later", retry_after_s=5.0
            )
        reader = TaskLogReader(self._store, self.asked, request.task_id, follow=request.follow)
        limit = asyncio.timeout(None)
        self._readers.add(limit)
        try:
            async with limit, aclosing(reader.responses()) as responses:
                async for response in responses:
                    yield response
        except TimeoutError:
            raise self._closed or refusals.internal("the stream was ended") from None
        finally:
            self._readers.discard(limit)
