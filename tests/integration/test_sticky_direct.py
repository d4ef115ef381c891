"""Sticky sessions of direct calls: they go to the agent that has the session, as durable ones do."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator

import grpc
import grpc.aio
import pytest
import pytest_asyncio

from probe.v1 import probe_pb2_grpc
from probe.v1.probe_pb2 import ProbeRequest
from tests.support.command import weft
from tests.support.direct import known
from tests.support.mesh import PROBE_SERVICE, MeshHarness
from tests.support.refusals import check, refused
from tests.support.sticky import AGENTS, PROBE, SETTINGS, hard, key, ran, session_at
from tests.support.tasks import PLAIN
from weft.client import Aborted, DesiredState, Mesh, StickySession, Unavailable, call_options, connect
from weft.client.sync import connect as connect_sync
from weft.rpc.errors import from_call
from weft.v1 import errors_pb2

pytestmark = pytest.mark.asyncio(loop_scope="module")


# How long an agent lets a direct call wait for a slot.
WAITS = {"WEFT_AGENT_DIRECT_WAIT_S": "10"}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def fleet(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[MeshHarness]:
    async with MeshHarness(tmp_path_factory.mktemp("sticky")) as harness:
        await harness.coordinator(**SETTINGS)
        await asyncio.gather(*(harness.agent(agent_id, program=PLAIN, env=WAITS) for agent_id in AGENTS))
        await harness.wait_contract("a1", agents=3)
        yield harness


@pytest_asyncio.fixture(loop_scope="module")
async def mesh(fleet: MeshHarness) -> AsyncIterator[Mesh]:
    async with connect(fleet.target) as mesh:
        yield mesh


async def called(mesh: Mesh, session: StickySession | str, **request: float) -> str:
    """The agent of a direct call of a session.

    Raises:
        WeftError: the call failed.
    """
    stub = probe_pb2_grpc.ProbeServiceStub(mesh.channel(direct=True))
    call = stub.Call(ProbeRequest(text="x", **request), metadata=call_options(session=session), timeout=20)
    try:
        await call
    except grpc.aio.AioRpcError as error:
        raise from_call(error) from None
    return str(dict(await call.trailing_metadata())["weft-agent"])


async def test_direct_and_durable_calls_go_to_the_same_agent(fleet: MeshHarness, mesh: Mesh) -> None:
    names = [key() for _ in range(12)]
    durable = {name: (await ran(mesh, name)).agent_id for name in names[:6]}
    direct = dict(zip(names, await asyncio.gather(*(called(mesh, name) for name in names)), strict=True))
    assert durable.items() <= direct.items()
    assert len(set(direct.values())) > 1
    assert {name: (await ran(mesh, name)).agent_id for name in names} == direct
    async with connect(fleet.target) as other:
        assert {name: await called(other, name) for name in names} == direct
    # Through the coordinator.
    for name in names[:4]:
        metadata = (("weft-mode", "direct"), ("weft-session", name))
        call = fleet.probe().Call(ProbeRequest(text="x"), metadata=metadata, timeout=20)
        await call
        assert dict(await call.trailing_metadata())["weft-agent"] == direct[name]
    done = await weft(
        "call", "ProbeService/Call", "{}", "--direct", "--session", names[0], "--json", target=fleet.target
    )
    assert done.document["agent_id"] == direct[names[0]]

    def work() -> str:
        with connect_sync(fleet.target) as blocking:
            stub = probe_pb2_grpc.ProbeServiceStub(blocking.channel(direct=True))
            _, call = stub.Call.with_call(
                ProbeRequest(text="x"), metadata=call_options(session=names[0]), timeout=20
            )
            return str(dict(call.trailing_metadata())["weft-agent"])

    assert await asyncio.to_thread(work) == direct[names[0]]


async def test_a_conversation_of_all_shapes_stays_while_others_are_balanced(mesh: Mesh) -> None:
    name = key()
    stub = probe_pb2_grpc.ProbeServiceStub(mesh.channel(direct=True))
    said = call_options(session=name)
    first = await called(mesh, name)
    seen, others = Counter[str](), Counter[str]()
    for number in range(100):
        stream = stub.Stream(ProbeRequest(stream_count=1), metadata=said, timeout=20)
        calls = [
            stub.Call(ProbeRequest(text="x"), metadata=said, timeout=20),
            stub.Collect(iter([ProbeRequest(text="x")]), metadata=said, timeout=20),
            stream,
        ]
        other = stub.Call(ProbeRequest(text=str(number)), timeout=20)
        assert len([each async for each in stream]) == 1
        for call in [*calls, other]:
            trailers = dict(await call.trailing_metadata())
            (others if call is other else seen)[str(trailers["weft-agent"])] += 1
    assert seen == {first: 300}
    # The agent of the session is the busiest.
    assert set(others) >= {*AGENTS} - {first}


async def test_a_busy_agent_keeps_a_hard_session_and_lends_a_soft_one(mesh: Mesh) -> None:
    soft, firm = await session_at(mesh, "a1", firm=False), await session_at(mesh, "a1", firm=True)
    assert await called(mesh, soft) == "a1"
    busy = [await mesh.tasks.submit(PROBE.Call, ProbeRequest(sleep_s=60), agent_id="a1") for _ in range(4)]
    async with asyncio.timeout(10):
        while (await mesh.fleet.agent("a1")).used_slots < 4:
            await asyncio.sleep(0.02)
    await known(mesh, *AGENTS)
    lent = [await called(mesh, soft) for _ in range(12)]
    assert "a1" not in lent
    assert len(set(lent)) == 1
    # It waits for a slot there.
    waiting = asyncio.create_task(called(mesh, firm))
    for each in busy:
        await mesh.tasks.cancel(each.id)
    assert await waiting == "a1"
    async with asyncio.timeout(10):
        while await called(mesh, soft) != "a1":
            await asyncio.sleep(0.05)


async def test_an_agent_that_drains_loses_soft_sessions_alone(mesh: Mesh) -> None:
    soft, firm = await session_at(mesh, "a2", firm=False), await session_at(mesh, "a2", firm=True)
    assert (await called(mesh, soft), await called(mesh, firm)) == ("a2", "a2")
    await mesh.fleet.set_state("a2", DesiredState.DRAINING)
    try:
        async with asyncio.timeout(10):
            while await called(mesh, soft) == "a2":
                await asyncio.sleep(0.02)
        # That call may have gone elsewhere alone, when the agent turned it away. The next one asks.
        moved = await called(mesh, soft)
        assert moved != "a2"
        with pytest.raises(Unavailable, match="a2, which has it, takes no direct calls"):
            await called(mesh, firm)
    finally:
        await mesh.fleet.set_state("a2", DesiredState.ACTIVE)
    assert {await called(mesh, soft) for _ in range(5)} == {moved}
    assert (await ran(mesh, soft)).agent_id == moved
    async with asyncio.timeout(10):
        while True:
            try:
                assert await called(mesh, firm) == "a2"
                break
            except Unavailable:
                await asyncio.sleep(0.02)


async def test_a_killed_agent_takes_its_hard_sessions_along(fleet: MeshHarness, mesh: Mesh) -> None:
    killed = await fleet.agent("k1", program=PLAIN)
    await fleet.wait_contract("k1", agents=4)
    soft, firm = await session_at(mesh, "k1", firm=False), await session_at(mesh, "k1", firm=True)
    assert (await called(mesh, soft), await called(mesh, firm)) == ("k1", "k1")
    await killed.kill()
    # A moment later the session is with another agent, and stays.
    async with asyncio.timeout(15):
        while True:
            try:
                moved = await called(mesh, soft)
                break
            except Unavailable:
                await asyncio.sleep(0.02)
    assert moved in AGENTS
    async with asyncio.timeout(15):
        while (await ran(mesh, soft)).agent_id != (settled := await called(mesh, soft)):
            await asyncio.sleep(0.05)
    assert {await called(mesh, soft) for _ in range(5)} == {settled}
    async with asyncio.timeout(15):
        while True:
            with pytest.raises((Unavailable, Aborted)) as raised:
                await called(mesh, firm)
            if isinstance(raised.value, Aborted):
                break
            await asyncio.sleep(0.05)
    assert raised.value.reason == errors_pb2.ERROR_REASON_STICKY_SESSION_LOST
    await mesh.fleet.end_session(PROBE_SERVICE, firm)
    assert await called(mesh, firm) in AGENTS


@pytest.mark.slow
async def test_calls_go_on_while_no_coordinator_answers(fleet: MeshHarness) -> None:
    async with connect(fleet.target) as mesh:
        soft, firm = key(), hard(key())
        at = await called(mesh, soft), await called(mesh, firm)
        assert fleet.coordinator_process is not None
        await fleet.coordinator_process.kill()
        try:
            # Also when the answer of the coordinator is old.
            ends_at = asyncio.get_running_loop().time() + 5.5
            while asyncio.get_running_loop().time() < ends_at:
                assert (await called(mesh, soft), await called(mesh, firm)) == at
                await asyncio.sleep(0.25)
            # A new soft session goes by the hash; a new hard one must not.
            new = key()
            assert len({await called(mesh, new) for _ in range(3)}) == 1
            with pytest.raises(Unavailable):
                await called(mesh, hard(new))
        finally:
            await fleet.restart_coordinator()
            await fleet.wait_contract("a1", agents=3)
        assert (await called(mesh, soft), await called(mesh, firm)) == at
        assert ((await ran(mesh, soft)).agent_id, (await ran(mesh, firm)).agent_id) == at


@pytest.mark.parametrize(
    ("metadata", "field"),
    [
        ((("weft-session", ""),), "weft-session"),
        ((("weft-session-mode", "hard"),), "weft-session"),
        ((("weft-session", "k"), ("weft-session-ttl", "1")), "weft-session-ttl"),
    ],
)
async def test_a_malformed_session_is_refused(
    fleet: MeshHarness, mesh: Mesh, metadata: tuple[tuple[str, str], ...], field: str
) -> None:
    stub = probe_pb2_grpc.ProbeServiceStub(mesh.channel(direct=True))
    for call in (
        stub.Call(ProbeRequest(), metadata=metadata, timeout=10),
        fleet.probe().Call(ProbeRequest(), metadata=(*metadata, ("weft-mode", "direct")), timeout=10),
    ):
        check(await refused(call), grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD", field)
