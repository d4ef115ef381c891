"""A native agent in Go: it keeps the session's rules, and works with a real coordinator."""

from __future__ import annotations

import json
import shlex
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.conformance import broken, conformance
from tests.support.languages import Go
from tests.support.mesh import MeshHarness
from tests.support.processes import Process
from tests.support.reflecting import grpcurl
from weft.cli.conformance.protocol_rules import RULES

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

GREET = "greeter.v1.GreeterService/Greet"


@pytest.fixture(scope="module")
def go() -> Go:
    return Go()


@pytest.fixture
async def native(go: Go, mesh: MeshHarness, tmp_path: Path) -> AsyncIterator[Process]:
    """The agent, connected to a real coordinator."""
    await mesh.coordinator()
    settings = {"WEFT_TARGET": mesh.target, "WEFT_AGENT_ID": "native"}
    process = Process("native", go.native_agent(), log=tmp_path / "native.log", env=settings)
    try:
        await mesh.wait_agent("native", instance_of=process)
        await mesh.wait_serving("greeter.v1.GreeterService")
        yield process
    finally:
        process.cleanup()


async def greet(mesh: MeshHarness) -> str:
    code, printed = await grpcurl(mesh.target, [GREET], ["-d", '{"name": "Ada"}'])
    assert code == 0, printed
    return str(json.loads(printed)["text"])


async def test_it_keeps_every_rule(go: Go) -> None:
    status, document = await conformance(shlex.join(go.native_agent("conformance")))
    assert broken(document) == broken(document, "left_out") == broken(document, "skipped") == {}
    assert (status, document["passed"]) == (0, len(RULES))


async def test_it_works_and_leaves(native: Process, mesh: MeshHarness) -> None:
    assert await greet(mesh) == "Hello Ada"
    assert await native.terminate() == 0

    async def gone() -> bool:
        return "native" not in await mesh.agent_states()

    await mesh.eventually(gone, "it said goodbye and is not listed")


async def test_it_comes_back_to_a_coordinator_that_was_killed(native: Process, mesh: MeshHarness) -> None:
    await mesh.restart_coordinator()
    await mesh.wait_agent("native", instance_of=native)
    await mesh.wait_serving("greeter.v1.GreeterService")
    assert await greet(mesh) == "Hello Ada"
