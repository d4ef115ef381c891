"""The example of a fleet: heartbeats that all members hear, settings that an admin writes, and connections that come and go."""

from __future__ import annotations

import json
import sys
from typing import Any

import pytest
from google.protobuf import json_format, struct_pb2

from tests.support.mesh import MeshHarness
from tests.support.processes import ROOT, Process, until
from weft.client import Mesh, connect

pytestmark = pytest.mark.real_starts

FOLDER = ROOT / "examples" / "fleet"
SHOW = "fleet.v1.Worker/Show"


async def shown(client: Mesh) -> dict[str, Any]:
    """What each worker knows, by its id."""
    request = struct_pb2.Struct().SerializeToString()
    return {
        each.agent_id: json_format.MessageToDict(struct_pb2.Struct.FromString(each.result()))
        async for each in client.fleet.call_all(SHOW, request)
    }


@pytest.mark.slow
async def test_the_example(mesh: MeshHarness) -> None:
    lines = [line for name in ("worker.py", "admin.py") for line in (FOLDER / name).read_text().splitlines()]
    assert len([line for line in lines if line.strip()]) < 60
    await mesh.coordinator()
    file = mesh.folder / "settings.json"
    started = {
        "program": "examples.fleet.worker:agent",
        "env": {"WEFT_AGENT_LABELS": "", "FLEET_SETTINGS": str(file)},
    }
    one = await mesh.agent("w1", **started)
    two = await mesh.agent("w2", **started)
    admin = Process(
        "admin",
        [sys.executable, "-m", "examples.fleet.admin", mesh.target, str(file), json.dumps({"rate": 5})],
        log=mesh.folder / "admin.log",
    )
    mesh.others.append(admin)
    await until(lambda: "listens" in admin.output(), "the admin follows who joins")
    assert "w1 has the settings" in admin.output()
    assert "w2 has the settings" in admin.output()
    async with connect(mesh.target) as client:

        async def all_know() -> bool:
            want = {"heard": ["w1", "w2"], "settings": {"rate": 5.0}}
            return await shown(client) == {"w1": want, "w2": want}

        await mesh.eventually(all_know, "all hear each other, and have the settings")
        # One that comes later has read the file, and is announced.
        three = await mesh.agent("w3", **started)
        await until(lambda: "w3 has joined" in admin.output(), "the admin hears of it")
        await until(lambda: "settings {'rate': 5}" in three.output(), "it has the settings")
        # An orderly stop is told to all, and they come back.
        assert mesh.coordinator_process is not None
        assert await mesh.coordinator_process.terminate() == 0
        for worker in (one, two, three):
            await until(lambda worker=worker: "the coordinator stops" in worker.output(), "it knows why")
        await mesh.restart_coordinator()
        for worker in (one, two, three):
            await until(lambda worker=worker: worker.output().count("connected to ") == 2, "it is back")
