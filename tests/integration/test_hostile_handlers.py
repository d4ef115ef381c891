"""Each end of user code ends its call: once, with a status, and with its slot free again. The agent goes on.

The agent has one slot: what leaks it fails the next call.
"""

from __future__ import annotations

import asyncio
import pickle
from collections.abc import AsyncIterator
from typing import Any

import grpc
import grpc.aio
import pytest
import pytest_asyncio
from google.protobuf.wrappers_pb2 import BytesValue, StringValue
from google.rpc import code_pb2
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support import tasks
from tests.support.beside import StockApp, direct_address, free_address, sidecar
from tests.support.hostile import ENDINGS, FLAVOURS, POISON, SERVICE, SHAPES, Ending, Plan
from tests.support.mesh import MeshHarness
from tests.support.soak import SOAKS
from weft.rpc.errors import status_code

AGENT = "tests.support.hostile:agent"
# A call that has not ended by then is one that nobody answers.
SILENT_S = 10.0
# The next call is served within this.
PROMPT_S = 1.0
WAYS = ("durable", "direct", "egress")
CASES = [
    pytest.param(
        *(way, shape, flavour, where),
        id=f"{way}-{shape}{flavour}{where}",
        # The way to the agent is one more, and the agent's end the same.
        marks=pytest.mark.slow if way == "egress" and (where or shape == "Stream") else (),
    )
    for way in WAYS
    for shape in SHAPES
    for flavour in FLAVOURS
    for where in ("", "Isolated")
]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def _hostile_mesh(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[MeshHarness]:
    async with MeshHarness(tmp_path_factory.mktemp("hostile")) as mesh:
        await mesh.coordinator()
        await mesh.agent("h1", slots=1, program=AGENT)
        await mesh.wait_serving(SERVICE)
        await mesh.close_channels()
        yield mesh


@pytest.fixture
async def hostile_mesh(_hostile_mesh: MeshHarness) -> AsyncIterator[MeshHarness]:
    yield _hostile_mesh
    await _hostile_mesh.close_channels()


class Caller:
    """A stock client of one hostile method, by one way."""

    def __init__(self, channel: grpc.aio.Channel, method: str) -> None:
        self._streams = method.startswith("Stream")
        shape = channel.unary_stream if self._streams else channel.unary_unary
        self._call = shape(
            f"/{SERVICE}/{method}",
            request_serializer=StringValue.SerializeToString,
            response_deserializer=StringValue.FromString,
        )

    async def call(self, text: str, timeout_s: float = SILENT_S) -> int:
        """The code that a call ends with, by `google.rpc.Code`."""
        made: Any = self._call(StringValue(value=text), timeout=timeout_s)
        try:
            if self._streams:
                async for _ in made:
                    pass
            else:
                await made
        except grpc.aio.AioRpcError:
            pass
        code: grpc.StatusCode = await made.code()
        number: int = code.value[0]
        return number


async def address_of(mesh: MeshHarness, way: str) -> str:
    if way == "durable":
        return mesh.target
    if way == "direct":
        return await direct_address(mesh, "h1")
    if "side" not in mesh.agents:
        app = StockApp(mesh)
        await app.start()
        egress = free_address()
        await sidecar(mesh, app.address, egress=egress)
        mesh.env["egress"] = egress
    return mesh.env["egress"]


def endings(flavour: str, shape: str) -> dict[str, Ending]:
    return {name: each for name, each in ENDINGS.items() if flavour in each.flavours and shape in each.shapes}


@pytest.mark.parametrize(("way", "shape", "flavour", "where"), CASES)
async def test_every_ending_is_an_answer(
    hostile_mesh: MeshHarness, way: str, shape: str, flavour: str, where: str
) -> None:
    mesh = hostile_mesh
    process = mesh.agents["h1"]
    before = await tasks.agent(mesh, "h1")
    wrong: dict[str, str] = {}
    address = await address_of(mesh, way)
    async with grpc.aio.insecure_channel(address) as channel:
        caller = Caller(channel, f"{shape}{flavour}{where}")
        assert await caller.call("fine") == code_pb2.OK
        for name, each in endings(flavour, shape).items():
            code = await caller.call(name)
            if code not in each.codes:
                wrong[name] = code_pb2.Code.Name(code)
            if not process.alive:
                break
        assert await caller.call("fine", PROMPT_S) == code_pb2.OK, f"{wrong}"

    assert not wrong
    assert process.alive

    async def idle() -> bool:
        now = await tasks.agent(mesh, "h1")
        return (now.used_slots, now.in_flight) == (0, 0)

    await mesh.eventually(idle, "no slot is taken")
    after = await tasks.agent(mesh, "h1")
    assert (after.instance_id, after.connect_time) == (before.instance_id, before.connect_time)


# -- outcomes of every kind ----------------------------------------------------------------------------------------

_TEXT = st.text(st.characters(exclude_categories=()), max_size=60)
_KEYS = (
    st.from_regex(r"[a-z0-9_.-]{1,12}(-bin)?", fullmatch=True)
    | _TEXT
    | st.sampled_from(
        [
            "grpc-status",
            "grpc-message",
            "grpc-timeout",
            "content-type",
            "te",
            "weft-agent",
            "weft-task-id",
            ":status",
        ]
    )
)
_VALUES = _TEXT | st.binary(max_size=60) | st.integers() | st.none()
_METADATA = st.lists(st.tuples(_KEYS, _VALUES), max_size=4).map(tuple)
_DETAILS = st.tuples(
    st.sampled_from([each.type_url for each in POISON.values()]) | st.text(max_size=20),
    st.binary(max_size=40),
)
PLANS = st.builds(
    Plan,
    code=st.sampled_from([0, *range(1, 17)]) | st.integers() | st.sampled_from([None, "NOT_FOUND", 1.5]),
    details=_TEXT | st.binary(max_size=20) | st.none() | st.integers(),
    headers=_METADATA,
    trailers=_METADATA,
    rich=st.lists(_DETAILS, max_size=3).map(tuple),
    payload=st.binary(max_size=2000),
)


def answers(address: str, method: str, plan: Plan) -> grpc.StatusCode:
    """The code that a stock caller gets."""
    with grpc.insecure_channel(address) as channel:
        call = channel.unary_unary(f"/{SERVICE}/{method}", response_deserializer=BytesValue.FromString)
        request = BytesValue(value=pickle.dumps(tuple(plan))).SerializeToString()
        try:
            response, _ = call.with_call(request, timeout=SILENT_S)
        except grpc.RpcError as error:
            code: grpc.StatusCode = error.code()
            return code
        assert response.value == plan.payload
        return grpc.StatusCode.OK


def fuzz(mesh: MeshHarness, address: str, examples: int) -> None:
    @settings(
        max_examples=examples,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )
    @given(PLANS)
    def each(plan: Plan) -> None:
        # UNKNOWN: the handler was told, by an exception, that something cannot be.
        allowed = {
            grpc.StatusCode.UNKNOWN,
            status_code(plan.code) if isinstance(plan.code, int) else grpc.StatusCode.OK,
        }
        for method in ("FuzzSync", "FuzzAsync", "FuzzSyncIsolated"):
            for target in (mesh.target, address):
                code = answers(target, method, plan)
                assert code in allowed, (method, target, code)
        assert mesh.agents["h1"].alive

    each()


@pytest.mark.slow
@pytest.mark.parametrize(
    "examples", [15, pytest.param(150 if SOAKS else 60, marks=[pytest.mark.slow, pytest.mark.timeout(600)])]
)
async def test_whatever_a_handler_sets_its_caller_is_answered(
    hostile_mesh: MeshHarness, examples: int
) -> None:
    mesh = hostile_mesh
    before = await tasks.agent(mesh, "h1")
    await asyncio.to_thread(fuzz, mesh, await direct_address(mesh, "h1"), examples)
    after = await tasks.agent(mesh, "h1")
    assert (after.instance_id, after.connect_time) == (before.instance_id, before.connect_time)
