"""Handlers that make calls through `weft.client` while they handle one. `weft agent tests.support.calling:agent` hosts them.

A request says what to call, how, and with which request; the answer says what each handler in the chain saw of its own call:

    {"method": ASYNC, "way": "direct", "own_s": 60, "request": {}}   ->   {"id": "...", ..., "child": {"id": "...", ...}}
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import grpc.aio
from google.protobuf import json_format, struct_pb2

from weft.agent import Agent, current_task
from weft.client import Mesh, Method, connect
from weft.rpc.calls import call_context

ASYNC, SYNC, ISOLATED, ISOLATED_ASYNC = (
    f"tree.v1.TreeService/{name}" for name in ("Async", "Sync", "Isolated", "IsolatedAsync")
)

agent = Agent()
# One connection for all calls of the event loop: they must not see each other's call contexts.
_shared: dict[str, Mesh] = {}


@agent.method(ASYNC)
async def call_async(request: dict[str, Any]) -> dict[str, Any]:
    found = seen()
    mark = request.get("hold")
    if mark:
        await _held(Path(mark))
    if request.get("method"):
        mesh = current_task().mesh if request.get("own_mesh") else _mesh(request["target"])
        # After a pause, so that other calls come in between.
        await asyncio.sleep(0)
        found["child"] = await call(mesh, request)
    return found


def _mesh(target: str) -> Mesh:
    return _shared.setdefault(target, connect(target))


@agent.method(ISOLATED_ASYNC, isolate=True)
async def call_isolated_async(request: dict[str, Any]) -> dict[str, Any]:
    found = seen()
    if request.get("method"):
        found["child"] = await call(current_task().mesh, request)
    return found


@agent.method(SYNC)
def call_sync(request: dict[str, Any]) -> dict[str, Any]:
    return _called_in_a_loop_of_its_own(request)


@agent.method(ISOLATED, isolate=True)
def call_isolated(request: dict[str, Any]) -> dict[str, Any]:
    return _called_in_a_loop_of_its_own(request)


def _called_in_a_loop_of_its_own(request: dict[str, Any]) -> dict[str, Any]:
    async def run() -> dict[str, Any]:
        async with connect(request["target"]) as mesh:
            return await call(mesh, request)

    found = seen()
    if request.get("own_mesh"):
        stub = current_task().sync_mesh.channel().unary_unary(f"/{request['method']}")
        answer = struct_pb2.Struct.FromString(stub(b"", timeout=60))
        found["child"] = json_format.MessageToDict(answer)
    elif request.get("method"):
        found["child"] = asyncio.run(run())
    return found


def seen() -> dict[str, Any]:
    """The running handler's facts of its call."""
    task, left = current_task(), call_context.current()
    left_s = task.time_remaining()
    return {
        "id": task.id,
        "root_id": task.root_id,
        "parent_id": task.parent_id,
        "left_s": -1.0 if left_s is None else left_s,
        "traceparent": left.traceparent if left is not None else "",
    }


async def call(mesh: Mesh, request: dict[str, Any]) -> dict[str, Any]:
    """Call as the request says, and give the answer."""
    method = Method.of(request["method"], struct_pb2.Struct, struct_pb2.Struct)
    payload = json_format.ParseDict(
        {**request.get("request", {}), "target": request["target"]}, struct_pb2.Struct()
    )
    own_s = request.get("own_s")
    if request["way"] == "task":
        options: Any = {} if own_s is None else {"schedule_to_close_s": own_s}
        handle = await mesh.tasks.submit(method, payload, **options)
        answer = await handle.result(timeout_s=30)
    elif request["way"] == "many":
        (answer,) = [done.result() async for done in mesh.tasks.run_many(method, [payload])]
    else:
        channel: grpc.aio.Channel = mesh.channel(direct=request["way"] == "direct")
        callee: Any = channel.unary_unary(f"/{method.name}", method.serialize, method.parse)
        answer = await callee(payload, timeout=own_s)
    return json_format.MessageToDict(answer)


async def _held(mark: Path) -> None:
    """Until cancelled: then there is a file that says so."""
    try:
        await asyncio.Event().wait()
    except asyncio.CancelledError:
        mark.touch()
        raise
