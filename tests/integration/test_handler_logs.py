"""Every line that a handler logs has its task, attempt, method, agent and trace, whatever runs the handler and however it logs."""

from __future__ import annotations

import json
from typing import Any

import grpc.aio
import pytest
from google.protobuf import json_format, struct_pb2

from tests.support.logging_agent import DOORS, SERVICE
from tests.support.mesh import MeshHarness
from weft.client import connect

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
TRACEPARENT = ("traceparent", f"00-{TRACE}-{SPAN}-01")
MORE = {"Async": ("in a thread of asyncio",), "Sync": ("in an own thread",), "Isolated": ()}


async def test_lines_of_handlers_have_their_context(mesh: MeshHarness) -> None:
    await mesh.coordinator()
    await mesh.agent("a1", program="tests.support.logging_agent:agent")
    await mesh.wait_serving(SERVICE)
    tasks: dict[str, str] = {}
    for name in MORE:
        for mode in ("durable", "direct"):
            tasks[f"{name} {mode}"] = await _call(mesh, name, mode, f"{name} {mode}")
    await _call(mesh, "Stream", "durable", "stream")
    with pytest.raises(grpc.aio.AioRpcError):
        await _call(mesh, "Fail", "durable", "S3cr3t")
    # Outside a handler there is nothing to add.
    async with connect(mesh.target) as client:
        assert await client.fleet.agents()

    text = (mesh.folder / "a1.log").read_text()
    assert "S3cr3t" not in text
    lines = [json.loads(line) for line in text.splitlines() if line.startswith('{"')]
    for about, task_id in tasks.items():
        name, _, mode = about.partition(" ")
        of_call = {line["task_id"] for line in lines if line.get("said") == about}
        assert len(of_call) == 1, about
        own = [line for line in lines if line.get("task_id") in of_call]
        assert {line["event"] for line in own} == {*DOORS, *MORE[name]}, about
        for line in own:
            assert (line["attempt"], line["agent_id"], line["trace_id"]) == (1, "a1", TRACE), line
            assert len(line["span_id"]) == 16
            assert line["method"] == f"{SERVICE}/{name}"
            # A direct call has an id that its agent has generated.
            assert line["task_id"] == task_id or mode == "direct"
        by_logging = next(line for line in own if line["event"] == "logging extra")
        assert (by_logging["logger"], by_logging["level"], by_logging["authorization"]) == (
            "app",
            "warning",
            "[redacted]",
        )
    streamed = [line["number"] for line in lines if line["event"] == "line"]
    assert streamed == list(range(3))
    (failed,) = [line for line in lines if line["event"] == "handler.failed"]
    assert (failed["method"], failed["attempt"], failed["trace_id"]) == (f"{SERVICE}/Fail", 1, TRACE)
    opened = next(line for line in lines if line["event"] == "session.opened")
    assert not {"task_id", "trace_id"} & opened.keys()


async def _call(mesh: MeshHarness, name: str, mode: str, text: str) -> str:
    """Call a method; returns the id of its task."""
    payload = json_format.ParseDict({"text": text, "count": 3}, struct_pb2.Struct()).SerializeToString()
    channel, path, metadata = mesh.channel(), f"/{SERVICE}/{name}", (("weft-mode", mode), TRACEPARENT)
    call: Any
    if name == "Stream":
        call = channel.unary_stream(path)(payload, timeout=20, metadata=metadata)
        assert len([response async for response in call]) == 3
    else:
        call = channel.unary_unary(path)(payload, timeout=20, metadata=metadata)
        await call
    return dict(await call.trailing_metadata()).get("weft-task-id", "")
