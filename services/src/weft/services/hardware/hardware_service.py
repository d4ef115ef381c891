"""The servicer of `HardwareService`.

sampling in the background ─► History ─┐
a call ─► two reads in threads ────────┴─► rules ─► the answer
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Collection, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NoReturn, TypeVar

import grpc
import grpc.aio

from weft.agent import Agent
from weft.services.hardware.container_view import list_containers
from weft.services.hardware.counters import Counters, read_counters
from weft.services.hardware.outside import OutsideError
from weft.services.hardware.pod_view import list_pods
from weft.services.hardware.sample_history import History
from weft.services.hardware.settings import HardwareSettings
from weft.services.hardware.snapshots import make_snapshot
from weft.services.hardware.suggestions import suggest
from weft.services.hardware.thresholds import bounds_of
from weft.services.hardware.v1 import hardware_pb2, hardware_pb2_grpc
from weft.services.hardware.what_if import UnknownSubjectError, predict, what_if
from weft.services.hardware.what_if_answers import answer_what_if
from weft.services.hardware.what_if_words import read_snapshot

DEFAULT_MEASURE_S = 0.5
DEFAULT_INTERVAL_S = 5.0
DEFAULT_PROCESSES = 5
# Processes of a sample that rules look at: those that use most.
SAMPLED_PROCESSES = 20
T = TypeVar("T")
Context = grpc.aio.ServicerContext[Any, Any]


class HardwareService(hardware_pb2_grpc.HardwareServiceServicer):
    """Answers for the machine of its agent."""

    def __init__(self, agent: Agent, settings: HardwareSettings) -> None:
        self._agent = agent
        self._settings = settings
        self._history = History(settings.sample_interval_s, settings.history_s)
        self._watches = 0
        # Threads of its own: a disk that does not answer must not hold up the agent's other handlers.
        self._threads = ThreadPoolExecutor(settings.max_reads, thread_name_prefix="hardware")

    async def sample_in_background(self) -> None:
        """Keep samples until the agent stops."""
        if not self._settings.sample_interval_s:
            return
        counters = await self._read(read_counters)
        while True:
            await asyncio.sleep(self._settings.sample_interval_s)
            sample, counters = await self._snapshot_since(counters, SAMPLED_PROCESSES)
            self._history.add(sample)

    async def GetSnapshot(
        self, request: hardware_pb2.GetSnapshotRequest, context: Context
    ) -> hardware_pb2.GetSnapshotResponse:
        over_s = DEFAULT_MEASURE_S
        if request.HasField("measure_over"):
            over_s = request.measure_over.ToTimedelta().total_seconds()
        found = await self._snapshot(over_s, request.max_processes or DEFAULT_PROCESSES)
        return hardware_pb2.GetSnapshotResponse(snapshot=found)

    async def Watch(
        self, request: hardware_pb2.WatchRequest, context: Context
    ) -> AsyncIterator[hardware_pb2.WatchResponse]:
        if self._watches >= self._settings.max_watches:
            await context.abort(
                grpc.StatusCode.RESOURCE_EXHAUSTED,
                f"this machine is watched {self._watches} times already (WEFT_HARDWARE_MAX_WATCHES)",
            )
        self._watches += 1
        try:
            interval_s = DEFAULT_INTERVAL_S
            if request.HasField("interval"):
                interval_s = request.interval.ToTimedelta().total_seconds()
            # The first one comes soon.
            wait_s, about, sent = DEFAULT_MEASURE_S, None, 0
            counters = await self._read(read_counters)
            while not request.max_samples or sent < request.max_samples:
                await asyncio.sleep(wait_s)
                wait_s = interval_s
                sample, counters = await self._snapshot_since(
                    counters, request.max_processes or DEFAULT_PROCESSES
                )
                found = suggest([*self._history.since(0), sample], bounds_of(request.thresholds))
                subjects = {(each.topic, each.subject, each.severity) for each in found}
                if not request.only_changes or subjects != about:
                    yield hardware_pb2.WatchResponse(snapshot=sample, suggestions=found)
                    sent += 1
                about = subjects
        finally:
            self._watches -= 1

    async def Suggest(
        self, request: hardware_pb2.SuggestRequest, context: Context
    ) -> hardware_pb2.SuggestResponse:
        since_s = 0.0
        if request.HasField("over"):
            since_s = time.time() - request.over.ToTimedelta().total_seconds()
        now = await self._snapshot(DEFAULT_MEASURE_S, SAMPLED_PROCESSES)
        samples = [*self._history.since(since_s), now]
        response = hardware_pb2.SuggestResponse(
            suggestions=suggest(samples, bounds_of(request.thresholds)), samples=len(samples)
        )
        passed = now.read_at.ToDatetime() - samples[0].read_at.ToDatetime()
        response.over.FromTimedelta(max(passed, passed * 0))
        return response

    async def WhatIf(
        self, request: hardware_pb2.WhatIfRequest, context: Context
    ) -> hardware_pb2.WhatIfResponse:
        present = await self._snapshot(DEFAULT_MEASURE_S, SAMPLED_PROCESSES, _ended(request.changes))
        try:
            then = predict(present, request.changes)
        except UnknownSubjectError as error:
            await _abort(context, grpc.StatusCode.NOT_FOUND, str(error))
        return what_if(present, then, bounds_of(request.thresholds))

    async def AskWhatIf(
        self, request: hardware_pb2.AskWhatIfRequest, context: Context
    ) -> hardware_pb2.AskWhatIfResponse:
        if request.snapshot_json:
            try:
                present = read_snapshot(request.snapshot_json)
            except ValueError as error:
                await _abort(context, grpc.StatusCode.INVALID_ARGUMENT, str(error))
        else:
            present = await self._snapshot(DEFAULT_MEASURE_S, SAMPLED_PROCESSES, _ended(request.changes))
        try:
            return await answer_what_if(request, present, self._settings.model_timeout_s)
        except UnknownSubjectError as error:
            await _abort(context, grpc.StatusCode.NOT_FOUND, str(error))

    async def ListContainers(
        self, request: hardware_pb2.ListContainersRequest, context: Context
    ) -> hardware_pb2.ListContainersResponse:
        try:
            return await list_containers(every=request.all, usage=request.usage)
        except OutsideError as error:
            await _abort(context, error.code, error.message)

    async def ListPods(
        self, request: hardware_pb2.ListPodsRequest, context: Context
    ) -> hardware_pb2.ListPodsResponse:
        try:
            return await list_pods(request)
        except OutsideError as error:
            await _abort(context, error.code, error.message)

    # -- reading the machine --------------------------------------------------------------------------------------

    async def _snapshot(
        self, over_s: float, max_processes: int, processes: Collection[int] = ()
    ) -> hardware_pb2.Snapshot:
        counters = await self._read(read_counters)
        await asyncio.sleep(over_s)
        return (await self._snapshot_since(counters, max_processes, processes))[0]

    async def _snapshot_since(
        self, before: Counters, max_processes: int, processes: Collection[int] = ()
    ) -> tuple[hardware_pb2.Snapshot, Counters]:
        return await self._read(make_snapshot, before, max_processes, self._agent.id, processes)

    async def _read(self, function: Callable[..., T], *arguments: object) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, function, *arguments)


def _ended(changes: Iterable[hardware_pb2.Change]) -> set[int]:
    """Processes that the changes end."""
    return {each.end_process.process_id for each in changes if each.HasField("end_process")}


async def _abort(context: Context, code: grpc.StatusCode, message: str) -> NoReturn:
    await context.abort(code, message)
    raise AssertionError("abort raises")
