"""Clocks that are off by an hour. `make chaos ARGS='--fault clocks'` has them under load."""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path

import pytest

from probe.v1.probe_pb2 import ProbeRequest
from tests.support import tasks
from tests.support.clocks import clock_off
from tests.support.mesh import MeshHarness
from tests.support.processes import environment

OFF_S = 3600.0


async def test_a_process_has_another_time_and_grpc_keeps_its_own() -> None:
    asked = "import time, grpc, grpc._channel as g; print(time.time(), time.time_ns() / 1e9, g.time.time())"
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", asked, env=environment(clock_off(-OFF_S)), stdout=asyncio.subprocess.PIPE
    )
    out, _ = await process.communicate()
    seen = [float(word) - time.time() for word in out.split()]
    assert seen == pytest.approx([-OFF_S, -OFF_S, 0], abs=5)


@pytest.mark.slow
async def test_what_waits_is_handed_out_after_the_clock_was_set_back(tmp_path: Path) -> None:
    async with MeshHarness(tmp_path) as mesh:
        mesh.env = dict(clock_off(OFF_S))
        await mesh.coordinator()
        await mesh.agent("a1", program=tasks.PLAIN)
        await mesh.agents["a1"].kill()
        task_id = await tasks.submit(mesh, ProbeRequest(text="waits"))
        mesh.env = dict(clock_off(-OFF_S))
        await mesh.restart_coordinator()
        await mesh.agent("a1", program=tasks.PLAIN)
        task = await tasks.end(mesh, task_id)
        assert tasks.reply(task).text == "waits"
        # By the clock of the coordinator that was there at its end.
        assert task.finish_time.seconds - time.time() == pytest.approx(-OFF_S, abs=60)
