"""The call context: a handler's calls inherit the time that is left, the trace, and the tree; on real agents."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
import pytest_asyncio
from google.protobuf import json_format, struct_pb2

from tests.support.calling import ASYNC, ISOLATED, ISOLATED_ASYNC, SYNC, call
from tests.support.command import weft
from tests.support.mesh import MeshHarness
from tests.support.processes import until
from weft.client import Mesh, connect

TRACE_ID = "0af7651916cd43dd8448eb211c80319c"
TRACE = ("traceparent", f"00-{TRACE_ID}-b7ad6b7169203331-01")
# From 10 s on gRPC rounds up to tenths of a second, at each hop.
DEADLINE_S = 9.5
# Times left are converted from one clock to another at each hop, and on a busy machine time passes between the two readings.
APART_S = 0.9
WAYS = ("durable", "direct", "task", "many")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def _mesh(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[MeshHarness]:
    async with MeshHarness(tmp_path_factory.mktemp("mesh")) as harness:
        await harness.coordinator()
        await harness.agent("a1", slots=32, program="tests.support.calling:agent")
        await harness.close_channels()
        yield harness


@pytest.fixture
async def client(_mesh: MeshHarness) -> AsyncIterator[Mesh]:
    async with connect(_mesh.target) as connected:
        yield connected


async def tree(
    client: Mesh, top: str, *, direct: bool, timeout: float | None = DEADLINE_S, **request: Any
) -> dict[str, Any]:
    """Call a handler from outside; what it and those behind it saw."""
    channel: Any = client.channel(direct=direct)
    callee = channel.unary_unary(f"/{top}", struct_pb2.Struct.SerializeToString, struct_pb2.Struct.FromString)
    payload = json_format.ParseDict({**request, "target": client.target}, struct_pb2.Struct())
    return json_format.MessageToDict(await callee(payload, timeout=timeout, metadata=(TRACE,)))


def check_child(parent: dict[str, Any], child: dict[str, Any], root_id: str) -> None:
    assert child["root_id"] == root_id
    assert child["parent_id"] == parent["id"]
    assert child["id"] not in ("", parent["id"])
    assert child["traceparent"].split("-")[1] == TRACE_ID


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("direct", [False, True], ids=["durable", "direct"])
@pytest.mark.parametrize("top", [ASYNC, SYNC, ISOLATED], ids=["async", "sync", "isolated"])
async def test_a_call_made_in_a_handler_inherits(client: Mesh, top: str, direct: bool, way: str) -> None:
    parent = await tree(client, top, direct=direct, method=ASYNC, way=way)
    assert parent["root_id"] == parent["id"]
    assert parent["parent_id"] == ""
    check_child(parent, parent["child"], parent["id"])
    # It was given no deadline of its own.
    assert DEADLINE_S - 5 < parent["child"]["left_s"] <= parent["left_s"] + APART_S


@pytest.mark.parametrize("way", ["durable", "direct", "task"])
@pytest.mark.parametrize(("own_s", "most_s"), [(3600.0, DEADLINE_S), (2.0, 2.0)])
async def test_the_shorter_time_wins(client: Mesh, way: str, own_s: float, most_s: float) -> None:
    parent = await tree(client, ASYNC, direct=True, method=ASYNC, way=way, own_s=own_s)
    assert 0 < parent["child"]["left_s"] <= most_s + APART_S


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("top", [ASYNC, ISOLATED_ASYNC])
async def test_a_handlers_own_mesh(client: Mesh, top: str, way: str) -> None:
    for direct in (True, False):
        parent = await tree(client, top, direct=direct, method=ASYNC, way=way, own_mesh=True)
        check_child(parent, parent["child"], parent["id"])
        assert 0 < parent["child"]["left_s"] <= parent["left_s"] + APART_S


@pytest.mark.parametrize("top", [SYNC, ISOLATED])
async def test_a_sync_handlers_own_mesh(client: Mesh, top: str) -> None:
    for direct in (True, False):
        parent = await tree(client, top, direct=direct, method=ASYNC, own_mesh=True)
        check_child(parent, parent["child"], parent["id"])
        assert 0 < parent["child"]["left_s"] <= parent["left_s"] + APART_S


async def test_a_whole_chain_has_one_root(client: Mesh) -> None:
    last = {"method": ASYNC, "way": "direct"}
    middle = {"method": SYNC, "way": "task", "request": last}
    first = await tree(client, ASYNC, direct=False, method=SYNC, way="direct", request=middle)
    for _ in range(3):
        check_child(first, first["child"], first["root_id"])
        assert first["child"]["left_s"] <= first["left_s"] + APART_S
        first = first["child"]
    assert "child" not in first


async def test_the_timeline_of_a_task_has_the_tasks_below_it(client: Mesh) -> None:
    last = {"method": ASYNC, "way": "task"}
    middle = {"method": SYNC, "way": "direct", "request": last}
    top = await tree(client, ASYNC, direct=False, method=SYNC, way="task", request=middle)
    shown = await weft("tasks", "get", top["id"], "--timeline", "--json", target=client.target)
    spans = json.loads(shown.out)
    below = top["child"], top["child"]["child"]["child"]
    assert [span["task"] for span in spans if span["kind"] == "child"] == [each["id"] for each in below]
    assert [span["words"] for span in spans if span["kind"] == "attempt"] == ["a1: OK"]
    drawn = await weft("tasks", "get", below[0]["id"], "--timeline", target=client.target)
    assert below[0]["id"] in drawn.out
    assert top["id"] not in drawn.out
    assert "attempt 1" in drawn.out


async def test_handlers_that_run_at_once_inherit_each_their_own(client: Mesh) -> None:
    """They share an event loop and a connection."""
    deadlines = [5.0 + number for number in range(16)]
    parents = await asyncio.gather(
        *(
            tree(client, ASYNC, direct=number % 2 == 0, timeout=s, method=ASYNC, way=WAYS[number % 4])
            for number, s in enumerate(deadlines)
        )
    )
    for parent, deadline_s in zip(parents, deadlines, strict=True):
        check_child(parent, parent["child"], parent["id"])
        assert deadline_s - 4 < parent["child"]["left_s"] <= deadline_s + APART_S


@pytest.mark.parametrize("way", WAYS)
async def test_outside_a_handler_nothing_is_inherited(client: Mesh, way: str) -> None:
    alone = await call(client, {"method": ASYNC, "way": way, "target": client.target})
    assert (alone["root_id"], alone["parent_id"]) == (alone["id"], "")
    assert alone["traceparent"] == ""
    assert alone["left_s"] == -1.0


@pytest.mark.parametrize("direct", [False, True], ids=["durable", "direct"])
@pytest.mark.parametrize("way", ["durable", "direct", "task"])
async def test_the_end_of_a_call_ends_what_was_called_for_it(
    client: Mesh, tmp_path: Path, direct: bool, way: str
) -> None:
    mark = tmp_path / "cancelled"
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await tree(
            client, SYNC, direct=direct, timeout=0.8, method=ASYNC, way=way, request={"hold": str(mark)}
        )
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    await until(mark.exists, "the callee is cancelled", timeout_s=3)
