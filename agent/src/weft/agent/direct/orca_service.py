"""gRPC's out-of-band load reports (gRFC A51): `xds.service.orca.v3.OpenRcaService/StreamCoreMetrics`.

For clients of gRPC whose `weighted_round_robin` balances over agents' ports, and is set to get reports apart from calls.
"""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
from google.protobuf.message import DecodeError

from weft.agent.direct.direct_endings import Endings
from weft.agent.direct.load_trailers import LoadReports
from weft.rpc import refusals
from weft.rpc.network.gone import to_caller
from weft.rpc.network.routes import Routes
from weft.rpc.times import seconds
from weft.v1 import agent_pb2

PATH = "/xds.service.orca.v3.OpenRcaService/StreamCoreMetrics"
LEAST_INTERVAL_S = 1.0
MOST_INTERVAL_S = 3600.0
MOST_STREAMS = 1024
# A peer that does not read for so long is dropped.
_STALLED_S = 30.0


class OrcaReports:
    """The service."""

    def __init__(self, load: LoadReports, endings: Endings) -> None:
        self._load = load
        self._endings = endings
        self._streams = 0
        self._handler: Any = grpc.unary_stream_rpc_method_handler(self._report)

    def serve_on(self, routes: Routes) -> None:
        routes.add(PATH, self._handler)

    async def _report(self, raw: bytes, context: Any) -> None:
        try:
            request = agent_pb2.OrcaLoadReportRequest.FromString(raw)
        except DecodeError as error:
            await self._endings.refuse(
                refusals.payload_malformed(f"the request does not parse: {error}"), context
            )
        if self._streams >= MOST_STREAMS:
            full = refusals.overloaded(f"{MOST_STREAMS} streams of load reports are open", retry_after_s=1.0)
            await self._endings.refuse(full, context)
        asked_s = seconds(request.report_interval) if request.HasField("report_interval") else 0.0
        interval_s = min(MOST_INTERVAL_S, max(LEAST_INTERVAL_S, asked_s))
        self._streams += 1
        try:
            while True:
                async with asyncio.timeout(_STALLED_S):
                    await to_caller(context.write(self._load.orca()))
                await asyncio.sleep(interval_s)
        except TimeoutError:
            await self._endings.refuse(refusals.overloaded("the stream was not read"), context)
        finally:
            self._streams -= 1
