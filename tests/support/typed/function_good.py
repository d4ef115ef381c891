"""Right uses of functions that an agent hosts."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any, assert_type

import grpc
from pydantic import BaseModel

from probe.v1 import probe_pb2
from weft.agent import Agent
from weft.client import Finished, TaskHandle, connect
from weft.client.sync import SyncTaskHandle
from weft.client.sync import connect as connect_sync

agent = Agent("a")


class Order(BaseModel):
    item: str
    count: int = 1


class Receipt(BaseModel):
    total: float


@agent.method("acme.v1.Shop/Shout")
async def shout(request: dict[str, Any]) -> dict[str, Any]:
    return {"text": str(request["text"]).upper()}


@agent.method("acme.v1.Shop/Buy")
def buy(order: Order, context: grpc.ServicerContext) -> Receipt:
    return Receipt(total=order.count * 2.5)


@agent.method("acme.v1.Shop/Count")
async def count(request: probe_pb2.ProbeRequest) -> AsyncIterator[probe_pb2.ProbeReply]:
    yield probe_pb2.ProbeReply(index=request.stream_count)


@agent.method("acme.v1.Shop/CountSync")
def count_sync(request: dict[str, Any]) -> Iterator[Receipt]:
    yield Receipt(total=1)


async def through_a_mesh() -> None:
    async with connect() as mesh:
        assert_type(await shout.submit(mesh, {"text": "a"}, priority=9), TaskHandle[dict[str, Any]])
        assert_type(await shout.call(mesh, {"text": "a"}, timeout_s=5), dict[str, Any])
        assert_type(await buy.call(mesh, Order(item="tea")), Receipt)
        async for done in buy.map(mesh, [Order(item="tea")]):
            assert_type(done, Finished[Receipt])
        async for reply in (await count.submit(mesh, probe_pb2.ProbeRequest())).stream():
            assert_type(reply, probe_pb2.ProbeReply)
        async for receipt in (await count_sync.submit(mesh, {})).stream():
            assert_type(receipt, Receipt)
        assert_type(await mesh.tasks.submit(buy, Order(item="tea")), TaskHandle[Receipt])


def without_asyncio() -> None:
    with connect_sync() as mesh:
        assert_type(buy.submit(mesh, Order(item="tea")), SyncTaskHandle[Receipt])
        assert_type(shout.call(mesh, {"text": "a"}), dict[str, Any])
        for done in buy.map(mesh, [Order(item="tea")]):
            assert_type(done.result(), Receipt)


async def here(context: grpc.ServicerContext) -> None:
    assert_type(await shout({"text": "a"}), dict[str, Any])
    assert_type(buy(Order(item="tea"), context), Receipt)
