"""The access policy at a coordinator: one decision at each of its doors, also for calls that are open when the file changes."""

from __future__ import annotations

import asyncio
from pathlib import Path

import grpc
import pytest

from tests.support.token_door import Door, reason, shown, token_door
from weft.rpc.errors import from_call
from weft.rpc.identity.caller import AGENT, CLIENT, told_caller
from weft.v1 import coordinator_pb2, security_pb2
from weft.v1.coordinator_pb2_grpc import CoordinatorServiceStub

SHOP = "acme.shop.v1.Shop/Buy"
POLICY = """
default = "deny"
[[rules]]
effect = "allow"
callers = ["token:shop"]
methods = ["acme.shop.*"]
"""
CHANGED = """
[[rules]]
effect = "deny"
callers = ["token:shop"]
methods = ["acme.shop.*", "weft.v1.CoordinatorService/WatchAgents"]
"""


async def test_the_policy_decides_at_each_door(tmp_path: Path) -> None:
    file = tmp_path / "policy.toml"
    file.write_text(POLICY)
    async with token_door(tmp_path, policy=file) as door:
        await _check_doors(door, file)


async def _check_doors(door: Door, file: Path) -> None:
    shop = (await door.create(CLIENT, name="shop")).text
    other = (await door.create(CLIENT, name="other")).text
    stub = CoordinatorServiceStub(door.channel)
    bulk = stub.SubmitTasks(metadata=shown(shop))

    async def submitted(text: str) -> str:
        request = coordinator_pb2.SubmitTaskRequest(method=SHOP)
        try:
            await stub.SubmitTask(request, metadata=shown(text))
        except grpc.aio.AioRpcError as error:
            return reason(from_call(error))
        return ""

    async def bulk_submitted() -> str:
        request = coordinator_pb2.SubmitTasksRequest()
        request.tasks.add(method=SHOP)
        await bulk.write(request)
        response = await bulk.read()
        (ack,) = response.acks
        return "" if not ack.HasField("error") else ack.error.message

    # The method is unknown: the policy lets the call as far as that.
    unknown = await submitted(shop)
    assert unknown not in ("", "POLICY_DENIED")
    assert await submitted(other) == "POLICY_DENIED"
    assert reason(await door.call(f"/{SHOP}", shown(shop))) == unknown
    assert reason(await door.call(f"/{SHOP}", shown(other))) == "POLICY_DENIED"
    assert "policy" not in await bulk_submitted()

    agent = (await door.create(AGENT)).text
    answer = await door.stub.CheckToken(security_pb2.CheckTokenRequest(text=other), metadata=shown(agent))
    caller = told_caller(answer)
    assert (caller.subject, caller.role) == ("token:other", CLIENT)
    denied = caller.denial(SHOP)
    assert denied is not None
    assert denied.reason_name == "POLICY_DENIED"

    watch = stub.WatchAgents(coordinator_pb2.WatchAgentsRequest(), metadata=shown(shop))
    await watch.read()
    file.write_text(CHANGED)
    # Open streams end, or go on with what the caller may now, within two seconds.
    async with asyncio.timeout(2.5):
        with pytest.raises(grpc.aio.AioRpcError) as ended:
            while await watch.read() is not grpc.aio.EOF:
                pass
    assert reason(from_call(ended.value)) == "POLICY_DENIED"
    assert "token:shop" in await bulk_submitted()
    assert await submitted(shop) == "POLICY_DENIED"
    assert await submitted(other) == unknown
    bulk.cancel()
