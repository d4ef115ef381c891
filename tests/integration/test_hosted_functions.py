"""Functions of `@agent.method` as handles: called through a mesh, with and without asyncio, and as what they are."""

from __future__ import annotations

import asyncio
import pickle
from collections.abc import AsyncIterator
from datetime import date

import pytest
from google.rpc import error_details_pb2

from tests.support.mesh import MeshHarness
from tests.support.shop import Item, Order, Receipt, agent, buy, each, pid, root, shout
from weft.client import Mesh, TaskState, connect
from weft.client.sync import connect as connect_sync
from weft.rpc.errors import Cancelled, DeadlineExceeded, InvalidArgument, unpacked

T = 20
ORDER = Order(items=[Item(name="tea", price=2.5), Item(name="pot", price=20)], count=2, day=date(2026, 1, 2))


@pytest.fixture
async def client(mesh: MeshHarness) -> AsyncIterator[Mesh]:
    await mesh.coordinator()
    await mesh.agent("shop", program="tests.support.shop:agent")
    await mesh.wait_serving("shop.v1.Shop")
    async with connect(mesh.target) as connected:
        yield connected


async def test_through_a_mesh(client: Mesh, mesh: MeshHarness) -> None:
    handle = await shout.submit(client, {"text": "a"}, request_id="r1", priority=7)
    assert await handle.result(T) == {"text": "A"}
    assert (await handle.snapshot()).priority == 7
    assert await shout.call(client, {"text": "b"}, timeout_s=T) == {"text": "B"}
    receipt = await buy.call(client, ORDER, request_id="r2", timeout_s=T)
    assert receipt == Receipt(total=45, count=2, day=date(2026, 1, 2), request_id="r2")
    found = {done.index: done.result() async for done in shout.map(client, ({"text": t} for t in "abc"))}
    assert found == {0: {"text": "A"}, 1: {"text": "B"}, 2: {"text": "C"}}
    stream = (await each.submit(client, ORDER)).stream()
    assert [item async for item in stream] == ORDER.items
    with pytest.raises(TypeError, match="a stream of responses"):
        await each.call(client, ORDER)
    # Where the tasks API takes a method, it takes the function.
    assert await (await client.tasks.submit(buy, ORDER)).result(T)
    assert (await pid.call(client, {"n": 1}, timeout_s=T))["given"] == {"n": 1.0}

    # Wrong requests: by the caller's own model, and by the agent's, for callers without it.
    with pytest.raises(InvalidArgument, match=r"shop.v1.Shop/Buy: items: Field required"):
        await buy.call(client, {"count": 3})  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"shop\.v1\.Shop/Shout takes str, not dict"):
        await shout.call(client, "a")  # type: ignore[call-overload]
    from google.protobuf import json_format, struct_pb2

    wrong = {"items": [{"name": "tea", "price": -1}, {"price": 1}], "count": "many"}
    payload = json_format.ParseDict(wrong, struct_pb2.Struct())
    with pytest.raises(InvalidArgument, match="the payload has wrong fields") as caught:
        await client.tasks.call("shop.v1.Shop/Buy", payload, timeout_s=T)
    details = (unpacked(each, error_details_pb2.BadRequest) for each in caught.value.status().details)
    (bad,) = (each for each in details if each is not None)
    assert [each.field for each in bad.field_violations] == ["items.0.price", "items.1.name", "count"]

    with connect_sync(mesh.target) as blocking:
        assert shout.submit(blocking, {"text": "a"}).result(T) == {"text": "A"}
        assert buy.call(blocking, ORDER, timeout_s=T).total == 45
        assert len(list(buy.map(blocking, [ORDER] * 3))) == 3


async def test_a_plain_handler_calls_on_without_asyncio(client: Mesh, mesh: MeshHarness) -> None:
    """And its call belongs to the tree and the deadline of the call that it handles."""
    told = await root.call(client, {"target": mesh.target}, timeout_s=T)
    assert told["root"] == told["parent"]
    assert told["bounded"]
    assert not (await (await root.submit(client, {})).result(T))["bounded"]


async def test_a_call_ends_its_task(client: Mesh) -> None:
    await client.fleet.pause("shop.v1.Shop/Shout")
    with pytest.raises(DeadlineExceeded):
        await shout.call(client, {"text": "a"}, timeout_s=0.3)
    call = asyncio.create_task(shout.call(client, {"text": "a"}))
    while not [task async for task in client.tasks.list(states=[TaskState.QUEUED])]:
        await asyncio.sleep(0.01)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    tasks = [task async for task in client.tasks.list(method="shop.v1.Shop/Shout")]
    assert {task.state for task in tasks} == {TaskState.FAILED, TaskState.CANCELLED}
    assert any(isinstance(task.error(), Cancelled) for task in tasks)


async def test_it_is_still_the_function() -> None:
    assert await shout({"text": "a"}) == {"text": "A"}
    assert shout.__name__ == "shout"
    assert shout.__doc__ == "Loud."
    assert pid({"x": 1})["given"] == {"x": 1}
    assert set(agent.methods) == {
        f"shop.v1.Shop/{name}" for name in ("Shout", "Buy", "Each", "Pid", "PidToo", "Root")
    }
    (source,) = (hosted.isolated for name, hosted in agent._methods.items() if name.endswith("PidToo"))
    assert pickle.loads(pickle.dumps(source)).function is pid
