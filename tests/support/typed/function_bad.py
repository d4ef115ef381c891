"""Wrong uses of functions that an agent hosts."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from weft.agent import Agent
from weft.client import connect

agent = Agent("a")


class Order(BaseModel):
    item: str


@agent.method("acme.v1.Shop/Shout")
async def shout(request: dict[str, Any]) -> dict[str, Any]:
    return request


@agent.method("acme.v1.Shop/Buy")
async def buy(order: Order) -> Order:
    return order


async def wrong() -> None:
    async with connect() as mesh:
        await shout.submit(mesh, "a")  # wrong
        await shout.call({"text": "a"})  # wrong
        print((await buy.call(mesh, Order(item="tea"))).itme)  # wrong
        await buy.submit(mesh, Order(item="tea"), prio=3)  # wrong
        await buy.sumbit(mesh, Order(item="tea"))  # wrong
        async for done in buy.map(mesh, [Order(item="tea")]):
            print(done.result().itme)  # wrong
        await mesh.tasks.submit(buy, {"item": "tea"})  # wrong
        print(await buy({"item": "tea"}))  # wrong
