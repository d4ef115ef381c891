"""More than a thousand callers at once: all are served, by every way in, and none is dropped by a bound of gRPC's own."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import grpc.aio
import pytest
import pytest_asyncio

from mirror.v1 import mirror_pb2, mirror_pb2_grpc
from tests.support.beside import direct_address, free_address, sidecar
from tests.support.mesh import MeshHarness
from tests.support.mirror import SERVICE
from tests.support.processes import Process, until
from tests.support.ways import python

# More than gRPC's own bound of 1000, at which it begins to cancel calls at random.
CALLERS = 1200


@dataclass
class Doors:
    """Where stock clients may come in."""

    coordinator: str
    agent: str
    egress: str


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def doors(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Doors]:
    folder: Path = tmp_path_factory.mktemp("bursts")
    mesh = MeshHarness(folder)
    app: Process | None = None
    try:
        app = python(folder, "mirror")
        address = folder / "mirror.address"
        await until(address.exists, "the app serves")
        await mesh.coordinator()
        egress = free_address()
        patient = {"WEFT_AGENT_DIRECT_WAIT_S": "60", "WEFT_AGENT_DIRECT_QUEUE": "10000"}
        # Fewer slots than callers, and fewer calls at the app than it, a stock server, takes.
        await sidecar(mesh, address.read_text(), slots=256, egress=egress, env=patient)
        await mesh.wait_serving(SERVICE)
        yield Doors(mesh.target, await direct_address(mesh, "side"), egress)
    finally:
        await mesh.close()
        if app is not None:
            app.cleanup()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("door", "mode"),
    [
        ("coordinator", "durable"),
        pytest.param("coordinator", "direct", marks=pytest.mark.slow),
        ("agent", ""),
        pytest.param("egress", "direct", marks=pytest.mark.slow),
        pytest.param("egress", "durable", marks=pytest.mark.slow),
    ],
    ids=lambda each: each or "itself",
)
async def test_very_many_at_once(doors: Doors, door: str, mode: str) -> None:
    asks = (("weft-mode", mode),) if mode else ()
    ends: Counter[str] = Counter()
    async with grpc.aio.insecure_channel(getattr(doors, door)) as channel:
        stub = mirror_pb2_grpc.MirrorServiceStub(channel)

        async def one(number: int) -> None:
            try:
                answer = await stub.Unary(mirror_pb2.Ask(text=str(number)), timeout=90, metadata=asks)
            except grpc.aio.AioRpcError as error:
                ends[f"{error.code().name}: {error.details()}"] += 1
            else:
                assert answer.text == str(number)
                ends["OK"] += 1

        await asyncio.gather(*map(one, range(CALLERS)))
    assert ends == {"OK": CALLERS}
