"""The servicer of `HardwareService`: reads the machine in threads, so many calls at a time."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc.aio

from weft.agent import Agent
from weft.services.hardware.counters import read_counters
from weft.services.hardware.settings import HardwareSettings
from weft.services.hardware.snapshots import make_snapshot
from weft.services.hardware.v1 import hardware_pb2, hardware_pb2_grpc

DEFAULT_MEASURE_S = 0.5
DEFAULT_PROCESSES = 5


class HardwareService(hardware_pb2_grpc.HardwareServiceServicer):
    """Answers for the machine of its agent."""

    def __init__(self, agent: Agent, settings: HardwareSettings) -> None:
        self._agent = agent
        self._turns = asyncio.Semaphore(settings.max_calls)

    async def GetSnapshot(
        self, request: hardware_pb2.GetSnapshotRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> hardware_pb2.GetSnapshotResponse:
        over_s = DEFAULT_MEASURE_S
        if request.HasField("measure_over"):
            over_s = request.measure_over.ToTimedelta().total_seconds()
        return hardware_pb2.GetSnapshotResponse(
            snapshot=await self._snapshot(over_s, request.max_processes or DEFAULT_PROCESSES)
        )

    async def _snapshot(self, over_s: float, max_processes: int) -> hardware_pb2.Snapshot:
        async with self._turns:
            before = await asyncio.to_thread(read_counters)
            await asyncio.sleep(over_s)
            return await asyncio.to_thread(make_snapshot, before, max_processes, self._agent.id)
