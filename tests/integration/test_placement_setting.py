"""`weft coordinator --placement`: a plug-in chooses the agent of durable calls, and a hanging one holds nobody up."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.mesh import MeshHarness
from weft.client import connect


@pytest.mark.slow
@pytest.mark.parametrize("placement", ["Second", "Hanging"])
async def test_it_chooses_and_a_hanging_one_holds_nobody_up(tmp_path: Path, placement: str) -> None:
    async with MeshHarness(tmp_path) as harness:
        coordinator = await harness.coordinator(placement=f"tests.support.placing:{placement}")
        for name in ("first", "second", "third"):
            await harness.agent(name)
        async with connect(harness.target) as mesh:
            agents = set[str]()
            for number in range(9):
                handle = await mesh.tasks.submit(
                    "probe.v1.ProbeService/Echo", b"", request_id=f"call-{number}"
                )
                await handle.result(timeout_s=10)
                agents.add((await mesh.tasks.get(handle.id)).agent_id)
        assert agents == ({"second"} if placement == "Second" else {"first", "second", "third"})
        log = coordinator.log.read_text()
        assert log.count("placement.failed") == (placement == "Hanging")
