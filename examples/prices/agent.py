"""An agent that keeps a table of prices up to date, and asks its own mesh: `weft agent examples.prices.agent:agent`."""

import asyncio
from typing import Any

from google.protobuf import json_format
from google.protobuf.struct_pb2 import Struct

from weft.agent import Agent, current_task
from weft.client import Method

PRICE, TOTAL = "prices.v1.Prices/Price", "prices.v1.Prices/Total"

agent = Agent()
prices: dict[str, float] = {}


@agent.on_start
async def load() -> None:
    """Before the agent takes any work."""
    prices.update(apple=1.0, pear=1.5)


@agent.background
async def refresh() -> None:
    """Beside the handlers, until the agent stops."""
    while True:
        await asyncio.sleep(60)
        await load()


@agent.on_stop
def forget() -> None:
    """After the last handler."""
    prices.clear()


@agent.method(PRICE, start_to_close_s=10, idempotent=True)
async def price(request: dict[str, Any]) -> dict[str, Any]:
    return {"price": prices[request["name"]]}


@agent.method(TOTAL)
async def total(request: dict[str, Any]) -> dict[str, Any]:
    """Asks the mesh for each price: these calls have what is left of this call's time."""
    mesh, method = current_task().mesh, Method.of(PRICE, Struct, Struct)
    asked = [json_format.ParseDict({"name": name}, Struct()) for name in request["names"]]
    answers = [done.result() async for done in mesh.tasks.run_many(method, asked)]
    return {"total": sum(answer["price"] for answer in answers)}
