"""The servicer of `weft.v1.StateService`."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing
from typing import Any

from google.protobuf.message import DecodeError
from grpc import aio

from weft.coordinator import guard
from weft.coordinator.identity.makers import maker_of
from weft.coordinator.state.state_kinds import KINDS
from weft.coordinator.state.state_reader import StateReader
from weft.coordinator.state.state_writer import MeshState, StateMakers, StateWriter
from weft.rpc import refusals
from weft.rpc.errors import WeftError
from weft.rpc.identity.edge import Edge
from weft.rpc.network.channel import BATCH_BYTES
from weft.v1 import security_pb2, state_pb2, state_pb2_grpc, usage_pb2

Context = aio.ServicerContext[Any, Any]

# Records of one message.
_BATCH = 256
# An export reads everything: others wait until it has ended.
_MOST_AT_A_TIME = 2
_DRAIN_S = 2.0


class StateService(state_pb2_grpc.StateServiceServicer):
    """Each RPC's errors and guarantee are in the contract's comments."""

    def __init__(
        self,
        mesh: MeshState,
        makers: StateMakers,
        edge: Edge,
        stalled_stream_s: float,
    ) -> None:
        self.stalled_stream_s = stalled_stream_s
        self._mesh, self._makers, self._edge = mesh, makers, edge
        self._running: set[asyncio.Timeout] = set()
        self._closed: WeftError | None = None

    def stop(self, error: WeftError) -> None:
        """End all exports and imports with an error."""
        self._closed = error
        now_s = asyncio.get_running_loop().time()
        for each in self._running:
            each.reschedule(now_s)

    @guard.stream
    async def ExportState(
        self,
        request: state_pb2.ExportStateRequest,
        context: Context,  # noqa: ARG002
    ) -> AsyncIterator[state_pb2.ExportStateResponse]:
        if unknown := set(request.kinds) - set(KINDS.values()):
            raise refusals.invalid_field(f"kinds has {min(unknown)}, which is no kind", field="kinds")
        limit = self._begin()
        reader = StateReader(
            self._mesh.store, self._mesh.contracts, self._budgets, self._makers.hooks, request
        )
        try:
            async with limit, aclosing(reader.records()) as records:
                batch, size_bytes = state_pb2.ExportStateResponse(), 0
                async for record in records:
                    batch.records.append(record)
                    size_bytes += record.ByteSize()
                    if len(batch.records) >= _BATCH or size_bytes >= BATCH_BYTES:
                        yield batch
                        batch, size_bytes = state_pb2.ExportStateResponse(), 0
                if batch.records:
                    yield batch
        except TimeoutError:
            raise self._closed or refusals.internal("the export was ended") from None
        finally:
            self._running.discard(limit)

    @guard.unary
    async def ImportState(
        self,
        request_iterator: AsyncIterator[state_pb2.ImportStateRequest],
        context: Context,
    ) -> state_pb2.ImportStateResponse:
        try:
            return await self._import(request_iterator, maker_of(self._edge.caller(context)))
        except WeftError:
            await _drain(request_iterator)
            raise

    async def _import(
        self, requests: AsyncIterator[state_pb2.ImportStateRequest], maker: security_pb2.Maker | None
    ) -> state_pb2.ImportStateResponse:
        limit = self._begin()
        writer = StateWriter(self._mesh, self._makers, maker)
        try:
            async with limit:
                async for request in guard.parsed(requests):
                    await writer.take(request.records)
                return await writer.finish()
        except TimeoutError:
            raise self._closed or refusals.internal("the import was ended") from None
        finally:
            self._running.discard(limit)

    def _budgets(self) -> Mapping[str, usage_pb2.Budget]:
        usage = self._makers.usage
        usage.settle()
        return usage.book.budgets

    def _begin(self) -> asyncio.Timeout:
        if self._closed is not None:
            raise self._closed
        if len(self._running) >= _MOST_AT_A_TIME:
            raise refusals.overloaded(
                f"{_MOST_AT_A_TIME} exports and imports are running already; try again later",
                retry_after_s=5.0,
            )
        limit = asyncio.timeout(None)
        self._running.add(limit)
        return limit


async def _drain(requests: AsyncIterator[state_pb2.ImportStateRequest]) -> None:
    """Read on for a moment: a client whose stream ends while it writes does not see the status."""
    with contextlib.suppress(TimeoutError, DecodeError):
        async with asyncio.timeout(_DRAIN_S):
            async for _ in requests:
                pass
