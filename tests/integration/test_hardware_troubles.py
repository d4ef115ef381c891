"""A machine with real troubles: a process that leaks, and a control group that is throttled and nearly full."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
import pytest_asyncio

from tests.support.control_groups import ControlGroup, control_group
from tests.support.mesh import MeshHarness
from tests.support.soak import soak
from weft.services.hardware.v1 import hardware_pb2, hardware_pb2_grpc

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

MIB = 1 << 20
LIMIT = 600 * MIB
LEAK = "import time\nkept = []\nwhile True:\n    kept.append(bytearray(2_000_000))\n    time.sleep(0.5)\n"
SPIN = "while True: pass\n"


@pytest.fixture
def group() -> Iterator[ControlGroup]:
    with control_group(0.5, LIMIT) as made:
        yield made


@pytest.fixture
def children(group: ControlGroup) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Processes in the group, which end with the test."""
    started: list[subprocess.Popen[bytes]] = []
    yield started
    for each in started:
        each.kill()
        each.wait()


@pytest_asyncio.fixture
async def hosting(group: ControlGroup, mesh: MeshHarness) -> AsyncIterator[MeshHarness]:
    await mesh.coordinator()
    agent = await mesh.agent(
        "hw", program="", services="hardware", env={"WEFT_HARDWARE_SAMPLE_INTERVAL_S": "2"}
    )
    group.add(agent.pid)
    yield mesh
    await agent.kill()


async def suggested(stub: Any, topic: int) -> Any:
    answer = await stub.Suggest(hardware_pb2.SuggestRequest(), timeout=20)
    return next((each for each in answer.suggestions if each.topic == topic), None)


async def test_throttled_and_nearly_out_of_memory(
    hosting: MeshHarness, group: ControlGroup, children: list[subprocess.Popen[bytes]]
) -> None:
    stub = hardware_pb2_grpc.HardwareServiceStub(hosting.channel())
    assert await suggested(stub, hardware_pb2.TOPIC_GROUP_MEMORY) is None
    answer = await stub.GetSnapshot(hardware_pb2.GetSnapshotRequest(), timeout=20)
    assert answer.snapshot.control_group.cpu_limit_cores == 0.5
    assert answer.snapshot.control_group.memory_limit_bytes == LIMIT
    large = f"import time\nkept = b'x' * ({LIMIT} * 7 // 10)\ntime.sleep(600)\n"
    for code in (SPIN, SPIN, large):
        child = subprocess.Popen(
            [sys.executable, "-c", f"import sys; sys.stdin.readline()\n{code}"], stdin=-1
        )
        children.append(child)
        group.add(child.pid)
        assert child.stdin is not None
        child.stdin.write(b"\n")
        child.stdin.flush()

    async def told() -> bool:
        found = await suggested(stub, hardware_pb2.TOPIC_THROTTLED)
        return found is not None and "by its limit of 0.5 cores" in found.reason

    await hosting.eventually(told, "it is throttled", timeout_s=60)

    async def full() -> bool:
        request = hardware_pb2.SuggestRequest(thresholds={"group_memory_ratio": 0.7})
        found = (await stub.Suggest(request, timeout=20)).suggestions
        return any("that it may" in each.reason for each in found)

    await hosting.eventually(full, "its memory is nearly full", timeout_s=60)


@soak
async def test_a_process_that_leaks(
    mesh: MeshHarness,
) -> None:
    await mesh.coordinator()
    await mesh.agent("hw", program="", services="hardware", env={"WEFT_HARDWARE_SAMPLE_INTERVAL_S": "5"})
    stub = hardware_pb2_grpc.HardwareServiceStub(mesh.channel())
    # Large enough to be among the largest.
    leaking = subprocess.Popen([sys.executable, "-c", f"kept_too = bytearray(400_000_000)\n{LEAK}"])
    still = subprocess.Popen(
        [sys.executable, "-c", "import time; kept = bytearray(400_000_000); time.sleep(600)"]
    )
    try:

        async def told() -> bool:
            answer = await stub.Suggest(hardware_pb2.SuggestRequest(), timeout=20)
            leaks = {each.subject for each in answer.suggestions if each.topic == hardware_pb2.TOPIC_LEAK}
            assert not any(f"process {still.pid} " in each for each in leaks)
            return any(f"process {leaking.pid} " in each for each in leaks)

        await mesh.eventually(told, "the leak is found", timeout_s=150)
    finally:
        for each in (leaking, still):
            each.kill()
            each.wait()
