"""An agent of functions, with dicts and pydantic models: `weft agent tests.support.shop:agent`. Tests import it as callers do."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from datetime import date
from typing import Any

from pydantic import BaseModel, Field

from weft.agent import Agent, current_task
from weft.client.sync import connect

agent = Agent()


class Item(BaseModel):
    name: str
    price: float = Field(gt=0)


class Order(BaseModel):
    items: list[Item]
    count: int = 1
    day: date | None = None


class Receipt(BaseModel):
    total: float
    count: int
    day: date | None
    request_id: str


@agent.method("shop.v1.Shop/Shout")
async def shout(request: dict[str, Any]) -> dict[str, Any]:
    """Loud."""
    return {"text": request["text"].upper()}


@agent.method("shop.v1.Shop/Buy")
def buy(order: Order) -> Receipt:
    total = sum(item.price for item in order.items) * order.count
    return Receipt(total=total, count=order.count, day=order.day, request_id=current_task().request_id)


@agent.method("shop.v1.Shop/Each")
async def each(order: Order) -> AsyncIterator[Item]:
    for item in order.items:
        yield item


@agent.method("shop.v1.Shop/Pid", isolate=True)
@agent.method("shop.v1.Shop/PidToo", isolate=True)
def pid(request: dict[str, Any]) -> dict[str, Any]:
    return {"pid": os.getpid(), "given": request}


@agent.method("shop.v1.Shop/Root")
def root(request: dict[str, Any]) -> dict[str, Any]:
    """The call context of a call. With a target: of a call that this handler makes without asyncio."""
    task = current_task()
    if "target" in request:
        with connect(request["target"]) as mesh:
            return root.call(mesh, {}) | {"parent": task.id}
    return {"root": task.root_id, "bounded": task.deadline is not None}
