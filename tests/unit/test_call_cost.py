"""The cost of a lone call in weft's own Python, as counts: the speed and load of the machine do not matter.

The bounds are what it takes now and little more. Whoever needs more raises them, and knows of it.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from types import FrameType
from typing import Any
from unittest.mock import AsyncMock

import pytest
from google.protobuf.wrappers_pb2 import StringValue

from tests.store.support import METHOD as STORED_METHOD
from tests.store.support import Harness, ManualClock, RecordingListener
from tests.support.lightweight import CONTRACT, ECHO
from tests.support.sessions import A, index_of, session
from weft.agent import Agent
from weft.agent.direct.direct_endings import Endings
from weft.agent.direct.direct_handlers import DirectHandlers, DirectParts
from weft.agent.direct.direct_use import DirectUse
from weft.agent.direct.load_trailers import LoadReports
from weft.agent.handlers.runners import Runners
from weft.agent.handlers.slots import Slots
from weft.agent.handlers.threads import Threads
from weft.agent.hosting.hosted_methods import HostedMethod
from weft.coordinator.calls.submission import SubmissionService
from weft.coordinator.contracts.contract_catalogue import Contract, Contracts
from weft.coordinator.dispatch.dispatcher import Dispatcher
from weft.coordinator.fleet.agent_register import AgentRegister
from weft.coordinator.fleet.matching import Matching
from weft.coordinator.settings import CoordinatorSettings
from weft.coordinator.store.embedded.embedded_store import EmbeddedStore
from weft.coordinator.store.records import AttemptReport, Submission
from weft.rpc.calls import metadata
from weft.rpc.telemetry.call_figures import CallFigures
from weft.rpc.telemetry.figures import Figures
from weft.v1 import coordinator_pb2

METHOD = "cost.v1.Cost/Echo"


async def functions_called(run: Callable[[], Awaitable[object]]) -> int:
    """How many functions of weft's are called (or coroutines of it resumed) while it runs; not those made by dataclasses."""
    count = 0

    def profile(frame: FrameType, event: str, _argument: object) -> None:
        nonlocal count
        # By the module: a checkout may be in a folder named weft.
        ours = (
            frame.f_globals.get("__name__", "").startswith("weft.") and frame.f_code.co_filename != "<string>"
        )
        count += event == "call" and ours

    sys.setprofile(profile)
    try:
        await run()
    finally:
        sys.setprofile(None)
    return count


class Native:
    """As much of grpc.aio's context as a call that succeeds needs."""

    trailers: metadata.Pairs = ()

    def set_trailing_metadata(self, trailers: metadata.Pairs) -> None:
        self.trailers = trailers

    def invocation_metadata(self) -> metadata.Pairs:
        return ()


async def test_a_direct_call_at_its_agent() -> None:
    agent = Agent("cost")

    async def echo(request: StringValue) -> StringValue:
        return request

    agent.method(METHOD)(echo)
    hosted: HostedMethod = agent._methods[METHOD]
    slots = Slots(4)
    load = LoadReports("cost", slots)
    threads = Threads("cost")
    runners = Runners(asyncio.get_running_loop(), threads, slots.overruns, None)
    serve: Any = (
        DirectHandlers(
            DirectParts(runners, slots, load, "cost", 1000, CallFigures(Figures()), DirectUse()),
            Endings(load),
        )
        .handler(hosted)
        .unary_unary
    )
    request, native = StringValue(value="x").SerializeToString(), Native()
    # The first one makes what is kept.
    await serve(request, native)

    async def call() -> None:
        assert await serve(request, native) == request

    # Three of these count what the call uses.
    assert await functions_called(call) <= 26
    assert dict(native.trailers)[metadata.AGENT_KEY] == "cost"


@pytest.fixture
async def h(tmp_path: Path) -> AsyncIterator[Harness]:
    clock, listener = ManualClock(), RecordingListener()
    store = EmbeddedStore(tmp_path / "store.db", clock=clock)
    await store.open(listener)
    yield Harness(store, clock, listener)
    await store.close()


async def test_a_lone_task_is_handed_out_among_many_agents(h: Harness) -> None:
    """Chosen, planned, claimed and put into the agent's outbox."""
    agents = [session(f"a{at}", epoch=(await h.agent(f"a{at}", lease_s=1e9)).epoch) for at in range(20)]
    takers = index_of(*agents)
    dispatcher = Dispatcher(h.store, takers)

    async def lone() -> int:
        await h.submit(Submission(A))
        count = await functions_called(dispatcher.run_pass)
        (taker,) = [each for each in agents if each.held]
        # As when its result is here.
        taker.let_go(next(iter(taker.held)))
        takers.changed(taker)
        return count

    await lone()
    assert await lone() <= 75


BATCH = 256


async def test_a_submission_without_options_is_checked() -> None:
    """Its method has no policy, and it asks for nothing: both cost no function."""
    store: Any = AsyncMock(new_task_id=lambda _: "id")
    contracts = Contracts()
    contracts.admit(Contract.load(CONTRACT, [ECHO]))
    matching = Matching(store, AgentRegister(), AsyncMock())
    service = SubmissionService(store, contracts, matching, CoordinatorSettings(store="unused"))
    request = coordinator_pb2.SubmitTaskRequest(method=ECHO, payload=b"", request_id="mine-1")
    request.request_id_ttl.FromSeconds(600)

    async def check() -> None:
        assert service.check(request).request_id == "mine-1"

    assert await functions_called(check) <= 8


async def test_tasks_of_a_batch_in_the_store(h: Harness) -> None:
    """Stored, claimed and ended, without limits, locks, keys, groups and caches: a task pays for none of them."""
    owner = await h.agent(lease_s=1e9)

    async def life() -> None:
        ids = await h.submit_many([Submission(STORED_METHOD, b"x", request_id=f"r{n}") for n in range(BATCH)])
        claims = await h.claim(owner, BATCH)
        assert len(ids) == len(claims) == BATCH
        reports = [AttemptReport(each.owner, each.task_id, each.attempt, 0, b"outcome") for each in claims]
        await h.store.complete(reports)

    assert await functions_called(life) <= 64 * BATCH
