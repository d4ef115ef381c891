"""grpcurl, with no protos at hand, wherever a direct call can go: the coordinator, an agent, a sidecar on either side."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from typing import NamedTuple

import pytest
import pytest_asyncio

from tests.support.beside import StockApp, direct_address, free_address, sidecar
from tests.support.mesh import PROBE_SERVICE, MeshHarness
from tests.support.reflecting import find_grpcurl, grpcurl

CALL = f"{PROBE_SERVICE}/Call"


class Place(NamedTuple):
    """Where grpcurl dials, and what it adds."""

    address: str
    flags: tuple[str, ...] = ()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def places(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[dict[str, Place]]:
    """A mesh with an agent and a sidecar, both of which host the probe."""
    find_grpcurl()
    async with MeshHarness(tmp_path_factory.mktemp("grpcurl")) as mesh:
        await mesh.coordinator()
        await mesh.agent("a1")
        egress = free_address()
        app = StockApp(mesh)
        await app.start()
        await sidecar(mesh, app.address, egress=egress)
        await mesh.wait_serving()
        found = {
            "coordinator": Place(mesh.target, ("-H", "weft-mode: direct")),
            "agent": Place(await direct_address(mesh, "a1")),
            "ingress": Place(await direct_address(mesh, "side")),
            "egress": Place(egress),
            "egress, durably": Place(egress, ("-H", "weft-mode: durable")),
        }
        await mesh.close_channels()

        async def answered() -> bool:
            return (await grpcurl(egress, [CALL], ["-d", "{}"]))[0] == 0

        await mesh.eventually(answered, "the egress knows the fleet")
        yield found


@pytest.fixture(params=["coordinator", "agent", "ingress", "egress", "egress, durably"])
def place(places: dict[str, Place], request: pytest.FixtureRequest) -> Place:
    return places[request.param]


async def succeed(place: Place, *words: str, flags: tuple[str, ...] = ()) -> str:
    code, printed = await grpcurl(place.address, words, (*place.flags, *flags))
    assert code == 0, printed
    return printed


async def test_what_there_is(place):
    assert {PROBE_SERVICE, "grpc.health.v1.Health"} <= set((await succeed(place, "list")).split())
    described = await succeed(place, "describe", f"{PROBE_SERVICE}.Chat")
    assert "rpc Chat ( stream .probe.v1.ProbeRequest ) returns ( stream .probe.v1.ProbeReply );" in described
    asked = ("-d", json.dumps({"service": PROBE_SERVICE}))
    assert json.loads(await succeed(place, "grpc.health.v1.Health/Check", flags=asked)) == {
        "status": "SERVING"
    }


async def test_a_call_and_a_stream(place):
    reply = json.loads(await succeed(place, CALL, flags=("-d", '{"text": "hello"}')))
    assert reply["text"] == "hello"
    printed = await succeed(place, f"{PROBE_SERVICE}/Stream", flags=("-d", '{"stream_count": 3}'))
    assert printed.count('"index"') == 3


async def test_streams_of_requests(place):
    asked = ("-d", '{"text": "a"} {"text": "b"} {"text": "c"}')
    if "weft-mode: durable" in place.flags:
        code, printed = await grpcurl(place.address, [f"{PROBE_SERVICE}/Chat"], [*place.flags, *asked])
        assert code == 64 + 12
        assert '"reason": "METHOD_NOT_DURABLE"' in printed
        return
    assert json.loads(await succeed(place, f"{PROBE_SERVICE}/Collect", flags=asked))["text"] == "a b c"
    printed = await succeed(place, f"{PROBE_SERVICE}/Chat", flags=asked)
    assert re.findall(r'"text": "(\w)"', printed) == ["a", "b", "c"]


async def test_a_failure(place):
    asked = {"fail_code": 9, "fail_message": "not today", "fail_reason": "CLOSED"}
    code, printed = await grpcurl(place.address, [CALL], [*place.flags, "-d", json.dumps(asked)])
    assert code == 64 + 9
    assert "Message: not today" in printed
    assert '"reason": "CLOSED"' in printed
