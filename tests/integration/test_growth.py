"""Days of a mesh whose agents, labels, methods, tasks and traces are always new: nothing of them stays. The clock jumps."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sqlite3
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest

from probe.v1 import probe_pb2_grpc
from probe.v1.probe_pb2 import ProbeReply, ProbeRequest
from tests.support import schema
from tests.support.growth import grown, holdings
from tests.support.lightweight import LightAgent, result_of
from tests.support.trace_tree import Caller
from weft.agent import Agent
from weft.agent.session import kept_logs
from weft.client import Every
from weft.coordinator.dispatch import session_index
from weft.coordinator.fleet.change_log import ChangeLog
from weft.coordinator.server import Coordinator
from weft.coordinator.sessions import agent_session, attempt_outcomes
from weft.coordinator.store.embedded import task_demand
from weft.coordinator.store.embedded.task_spec import SpecTable
from weft.rpc import wrapped_handlers
from weft.rpc.telemetry import otlp_encoding
from weft.rpc.telemetry.exposition import encode
from weft.rpc.telemetry.span_log import SpanLog
from weft.rpc.telemetry.span_records import Recorded
from weft.rpc.telemetry.span_tracer import SpanTracer
from weft.testing import LocalMesh, local_mesh, mesh_of
from weft.v1 import coordinator_pb2 as api
from weft.v1 import coordinator_pb2_grpc, stats_pb2, stats_pb2_grpc

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

# Of four hours each: eight days, longer than whatever is kept longest.
VISITS = 48
VISIT_S = 4 * 3600
FORGOTTEN_S = 15.0
# What caches keep here, and what may be more or less by chance.
SMALL = 16
# Figures have series for so many methods: reached on the first day.
METHODS = 20
CALL = "probe.v1.ProbeService/Call"


class EncodingSink:
    """Takes spans encoded, as a collector does."""

    takes_encoded = True

    def __init__(self) -> None:
        self.spans = 0

    def export(self, recorded: Sequence[Recorded | bytes], count: int, spans: Sequence[Any]) -> bool:
        assert all(isinstance(each, bytes) for each in recorded)
        self.spans += count + len(spans)
        return True

    def shutdown(self) -> None:
        """Nothing to end."""


class EveryTrace:
    """Records all spans."""

    follows_parent = False

    def __call__(self, *_: Any) -> bool:
        return True


class Visits:
    """Each visit has an agent, a label, methods, callers and tasks that come in no other."""

    def __init__(self, mesh: LocalMesh, coordinator: Coordinator) -> None:
        self._mesh = mesh
        self._coordinator = coordinator
        self._number = 0

    async def come_and_go(self, times: int) -> None:
        for _ in range(times):
            self._number += 1
            async with grpc.aio.insecure_channel(self._coordinator.address) as channel:
                await self._visit(channel, f"n{self._number}")
            await self._mesh.clock.advance(VISIT_S)

    async def _visit(self, channel: grpc.aio.Channel, name: str) -> None:
        package = f"{name}.v1"
        methods = [f"{package}.Service/{each}" for each in ("Call", "Other")]
        made = schema.file(
            f"{name}.proto", package=package, methods=[f"{m.split('/')[1]} Request Response" for m in methods]
        )
        agent = LightAgent(
            channel,
            name,
            slots=4,
            methods=methods,
            contract=schema.file_set(made),
            labels={"name": name},
            answer=lambda task: result_of(task, response=b""),
        )
        async with agent:
            # Its contract is checked beside what it says.
            while not (await api_of(channel).ListAgents(api.ListAgentsRequest(method=methods[0]))).agents:
                await asyncio.sleep(0.001)
            for method in methods:
                await channel.unary_unary(f"/{method}")(
                    b"", timeout=10, metadata=(*Caller().trace, ("weft-require", f"name={name}"))
                )
            await self._tasks(channel, name)
        await self._faults(channel, name)
        statistics = stats_pb2_grpc.StatsServiceStub(channel)
        await statistics.GetStats(stats_pb2.GetStatsRequest(), timeout=10)
        await api_of(channel).ListQueues(api.ListQueuesRequest(), timeout=10)
        encode(self._coordinator.figures.read())

    async def _tasks(self, channel: grpc.aio.Channel, name: str) -> None:
        """By the library, of the agent that stays."""
        mesh = self._mesh
        probe = probe_pb2_grpc.ProbeServiceStub(channel)
        await probe.Call(ProbeRequest(text=name), timeout=10, metadata=Caller().trace)
        async with mesh.group(f"group-{name}") as group:
            for number in range(3):
                await group.submit(
                    CALL,
                    ProbeRequest(text=name),
                    request_id=f"{name}-{number}",
                    locks=[f"lock-{name}"],
                    fairness_key=name,
                )
        await group.wait(10)
        handle = await mesh.tasks.submit(CALL, ProbeRequest(fail_code=5), fairness_key=name)
        with contextlib.suppress(Exception):
            await handle.result()
        watched = await mesh.tasks.submit(
            CALL, ProbeRequest(text=name), require_labels={"name": f"no-{name}"}
        )
        await watched.cancel()
        await mesh.schedules.create(f"schedule-{name}", CALL, ProbeRequest(text=name), Every(1800))
        await mesh.schedules.delete(f"schedule-{name}")

    async def _faults(self, channel: grpc.aio.Channel, name: str) -> None:
        """Callers who ask for what is not there."""
        for path in (f"/made.up.{name}.v1.Service/Call", f"/{name}.v1.Service/None"):
            with contextlib.suppress(grpc.aio.AioRpcError):
                await channel.unary_unary(path)(
                    b"", timeout=10, metadata=(*Caller().trace, ("weft-no-wait", "true"))
                )
        with contextlib.suppress(grpc.aio.AioRpcError):
            await api_of(channel).GetTask(api.GetTaskRequest(task_id=name), timeout=10)


def api_of(channel: grpc.aio.Channel) -> Any:
    return coordinator_pb2_grpc.CoordinatorServiceStub(channel)


def resident() -> Agent:
    """The agent that stays: its methods are always the same."""
    agent = Agent(agent_id="resident", slots=4)

    @agent.method(CALL)
    async def call(request: ProbeRequest) -> ProbeReply:
        if request.fail_code:
            raise LookupError(request.text)
        return ProbeReply(text=request.text)

    agent.gauge("calls", lambda: 1)
    return agent


@pytest.fixture
def small_caches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Caches that are bounded reach their bounds on the first days."""
    for module, name in (
        (agent_session, "COSTS_REMEMBERED"),
        (attempt_outcomes, "METHODS_KEPT"),
        (kept_logs, "MAX_ATTEMPTS"),
        (otlp_encoding, "_KEPT"),
        (session_index, "FEW_POOLS"),
        (session_index, "MOST_POOLS"),
        (task_demand, "_REMEMBERED"),
        (wrapped_handlers, "_KEPT"),
    ):
        monkeypatch.setattr(module, name, SMALL)
    for kind in (ChangeLog, SpecTable):
        monkeypatch.setattr(kind.__init__, "__defaults__", (SMALL,))


@pytest.mark.usefixtures("small_caches")
async def test_days_leave_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    # pytest's own would keep each record that is logged, and what hangs on its stack.
    for handler in list(logging.getLogger().handlers):
        logging.getLogger().removeHandler(handler)
    sink = EncodingSink()
    tracer = SpanTracer(SpanLog([sink], {}), EveryTrace())
    made: list[Coordinator] = []

    def traced(settings: Any, store: Any) -> Coordinator:
        made.append(Coordinator(settings, store, tracer))
        return made[-1]

    monkeypatch.setattr(local_mesh, "Coordinator", traced)
    settings = {"result_ttl_s": 3600, "failure_ttl_s": 86400, "metrics_methods": METHODS}
    graces = {"forget_agents_s": 1, "forget_contracts_s": 1, "reconnect_grace_s": 0.1}
    async with mesh_of(resident(), skip_idle_time=False, **settings, **graces) as mesh:
        (coordinator,) = made
        visits = Visits(mesh, coordinator)
        await visits.come_and_go(VISITS)
        # What is forgotten in real time has its time.
        await asyncio.sleep(FORGOTTEN_S)
        before = held(coordinator)
        await visits.come_and_go(VISITS)
        ends_at = time.monotonic() + FORGOTTEN_S
        while more := grown(before, held(coordinator), SMALL):
            assert time.monotonic() < ends_at, more
            await asyncio.sleep(0.5)
    tracer.close(5)
    assert sink.spans > 20 * VISITS


def held(coordinator: Coordinator) -> Counter[str]:
    found = holdings() + _rows(coordinator)
    # Copies of the figures, one every 10 s of real time, 31 at most.
    return Counter({name: count for name, count in found.items() if not name.startswith("StatisticsWindow.")})


def _rows(coordinator: Coordinator) -> Counter[str]:
    """Of each table of the store's file."""
    path: Path = coordinator._settings.store
    with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as file:
        tables = [name for (name,) in file.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        return Counter(
            {f"table {name}": file.execute(f"SELECT count(*) FROM {name}").fetchone()[0] for name in tables}
        )
